"""What a planted bug is, and what is explored to find it."""

from __future__ import annotations

from dataclasses import dataclass

#: Short times, so that little virtual time passes, and the whole start of a tree fits into `start_timeout_s`.
NODE = """[node]
lease_s = 1.0
connect_timeout_s = 0.2
leaf_grace_s = 0.3
orphan_grace_s = 1.5
start_timeout_s = 8.0
"""

#: Name to the [explore] of a quest: small trees, so that many seeds take little time.
BOUNDS = {
    "small": """[explore]
standbys = 0.0
nodes = 12
depth = 4
fanout = 4
waves = 20
streams = 3
faults = 4
recoveries = ["replay", "compose", "resume"]
""",
    "reduce": """[explore]
standbys = 0.0
nodes = 12
depth = 4
fanout = 4
waves = 40
faults = 4
workloads = ["reduce-stream"]
recoveries = ["replay", "compose", "resume"]
""",
    "crashes": """[explore]
standbys = 0.0
nodes = 12
depth = 4
fanout = 4
waves = 40
faults = 5
spread_s = 1.0
workloads = ["reduce-stream"]
fault_kinds = ["crash"]
recoveries = ["replay", "compose", "resume"]
""",
    "cuts": """[explore]
standbys = 0.0
nodes = 12
depth = 4
fanout = 4
waves = 60
faults = 6
spread_s = 0.3
workloads = ["reduce-stream"]
fault_kinds = ["cut"]
recoveries = ["replay", "compose", "resume"]
""",
    "mixed": """[explore]
standbys = 0.0
nodes = 12
depth = 4
fanout = 4
waves = 40
streams = 4
faults = 4
workloads = ["mixed"]
fault_kinds = ["crash", "cut", "hang", "late"]
recoveries = ["replay", "compose", "resume"]
""",
    "deep-mixed": """[explore]
standbys = 0.0
nodes = 16
depth = 6
fanout = 3
waves = 60
streams = 6
faults = 5
spread_s = 1.0
workloads = ["mixed"]
fault_kinds = ["crash", "cut"]
recoveries = ["replay", "compose", "resume"]
""",
    "deep": """[explore]
standbys = 0.0
nodes = 20
depth = 6
fanout = 4
waves = 40
streams = 4
faults = 5
recoveries = ["replay", "compose", "resume"]
""",
    "silent": """[explore]
standbys = 0.0
nodes = 12
depth = 4
fanout = 4
waves = 40
streams = 2
faults = 4
fault_kinds = ["hang", "partition", "cut", "slow"]
recoveries = ["replay", "compose", "resume"]
""",
    "asked": """[explore]
standbys = 0.0
nodes = 14
depth = 5
fanout = 3
waves = 40
faults = 6
spread_s = 1.0
workloads = ["round-trip"]
fault_kinds = ["cut", "slow", "hang", "crash"]
""",
    "apart": """[explore]
standbys = 0.0
nodes = 14
depth = 5
fanout = 3
waves = 40
faults = 6
spread_s = 1.0
workloads = ["round-trip"]
fault_kinds = ["partition", "hang", "cut"]
""",
    "decompose": """[explore]
nodes = 12
depth = 4
fanout = 4
waves = 60
faults = 5
spread_s = 1.0
workloads = ["reduce-stream"]
recoveries = ["decompose"]
fault_kinds = ["crash", "cut", "hang"]
""",
    "front-end": """[explore]
nodes = 12
depth = 4
fanout = 4
waves = 40
streams = 3
faults = 3
standbys = 1.0
""",
    "members": """[explore]
standbys = 0.0
members = 1.0
nodes = 10
depth = 3
fanout = 4
waves = 60
faults = 2
workloads = ["reduce-stream"]
""",
    "requests": """[explore]
standbys = 0.0
members = 1.0
nodes = 10
depth = 3
fanout = 4
waves = 60
faults = 2
workloads = ["round-trip"]
""",
}
#: What finds a bug does not hang on who adopts whom, nor, but where a quest is for that, on who comes and goes.
POLICY = 'adopters = ["siblings-first"]\n'
NOBODY_COMES = "members = 0.0\n"
#: Name to the text of a suite for `harness explore`.
QUESTS = {
    name: f'[suite]\nname = "{name}"\n\n{NODE}\n{bounds}{POLICY}{"" if "members" in bounds else NOBODY_COMES}'
    for name, bounds in BOUNDS.items()
}


@dataclass(frozen=True)
class Change:
    """`old`, which occurs exactly once in harness/core/`file`, becomes `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """A planted bug. wrong: what is wrong, in one sentence. quest: what is explored (a key of QUESTS). seeds: so many, counted
    from 0, find it; only the last of them fails. by: the invariant, or the verdict of the checks, that is named first."""

    name: str
    wrong: str
    quest: str
    seeds: int
    by: str
    changes: tuple[Change, ...]

    @property
    def row(self) -> str:
        """Of the table in docs/mutants.md."""
        return f"| `{self.name}` | {self.wrong} | {self.quest} | {self.seeds} | `{self.by}` |"


def mutant(name: str, wrong: str, quest: str, seeds: int, by: str, file: str, old: str, new: str) -> Mutant:
    """A bug that is one change."""
    return Mutant(name, wrong, quest, seeds, by, (Change(file, old, new),))
