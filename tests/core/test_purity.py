"""The core is pure: nothing that it imports waits, reads a clock, throws dice or talks to anybody."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import harness.core

CORE = Path(harness.core.__file__).parent
FORBIDDEN = {
    *("asyncio", "concurrent", "ctypes", "io", "logging", "multiprocessing", "os", "pandas", "pathlib", "pickle", "pyarrow"),
    *("queue", "random", "ray", "secrets", "select", "selectors", "shutil", "signal", "socket", "ssl", "subprocess", "sys"),
    *("tempfile", "threading", "time", "uuid"),
}


def imports(path: Path) -> set[str]:
    """The modules that a source imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def test_the_import_graph_of_the_core_reaches_nothing_impure() -> None:
    graph = {path: imports(path) for path in CORE.glob("*.py")}
    assert len(graph) > 15
    for path, names in graph.items():
        wrong = {name for name in names if name.split(".")[0] in FORBIDDEN}
        assert not wrong, f"{path.name} imports {wrong}"
        beyond = {name for name in names if name.startswith("harness") and not name.startswith("harness.core")} - {"harness"}
        assert not beyond, f"{path.name} imports {beyond} from above"
    outside = {name.split(".")[0] for names in graph.values() for name in names} - set(sys.stdlib_module_names)
    assert outside == {"harness", "msgpack", "numpy"}


def test_no_source_of_the_core_asks_for_the_time_or_for_chance_in_another_way() -> None:
    for path in CORE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("open", "print", "input", "eval", "exec", "__import__", "id"), path.name
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("random", "now_ns", "monotonic", "urandom"), path.name


def test_the_core_loads_without_ray_and_pandas() -> None:
    code = f"""
import sys
for name in {[p.stem for p in CORE.glob("*.py")]!r}:
    __import__("harness.core" if name == "__init__" else "harness.core." + name)
print(sorted(set(sys.modules) & {{"ray", "pandas", "pyarrow", "asyncio", "socket", "harness.api", "harness.testbeds"}}))
"""
    path = [str(CORE.parent.parent), *sys.path]
    done = subprocess.run([sys.executable, "-c", f"import sys; sys.path[:] = {path!r}\n{code}"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
