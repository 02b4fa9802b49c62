"""Back-ends that come or go while streams run: what one node knows of that (lives.py says what happens)."""

from __future__ import annotations

from typing import Final

from harness.core.ranks import RankSet

NEVER: Final = 1 << 62
#: News that asks the front-end for an order.
WISHES: Final = ("applies", "leaves")
#: What somebody is told who has left, and turns up where that is known already.
LEFT: Final = "left: it is a member no more"


class Lives:
    """What one node knows. admitted: the life that contributes, by node, where it is not the first. away: back-ends that are no
    members now and may come: late ones, and those that left."""

    def __init__(self) -> None:
        self.admitted: dict[int, int] = {}
        self.away: set[int] = set()

    def life(self, node: int) -> int:
        """The life of `node` that is admitted."""
        return self.admitted.get(node, 0)

    def must_ask(self, node: int, life: int, rejoin: bool) -> bool:
        """Whether this process may contribute once the front-end has let it in."""
        return life > self.life(node) and (rejoin or node in self.away)


class Comers:
    """The same for one stream. floors: the first unit that a rank contributes, for those that came while the stream ran; mail:
    the last message before it. bounds: units at which the set of those who contribute changes. gaps: by rank, units [first,
    stop) for which it is no member (at the front-end only). began: as floors, of those that are gone again, too."""

    __slots__ = ("began", "bounds", "floors", "gaps", "mail")

    def __init__(self) -> None:
        self.floors: dict[int, int] = {}
        self.began: dict[int, int] = {}
        self.mail: dict[int, int] = {}
        self.bounds: set[int] = set()
        self.gaps: dict[int, list[tuple[int, int]]] = {}

    def came(self, rank: int, unit: int, message: int) -> None:
        """A rank contributes from `unit` on, and gets the messages behind `message`."""
        self.floors[rank], self.mail[rank] = unit, message
        self.began[rank] = unit
        self.bounds.add(unit)

    def forget(self, ranks: RankSet) -> None:
        """These ranks contribute no more."""
        for rank in [r for r in self.floors if r in ranks]:
            del self.floors[rank]

    def floor(self, ranks: RankSet) -> int:
        """Below this unit none of these ranks contributes."""
        if not ranks or len(ranks) > len(self.floors):
            return 0
        return min(self.floors.get(r, 0) for r in ranks)

    def coming(self, unit: int) -> RankSet:
        """The ranks that were let in, and contribute from a later unit on."""
        return RankSet.of(r for r, first in self.floors.items() if first > unit)

    def bound(self, unit: int) -> int:
        """Where the set of those who contribute changes next."""
        return min((b for b in self.bounds if b > unit), default=NEVER)

    # -- at the front-end --------------------------------------------------------------------------------------------------

    def leave(self, rank: int, unit: int) -> None:
        """The rank is no member from `unit` on, or not yet."""
        self.gaps.setdefault(rank, []).append((unit, NEVER))
        self.bounds.add(unit)

    def enter(self, rank: int, unit: int) -> None:
        """The rank is a member (again) from `unit` on, if it was none."""
        gaps = self.gaps.get(rank)
        if gaps and gaps[-1][1] == NEVER:
            gaps[-1] = (gaps[-1][0], unit)

    def outside(self, unit: int) -> RankSet:
        """The ranks that are no members for this unit."""
        return RankSet.of(r for r, gaps in self.gaps.items() if any(a <= unit < b for a, b in gaps))
