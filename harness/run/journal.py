"""The append-only history of a run: one JSON object a line, each with its sequence number and checksum.

A crash can tear the last line only, since a write that fails is taken back. Anything else that does not add up is corruption:
reading stops there and says which line it is.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.api.errors import InfrastructureError

#: The version of the journal's format, in its first line.
VERSION = 1
FILE_NAME = "journal.jsonl"
#: Kept on the disk while a run lasts and given back when the disk is full, so that the end of the run can be written down.
RESERVE_NAME = "reserve"
RESERVE_BYTES = 64 << 10

_CRC = ',"crc":"%08x"}'
_CRC_LENGTH = len(_CRC % 0)


def encode_line(seq: int, entry: Mapping[str, Any]) -> bytes:
    """One line of the journal, with its newline: `entry`, its sequence number first and the CRC32 of all that last."""
    body = dump_json({"seq": seq, **entry})
    return (body[:-1] + _CRC % zlib.crc32(body.encode()) + "\n").encode()


def decode_line(line: bytes, seq: int) -> dict[str, Any]:
    """The inverse of `encode_line` (without the newline). Raises ValueError, saying what does not add up."""
    body = line[:-_CRC_LENGTH] + b"}"
    if len(line) <= _CRC_LENGTH or line[-_CRC_LENGTH:] != (_CRC % zlib.crc32(body)).encode():
        raise ValueError("its checksum does not match")
    entry: dict[str, Any] = json.loads(body)
    found = entry.pop("seq", None)
    if found != seq:
        raise ValueError(f"it has sequence number {found} where {seq} was due: lines are missing or repeated")
    return entry


def dump_json(value: Any, indent: int | None = None) -> str:
    """Strict JSON: keys in the order given, numbers that JSON does not know as null, objects it does not know as text."""
    separators = (",", ":") if indent is None else None
    try:
        return json.dumps(value, separators=separators, indent=indent, default=str, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), separators=separators, indent=indent, default=str, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, and on the disk when this returns. Raises InfrastructureError."""
    beside = path.with_name(path.name + ".part")
    try:
        with beside.open("wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        beside.replace(path)
        sync_directory(path.parent)
    except OSError as e:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise cannot_write(path, e) from e


def sync_directory(path: Path) -> None:
    """Put the names in a directory on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def cannot_write(path: Path, error: OSError) -> InfrastructureError:
    """What to tell the user when a part of the run's directory cannot be written."""
    return InfrastructureError(
        f"{path} cannot be written: {error.strerror or error}. What was written before stays readable: free some space, or"
        " name another directory with --results"
    )


class Journal:
    """The journal of one run, open for writing. A call of `append` writes all of its entries or, where it raises
    InfrastructureError, none of them; after a failure later calls may succeed (space may have been freed). Once the reserve
    had to be given up, nothing but the end of the run is written: the space is kept for that."""

    def __init__(self, run_dir: Path) -> None:
        """Start the journal of a run in the existing directory `run_dir`. Raises InfrastructureError."""
        self.path = run_dir / FILE_NAME
        self._reserve = run_dir / RESERVE_NAME
        self._seq = 0
        self._end = 0
        self._broken = False
        self._full: InfrastructureError | None = None
        try:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as e:
            raise cannot_write(self.path, e) from e
        try:
            self.append({"journal": VERSION}, sync=True)
            write_whole(self._reserve, bytes(RESERVE_BYTES))
        except InfrastructureError:
            self.close()
            raise

    @property
    def position(self) -> tuple[int, int]:
        """Where the next line goes: its byte offset and its sequence number, as `read_journal` takes them."""
        return self._end, self._seq

    def append(self, *entries: Mapping[str, Any], sync: bool = False) -> None:
        """Append `entries` in one write; `sync` waits until they are on the disk. Raises InfrastructureError."""
        if self._full is not None:
            raise self._full
        self._append(entries, sync)

    def _append(self, entries: Sequence[Mapping[str, Any]], sync: bool) -> None:
        if self._broken:
            raise InfrastructureError(f"{self.path} could not be repaired after a failed write; nothing more goes into it")
        data = b"".join(encode_line(self._seq + i, e) for i, e in enumerate(entries))
        try:
            _write_all(self._fd, data)
            if sync:
                os.fsync(self._fd)
        except OSError as e:
            self._take_back()
            raise cannot_write(self.path, e) from e
        self._seq += len(entries)
        self._end += len(data)

    def append_at_last(self, *entries: Mapping[str, Any]) -> None:
        """Append entries that must get through, on the space kept in reserve where there is no other. Raises
        InfrastructureError where even that fails."""
        try:
            self._append(entries, sync=True)
        except InfrastructureError as error:
            if not self._reserve.exists():
                raise
            self._reserve.unlink()
            self._full = error
            self._append(entries, sync=True)

    def _take_back(self) -> None:
        """Cut off what a failed write left behind, so that the next line does not follow half a line."""
        try:
            os.ftruncate(self._fd, self._end)
            os.lseek(self._fd, self._end, os.SEEK_SET)
        except OSError:
            # The file stays readable: half a line at its very end is what a reader expects of a crash.
            self._broken = True

    def close(self) -> None:
        """Close the file and give back the reserve. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._broken = True
        self._reserve.unlink(missing_ok=True)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


@dataclass(frozen=True)
class JournalText:
    """What a journal holds: its entries (without `seq` and `crc`), and a note where the last line was torn."""

    entries: tuple[dict[str, Any], ...]
    torn: str | None = None


def read_journal(path: Path, offset: int = 0, seq: int = 0) -> JournalText:
    """Read a journal, from the line on that starts at byte `offset` and has sequence number `seq`.

    Raises InfrastructureError where the file cannot be read, a line other than the last one is damaged, a line is missing, or
    the journal is of a version that this program does not know.
    """
    try:
        with path.open("rb") as f:
            f.seek(offset)
            data = f.read()
    except OSError as e:
        raise InfrastructureError(f"{path} cannot be read: {e.strerror or e}. Name the directory of a run") from e
    lines = data.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    entries: list[dict[str, Any]] = []
    torn = None
    for i, line in enumerate(lines):
        try:
            entry = decode_line(line, seq + i)
        except ValueError as e:
            if i < len(lines) - 1:
                raise InfrastructureError(
                    f"{path}: line {seq + i + 1} is corrupted ({e}); the record of this run cannot be trusted. Restore the"
                    " file from a copy, or run the suite again"
                ) from e
            torn = f"the last line ({len(line)} bytes, line {seq + i + 1}) was torn by a crash and is left out"
            break
        if seq + i == 0 and entry.get("journal") != VERSION:
            raise InfrastructureError(
                f"{path}: this is version {entry.get('journal')!r} of the journal's format; this program reads version"
                f" {VERSION}. Read it with the version of harness that wrote it"
            )
        entries.append(entry)
    return JournalText(tuple(entries), torn)
