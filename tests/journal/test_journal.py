"""The journal: what is written is read back; a torn tail is tolerated, any other damage is named; a full disk loses nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.api.errors import InfrastructureError
from harness.run.journal import (
    FILE_NAME,
    RESERVE_BYTES,
    RESERVE_NAME,
    Journal,
    decode_line,
    dump_json,
    encode_line,
    read_journal,
)

ENTRIES = [{"what": "event", "trial": 0, "event": {"t_s": i / 8, "kind": "note", "text": 'ü\n"' * i}} for i in range(7)]


def written(directory: Path) -> Path:
    journal = Journal(directory)
    journal.append(*ENTRIES[:3])
    for entry in ENTRIES[3:]:
        journal.append(entry, sync=True)
    journal.close()
    return directory / FILE_NAME


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def test_what_is_appended_is_read_back_in_order(tmp_path: Path) -> None:
    text = read_journal(written(tmp_path))
    assert list(text.entries) == [{"journal": 1}, *ENTRIES]
    assert text.torn is None


@given(entry=st.dictionaries(st.text().filter(lambda k: k not in ("seq", "crc")), json_values), seq=st.integers(0, 2**40))
def test_a_line_is_one_json_object_and_round_trips(entry: dict[str, object], seq: int) -> None:
    line = encode_line(seq, entry)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert decode_line(line[:-1], seq) == entry
    whole = json.loads(line)
    assert whole["seq"] == seq and len(whole["crc"]) == 8


@given(data=st.data())
def test_a_journal_cut_at_any_byte_gives_the_whole_lines_before_the_cut(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = written(tmp_path_factory.mktemp("run")).read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    torn_file = tmp_path_factory.mktemp("torn") / FILE_NAME
    torn_file.write_bytes(whole[:cut])
    text = read_journal(torn_file)
    # A line without its newline is whole as well: its checksum says so.
    complete = sum(cut >= end for end in _line_ends(whole))
    assert list(text.entries) == [{"journal": 1}, *ENTRIES][:complete]
    assert (text.torn is None) == (cut in {0, *_line_ends(whole), *(e + 1 for e in _line_ends(whole))})


def _line_ends(data: bytes) -> list[int]:
    return [i for i, b in enumerate(data) if b == 0x0A]


@given(data=st.data())
def test_any_changed_byte_before_the_last_line_is_an_error_that_names_the_line(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = written(tmp_path_factory.mktemp("run"))
    whole = bytearray(file.read_bytes())
    ends = _line_ends(bytes(whole))
    at = data.draw(st.integers(0, ends[-2] - 1).filter(lambda i: i not in ends))
    whole[at] ^= data.draw(st.integers(1, 255).filter(lambda x: whole[at] ^ x != 0x0A))
    file.write_bytes(whole)
    line = 1 + sum(at > e for e in ends)
    with pytest.raises(InfrastructureError, match=f"line {line} is corrupted"):
        read_journal(file)


def test_a_missing_line_is_an_error(tmp_path: Path) -> None:
    file = written(tmp_path)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:3] + lines[4:]))
    with pytest.raises(InfrastructureError, match=r"line 4 is corrupted \(it has sequence number 4 where 3 was due"):
        read_journal(file)


def test_a_tail_of_zeros_after_a_power_cut_is_torn_not_corrupt(tmp_path: Path) -> None:
    file = written(tmp_path)
    file.write_bytes(file.read_bytes() + bytes(300))
    text = read_journal(file)
    assert len(text.entries) == 8
    assert text.torn is not None and "300 bytes, line 9" in text.torn


def test_another_version_is_refused(tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    file.write_bytes(encode_line(0, {"journal": 2}))
    with pytest.raises(InfrastructureError, match="version 2 of the journal's format"):
        read_journal(file)


def test_no_journal_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="cannot be read: No such file"):
        read_journal(tmp_path / FILE_NAME)


def test_reading_can_start_where_a_trial_started(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(*ENTRIES[:3])
    offset, seq = journal.position
    journal.append(*ENTRIES[3:])
    assert list(read_journal(journal.path, offset, seq).entries) == ENTRIES[3:]
    journal.close()


def test_numbers_that_json_does_not_know_become_null() -> None:
    assert dump_json({"a": [1.5, float("nan"), (float("inf"),)], "b": Path("x")}) == '{"a":[1.5,null,[null]],"b":"x"}'


def test_a_closed_journal_takes_nothing_and_leaves_no_reserve(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert (tmp_path / RESERVE_NAME).stat().st_size == RESERVE_BYTES
    journal.close()
    journal.close()
    assert not (tmp_path / RESERVE_NAME).exists()
    with pytest.raises(InfrastructureError):
        journal.append({"what": "late"})


def test_a_second_journal_in_one_directory_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(InfrastructureError, match="File exists"):
        Journal(tmp_path)


def test_a_size_limit_takes_the_failed_lines_back_and_keeps_the_others(tmp_path: Path) -> None:
    limit = RESERVE_BYTES + 4096
    script = f"""
        import resource, signal
        from pathlib import Path
        from harness.api.errors import InfrastructureError
        from harness.run.journal import Journal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        journal = Journal(Path({str(tmp_path)!r}))
        n = 0
        try:
            while True:
                journal.append(*({{"n": n + i, "text": "x" * 1000}} for i in range(5)))
                n += 5
        except InfrastructureError as e:
            print(n, e)
        journal.append({{"small": "enough"}}, sync=True)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True, env=_python_path()
    )
    count, _, message = done.stdout.partition(" ")
    assert "File too large" in message and "--results" in message
    text = read_journal(tmp_path / FILE_NAME)
    assert text.torn is None
    assert [e["n"] for e in text.entries[1:-1]] == list(range(int(count)))
    assert text.entries[-1] == {"small": "enough"}


def _python_path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    target = tmp_path / "disk"
    target.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(target)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"not applicable: no file system can be mounted here: {done.stderr.strip()}")
    yield target
    subprocess.run(["umount", str(target)], check=True)


def test_a_full_disk_is_told_and_the_last_words_still_fit(small_disk: Path) -> None:
    journal = Journal(small_disk)
    n = 0
    with pytest.raises(InfrastructureError, match=r"No space left on device.*free some space"):
        while True:
            journal.append({"n": n, "text": "x" * 1000})
            n += 1
    with pytest.raises(InfrastructureError):
        journal.append({"text": "y" * 8000})
    journal.append_at_last({"what": "run-finished", "reason": "the disk was full", "text": "y" * 8000})
    journal.close()
    text = read_journal(small_disk / FILE_NAME)
    assert [e["n"] for e in text.entries[1:-1]] == list(range(n)) and n > 100
    assert text.entries[-1]["what"] == "run-finished"


def test_a_directory_that_takes_no_files_is_told(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="cannot be written: No such file or directory"):
        Journal(tmp_path / "missing")
