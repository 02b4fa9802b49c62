"""Trees from files, in our format and in MRNet's."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.api.topology import Tree
from harness_plugins.topologies import File, Generic


def build(directory: Path, text: str | bytes) -> Tree:
    path = directory / "tree.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return File(str(path)).build()


EXPECTED = Generic("2:3,1").build()

OURS = """
# a small tree
front: a b
b: w3        # the second comes first here: the order of lines does not matter
a: w0 w1 w2
"""

MRNET = """
# the same tree
h0:0 => h1:0 h1:1 ;
h1:1 =>
    h2:3 ;
h1:0 => h2:0 h2:1
        h2:2 ;
"""


@pytest.mark.parametrize("text", [OURS, MRNET, MRNET.replace("\n", "\r\n"), "f=>a b;b=>x;a=>c d e;"])
def test_both_formats_give_the_same_tree(tmp_path: Path, text: str) -> None:
    assert build(tmp_path, text) == EXPECTED


def test_a_path_is_relative_to_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t").write_text(OURS)
    monkeypatch.chdir(tmp_path)
    assert File("t").build() == EXPECTED


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no node in it"),
        ("# nothing\n\n", "there is no node in it"),
        ("front", 'line 1: write "parent: child child"'),
        ("\nfront: a: b", "line 2: write"),
        ("two words: a", "line 1: write"),
        ("front:", "line 1: front has no children"),
        ("front: a a", "line 1: a has the parent front already"),
        ("front: a b\na: c\nb: c", "line 3: c has the parent a already"),
        ("front: a\nfront: b", "line 2: front has its children on line 1 already"),
        ("x: a\ny: b", "x, y have no parent"),
        ("front: front", "every node has a parent"),
        ("a: b\nb: a", "every node has a parent"),
        ("front: a\nx: y\ny: z\nz: x", "x is its own ancestor"),
        ("front: a\nd: e\nx: y\ny: x d", "line 4: y is its own ancestor"),
        ("host:0 ;", "line 1: write"),
        ("h:0 => h:1 h:2", "line 1: write"),
        ("h:0 => h:1 ;\nh:1 = h:2 ;", "line 2: write"),
        ("h:0 => h:1 => h:2 ;", "line 1: write"),
        ("h:0 => ;", "line 1: h:0 has no children"),
        (b"\xff\xfe front: a", "no UTF-8 text"),
    ],
)
def test_files_that_describe_no_tree(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match="file: ") as raised:
        build(tmp_path, text)
    assert message in str(raised.value)
    assert "tree.txt" in str(raised.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ValueError, match="cannot be read"):
            File(str(path)).build()


def test_a_file_without_an_end_is_given_up() -> None:
    if not Path("/dev/zero").exists():
        pytest.skip("this machine has no /dev/zero")
    with pytest.raises(ValueError, match="more than 64 MiB"):
        File("/dev/zero").build()


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab01:;=># \n\t", max_size=40))
def test_any_text_gives_a_tree_or_one_clear_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    directory = tmp_path_factory.getbasetemp()
    try:
        tree = build(directory, text)
    except ValueError as e:
        assert str(e).startswith("file: ")
    else:
        assert len(tree.back_ends) >= 1


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_written_tree_is_read_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 25))
    tree = Tree.from_parents([None, *(data.draw(st.integers(0, i - 1)) for i in range(1, size))])
    families = [n for n in tree.nodes if n.children]
    ours = "\n".join(f"n{n.id}: " + " ".join(f"n{c}" for c in n.children) for n in data.draw(st.permutations(families)))
    mrnet = "\n".join(f"h:{n.id} => " + " ".join(f"h:{c}" for c in n.children) + " ;" for n in families)
    directory = tmp_path_factory.getbasetemp()
    one, two = build(directory, ours), build(directory, mrnet)
    assert one == two
    level_order = [0]
    for node in level_order:  # grows while it is read
        level_order.extend(tree.nodes[node].children)
    assert [len(tree.nodes[n].children) for n in level_order] == [len(n.children) for n in one.nodes]
