"""A host's temporary directory for a run: in use for as long as somebody holds its lock, and removed by the next one if not.

Whoever made it removes it in the end. A process that gets SIGKILL cannot: Ray kills what its workers have started when the
driver of a cluster is gone.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX, LOCK = "harness-", "in-use"


def make(parent: str) -> Path:
    """A new directory below `parent` (empty: where temporary files go), in use until this process and all that it forks from
    now on have ended. Removes those that nobody uses any more. Raises OSError."""
    sweep(Path(parent or tempfile.gettempdir()))
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent or None))
        fd = os.open(path / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)  # open until the process ends
        fcntl.flock(fd, fcntl.LOCK_EX)
        if (path / LOCK).exists():
            return path
        os.close(fd)  # it was swept away between the two calls


def sweep(parent: Path) -> None:
    """Remove the directories of processes that are gone. Those of other users are theirs to remove."""
    for lock in parent.glob(f"{PREFIX}*/{LOCK}"):
        try:
            fd = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(fd)
