"""The topology from a specification such as `2:8,4`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import cycle, islice

from harness.api.topology import Tree
from harness_plugins.topologies.shape import MAX_NODES, too_large

_ENTRY = re.compile(r"(?:([0-9]{1,18})x)?([0-9]{1,18})")


@dataclass(frozen=True)
class Generic:
    """A tree given level by level, after MRNet's generic specifications.

    spec: levels separated by `:`, from the front-end down. A level lists the numbers of children of its nodes, from left to
    right, separated by `,`; `3x8` stands for `8,8,8`. The first level has one number, since there is one front-end. A list
    that is shorter than its level starts again from its beginning (MRNet has every number spelt out), a longer one is a
    mistake. A node with 0 children is a back-end.

    `2:8,4`: the front-end has 2 children, the first of them 8, the second 4, so there are 12 back-ends. `4:4` is the 4x4 tree.
    """

    spec: str = field(metadata={"example": "2:8,4"})

    def build(self) -> Tree:
        """The tree, numbered breadth first."""
        parents: list[int | None] = [None]
        level = [0]
        for depth, text in enumerate(self.spec.split(":")):
            fanouts = self._fanouts(text, depth, len(level))
            if not any(fanouts):
                raise ValueError(f'generic: spec = "{self.spec}": level {depth + 1} ("{text}") gives no node a child; drop it')
            if len(parents) + sum(fanouts) > MAX_NODES:
                raise too_large("generic", f'lower the numbers of spec = "{self.spec}"')
            first = len(parents)
            for node, fanout in zip(level, fanouts, strict=True):
                parents.extend([node] * fanout)
            level = list(range(first, len(parents)))
        return Tree.from_parents(parents)

    def _fanouts(self, text: str, depth: int, width: int) -> list[int]:
        """The numbers of children of the `width` nodes of a level."""
        where = f'generic: spec = "{self.spec}": level {depth + 1} ("{text}")'
        given: list[int] = []
        for entry in text.replace(" ", "").split(","):
            match = _ENTRY.fullmatch(entry)
            if match is None or (match[1] and not int(match[1])):
                raise ValueError(f'{where}: "{entry}" is no number of children; write e.g. "2:8,4" or "2:2x8"')
            times, fanout = int(match[1] or 1), int(match[2])
            if len(given) + times > width:
                raise ValueError(f"{where} lists more nodes than the {width} that the level above makes; drop some")
            given += [fanout] * times
        return list(islice(cycle(given), width))
