"""Clears up after a driver that cannot do it any more.

Nodes, fork servers and agents end by themselves when the driver is killed, but some of Ray's own helpers wait a minute for a
head that will not come back, and nobody removes the temporary files. One small process per open testbed waits for the end of
the driver on a pipe that only the driver holds, and does the rest.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from harness.testbeds import procs

_GRACE_S = 2.0


class Janitor:
    """The driver's end. `mark` and `base` are what the testbed's processes are marked with, and its directory."""

    def __init__(self, mark: str, base: Path) -> None:
        command = [sys.executable, "-P", "-m", "harness.testbeds.janitor", mark, str(base)]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is not for it
        )

    def dismiss(self, within_s: float) -> None:
        """Tell it that the driver is done; it makes sure of it, and goes."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(within_s)


def main(mark: str, base: Path) -> None:
    """Wait for the end of standard input, then end what is marked and remove the directory."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while os.read(0, 1):
        pass
    procs.end_marked(mark, _GRACE_S, base)
    shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
