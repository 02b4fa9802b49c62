"""The scene itself: it sees whatever is left, and ends it."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest

LEFT_BEHIND = """
import os, socket, sys, time
here = socket.create_server(("127.0.0.1", 0))
if os.fork() == 0:
    os.setsid()
    os.environ.clear()
    print("ready", flush=True)
    time.sleep(100)
time.sleep(0.5)
"""


def test_nothing_is_overlooked(make: Any) -> None:
    scene = make()
    scene.assert_clean()
    (scene.temporary / "rest").touch()
    parent = subprocess.Popen(
        [sys.executable, "-c", LEFT_BEHIND], env=scene.environment, start_new_session=True, stdout=subprocess.PIPE
    )
    scene.sessions.append(parent.pid)
    assert parent.stdout is not None and parent.stdout.readline() == b"ready\n"
    scene.look_at_sockets()
    assert len(scene.listening) == 1
    parent.wait()
    parent.stdout.close()
    left = scene.left()
    assert left.keys() == {"processes", "sockets", "temporary files"} and len(left["processes"]) == 1
    with pytest.raises(AssertionError, match="rest"):
        scene.assert_clean(within_s=0.1)
    scene.end()
    end = time.monotonic() + 10.0
    while scene.look() and time.monotonic() < end:
        time.sleep(0.01)
    assert scene.look() == [] and not scene.temporary.exists()
