"""What a report says of a process that crashed."""

from __future__ import annotations

from pathlib import Path

from harness.testbeds.last_words import last_words


def test_a_short_text_is_kept_whole(tmp_path: Path) -> None:
    said = tmp_path / "stderr"
    said.write_text("terminate called\nand that was it\n")
    assert last_words(said) == "terminate called\nand that was it"
    assert last_words(tmp_path / "nothing") == ""


def test_of_a_long_text_the_beginning_and_the_end_are_kept(tmp_path: Path) -> None:
    said = tmp_path / "stderr"
    said.write_bytes(b"terminate called\n" + b"x" * 100_000 + b"\nthe last line")
    words = last_words(said)
    assert words.startswith("terminate called")
    assert words.endswith("the last line")
    assert "bytes left out" in words
    assert len(words) < 4100


def test_no_byte_is_told_twice_or_lost_about_the_limits(tmp_path: Path) -> None:
    said = tmp_path / "stderr"
    for size in (999, 1000, 1001, 3999, 4000):
        text = "".join(chr(97 + i % 26) for i in range(size))
        said.write_text(text)
        assert last_words(said) == text
    said.write_text("a" * 1000 + "b" + "c" * 3000)
    assert last_words(said) == "a" * 1000 + "\n... (1 bytes left out) ...\n" + "c" * 3000


def test_a_list_of_loaded_modules_does_not_crowd_out_the_words(tmp_path: Path) -> None:
    said = tmp_path / "stderr"
    said.write_text("terminate called\nFatal Python error: Aborted\n\nExtension modules: numpy.a, numpy.b (total: 2)\nmore\n")
    assert last_words(said) == "terminate called\nFatal Python error: Aborted\n\nmore"
