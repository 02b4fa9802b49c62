"""What a process said on its standard error before it ended, short enough for a report."""

from __future__ import annotations

from pathlib import Path

#: The beginning tells what went wrong, the end where: both are kept of a long text, in bytes.
_HEAD_BYTES, _TAIL_BYTES = 1000, 3000
#: faulthandler lists every loaded extension after its traceback; nobody needs them, and they crowd out the words before.
_LIST_OF_MODULES = b"\nExtension modules: "


def last_words(path: Path) -> str:
    """The text at `path`: whole if it is short, else its beginning and its end; empty if there is no such file."""
    try:
        with path.open("rb") as said:
            head = said.read(_HEAD_BYTES)
            size = said.seek(0, 2)
            said.seek(max(_HEAD_BYTES, size - _TAIL_BYTES))
            tail = said.read(_TAIL_BYTES)
    except OSError:
        return ""
    left_out = size - len(head) - len(tail)
    text = head + (b"\n... (%d bytes left out) ...\n" % left_out if left_out else b"") + tail
    return _without_modules(text).decode(errors="replace").strip()


def _without_modules(text: bytes) -> bytes:
    before, found, after = text.rpartition(_LIST_OF_MODULES)
    return before + b"\n" + after.partition(b"\n")[2] if found else text
