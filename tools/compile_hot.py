"""Compile the hot modules in place with mypyc; without a C compiler they run as they are.

    python tools/compile_hot.py            compile what has changed
    python tools/compile_hot.py --clean    remove what was compiled

The sources stay ordinary typed Python: the compiled modules only take their place on import. The code of each top-level package
is one library within it (what lies close together costs less in a process that runs for some microseconds at a time), with a
small one beside each source that stands for the module: a package is whole wherever it is copied to.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORE = "actions backend ballot below comers comings courier decompose downstream frames frontend handover ledger lives logbook "
CORE += "membership multicast node orders pieces port ranks relaying results standby stream_check streams uplink upstream"
HOT = [
    *(f"harness/core/{name}.py" for name in CORE.split()),
    *(f"harness/sim/{name}.py" for name in ("chance", "event_queue", "invariants", "network", "places", "seats", "world")),
    "harness/testbeds/loop.py",
    *(f"plugins/harness_plugins/transports/{name}.py" for name in ("buffers", "reactor", "tcp_link")),
    "workloads/harness_workloads/round_trip_apps.py",
]

#: (where the package lies, how its paths begin, the name of its library)
GROUPS = (
    (ROOT, "harness/", "harness.core.hot"),
    (ROOT / "plugins", "plugins/", "harness_plugins.transports.hot"),
    (ROOT / "workloads", "workloads/", "harness_workloads.hot"),
)


def clean() -> None:
    """Remove every compiled module: an old one would hide its source."""
    for folder in {(ROOT / path).parent for path in HOT}:
        for library in folder.glob("*.so"):
            library.unlink()


def compile_hot() -> None:
    """Compile, one package root at a time. Raises whatever the compiler does."""
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    for root, prefix, library in GROUPS:
        paths = [path.removeprefix("plugins/").removeprefix("workloads/") for path in HOT if path.startswith(prefix)]
        with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(root):
            options = ["--config-file", str(ROOT / "pyproject.toml"), "--ignore-missing-imports"]
            modules = mypycify([*options, *paths], opt_level="3", separate=[(paths, library)], target_dir=scratch)
            command = build_ext(Distribution({"name": "harness-hot", "ext_modules": modules, "packages": []}))
            command.inplace, command.parallel = True, 2
            command.build_temp = command.build_lib = scratch
            command.ensure_finalized()
            command.run()


def main() -> int:
    """Compile, or clean; the exit status."""
    clean()
    if "--clean" in sys.argv:
        return 0
    plain = "the hot modules run as plain Python (slower, otherwise the same)"
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        print(f"no C compiler was found: {plain}", file=sys.stderr)
        return 0
    try:
        compile_hot()
    except (Exception, SystemExit) as failure:  # whatever is wrong with a compiler must not keep anybody from working
        clean()
        print(f"the hot modules could not be compiled ({failure}): {plain}", file=sys.stderr)
        return 1 if os.environ.get("HARNESS_REQUIRE_ALL") else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
