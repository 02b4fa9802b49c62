"""Lines of log and trace files, read in bounded memory: shares of files, and the class of a line."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

#: A longer line is cut for its class; the rest of it is skipped.
LONGEST_LINE = 1 << 16
LONGEST_CLASS = 300
NO_MATCH = "(no match)"
BLANK = "(blank)"
#: Where lines of further classes go once a back-end knows as many as it may.
FURTHER = "(further classes)"


@dataclass(frozen=True)
class Share:
    """The part of a file that one back-end reads: the lines that begin at a byte in [start, stop)."""

    path: str
    start: int
    stop: int


class Classifier:
    """Turns a line into the name of its class. pattern: what to look at, "" = all of it; its groups make the class, or the
    whole match where it has none. replace: what to replace by `by` in that, so that lines that differ in it alone agree."""

    def __init__(self, pattern: str, replace: str, by: str) -> None:
        self._pattern = re.compile(pattern) if pattern else None
        self._replace = re.compile(replace) if replace else None
        self._by = by

    def __call__(self, line: bytes) -> str:
        text = line.decode("utf-8", "replace").strip().replace("\x00", "?")
        if not text:
            return BLANK
        if self._pattern is not None:
            match = self._pattern.search(text)
            if match is None:
                return NO_MATCH
            groups = [g for g in match.groups() if g is not None]
            text = " ".join(groups) if groups else match[0]
        if self._replace is not None:
            text = self._replace.sub(lambda _: self._by, text)
        return text[:LONGEST_CLASS] or BLANK


class Tally:
    """Lines by class, of one back-end: at most `most` classes, later ones are counted together."""

    def __init__(self, most: int) -> None:
        self.counts: dict[str, int] = {}
        self._most = most

    def add(self, name: str) -> str:
        """Count a line of class `name`; return the class under which it was counted."""
        if name not in self.counts and len(self.counts) >= self._most:
            name = FURTHER
        self.counts[name] = self.counts.get(name, 0) + 1
        return name


def expand(patterns: Sequence[str]) -> list[str]:
    """The files that absolute paths and globs name, each once, sorted within a glob."""
    found: dict[str, None] = {}
    for pattern in patterns:
        root = Path(pattern).anchor
        for path in sorted(Path(root).glob(pattern[len(root) :])):
            if path.is_file():
                found[str(path)] = None
    return list(found)


def shares(paths: Sequence[str], rank: int, ranks: int, by_file: bool) -> list[Share]:
    """What `rank` reads: every ranks-th file, or its part of the lines of every file."""
    if by_file:
        return [Share(p, 0, Path(p).stat().st_size) for p in paths[rank::ranks]]
    found = []
    for path in paths:
        size = Path(path).stat().st_size
        found.append(Share(path, size * rank // ranks, size * (rank + 1) // ranks))
    return found


def share_lines(share: Share) -> Iterator[bytes]:
    """The lines of a share, each with its line end, cut at LONGEST_LINE."""
    with Path(share.path).open("rb") as file:
        at = share.start
        if at:  # the line under way belongs to the share before; a line end right before `start` leaves nothing to skip
            file.seek(at - 1)
            at += _whole_line(file)[1] - 1
        while at < share.stop:
            line, length = _whole_line(file)
            if not length:
                return
            at += length
            yield line


def _whole_line(file: BinaryIO) -> tuple[bytes, int]:
    """The next line, cut at LONGEST_LINE, and the bytes that it takes in the file."""
    line = file.readline(LONGEST_LINE)
    length = len(line)
    while length and not line.endswith(b"\n"):
        rest = file.readline(LONGEST_LINE)
        length += len(rest)
        if not rest or rest.endswith(b"\n"):
            break
    return line, length


class Owners:
    """Which rank reads the line at a byte of a file, found from the shares' bounds alone."""

    def __init__(self, paths: Sequence[str], ranks: int, by_file: bool) -> None:
        self._paths, self._ranks, self._by_file = list(paths), ranks, by_file

    def in_file(self, index: int) -> Iterator[tuple[int, bytes]]:
        """One pass over file number `index`: the owner of each line, and the line cut at LONGEST_LINE."""
        size = Path(self._paths[index]).stat().st_size
        bounds = [size * rank // self._ranks for rank in range(self._ranks)]
        at = 0
        with Path(self._paths[index]).open("rb") as file:
            for line in file:
                owner = index % self._ranks if self._by_file else bisect_right(bounds, at) - 1
                yield owner, line[:LONGEST_LINE]
                at += len(line)


def digest() -> hashlib._Hash:
    """What identifies the lines of a share."""
    return hashlib.sha256()
