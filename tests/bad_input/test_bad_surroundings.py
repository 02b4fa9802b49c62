"""What a run needs is missing, too small or out of reach: exit code 13 with one clear reason, and nothing left behind."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

SMALL_DISK = Path(__file__).with_name("small_disk.sh")

#: A package `ray` that is none, and what must be said of it.
RAYS = {
    "missing": ("raise ImportError('it is not here')", "Ray cannot be imported (it is not here); install it: "),
    "broken": ("raise OSError('libray.so: cannot open')", "Ray cannot be imported (libray.so: cannot open); install it: "),
    "something else": ("__version__ = '99.0'\ninit = print", "Ray 99.0 has no get_runtime_context, is_initialized, kill"),
    "old": ("__version__ = '2.9.3'", "Ray 2.9.3 is here, but 2.30 or newer is needed; install it: "),
}


def test_ray_that_cannot_be_used(scene: Any) -> None:
    suite = scene.small()
    paths = [scene.fake_ray(source) for source, _ in RAYS.values()]
    started = [scene.start("run", suite, "--json", PYTHONPATH=path) for path in paths]
    for running, (_, part) in zip(started, RAYS.values(), strict=True):
        running.done().gives_up(part, "-m pip install 'ray>=2.30'")
    done = scene.run("doctor", "--json", PYTHONPATH=paths[-1])
    (ray,) = [c for c in done.document["checks"] if c["name"] == "ray"]
    assert (done.code, ray["status"], ray["change"]) == (13, "missing", "make setup")
    assert ray["found"] == "2.9.3 is too old, 2.30 is needed"


def test_without_ray_everything_else_works(scene: Any) -> None:
    path = scene.fake_ray("raise ImportError('it is not here')")
    commands = (("run", scene.small(), "--dry-run"), ("plugin", "list"), ("topology", "show", "2:2,2"))
    assert [done.code for done in scene.run_all(*commands, PYTHONPATH=path)] == [0, 0, 0]


def test_a_run_that_nobody_listens_to(scene: Any) -> None:
    environment = {**scene.environment, "PYTHONPATH": scene.fake_ray("raise ImportError('it is not here')")}
    nobody, told = os.pipe()
    os.close(nobody)
    command = [sys.executable, "-m", "harness", "run", scene.small(), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=told, cwd=scene.work, env=environment, timeout=60)
    os.close(told)
    document = json.loads(done.stdout)
    assert done.returncode == document["exit_code"] == 13 and "it is not here" in document["reasons"][0]
    assert scene.count("run-finished") == scene.count("run-verdict") == 1


def cluster(scene: Any, address: str, name: str) -> str:
    text = (scene.work / scene.small()).read_text()
    testbed = f'kind = "cluster"\naddress = "{address}"\nstart_timeout_s = 4.0'
    return str(scene.suite(text.replace('kind = "local"\nhosts = 1\nstart_timeout_s = 80', testbed), name))


def gives_up_on(scene: Any, told: dict[str, list[str]]) -> None:
    started = [scene.start("run", cluster(scene, to, f"{i}.toml"), "--json") for i, to in enumerate(told)]
    for running, parts in zip(started, told.values(), strict=True):
        document = running.done().gives_up(*parts, "start one with `ray start --head`")
        assert [c["trials"]["not-run"] for c in document["cases"]] == [1]


def test_a_cluster_that_cannot_be_reached(scene: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        told = {
            "127.0.0.1:1": ["no Ray cluster can be reached at 127.0.0.1:1", "Connection refused"],
            f"127.0.0.1:{silent.getsockname()[1]}": ["no Ray cluster answered at 127.0.0.1:", "within 4 s"],
        }
        gives_up_on(scene, told)


@pytest.mark.long
def test_an_address_that_is_no_cluster_s(scene: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as rude:
        answering = threading.Thread(target=answer_rudely, args=(rude,))
        answering.start()
        told = {
            "no-such-host.invalid:6379": ["no Ray cluster can be reached at no-such-host.invalid:6379"],
            f"127.0.0.1:{rude.getsockname()[1]}": ["127.0.0.1:"],
        }
        gives_up_on(scene, told)
        rude.shutdown(socket.SHUT_RDWR)
        answering.join()


def answer_rudely(server: socket.socket) -> None:
    """Something listens there, but it is no Ray."""
    while True:
        try:
            stranger, _ = server.accept()
        except OSError:
            return
        with stranger:
            stranger.sendall(b"220 mail.example ESMTP\r\n" * 100)


def test_too_few_descriptors_for_ray(scene: Any) -> None:
    done = scene.run("run", scene.small(), "--json", limits={resource.RLIMIT_NOFILE: 64})
    document = done.gives_up("too few file descriptors: Ray needs 128, the limit is 64; raise it (ulimit -Hn 128")
    scene.report_says(document)


def can_mount() -> str:
    """What goes before a command that wants to mount; empty where that is not possible."""
    for user in ([], ["--user", "--map-root-user"]):
        command = ["unshare", *user, "--mount"]
        if shutil.which("unshare") and subprocess.run([*command, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).returncode == 0:
            return " ".join(command)
    return ""


@pytest.fixture
def small_disk(scene: Any, require: Any) -> Any:
    """`small_disk(bytes that are free, ...)` runs with `--results` on a disk of one MiB."""
    how = can_mount()
    require(bool(how), "nobody may mount a file system here")

    def run(free: int, suite: str) -> Any:
        for name in ("small", "kept"):
            shutil.rmtree(scene.work / name, ignore_errors=True)
            (scene.work / name).mkdir()
        prefix = (*how.split(), "sh", str(SMALL_DISK), "1m", str((1 << 20) - free))
        return scene.run("run", suite, "--json", "--results", "small", prefix=prefix)

    return run


def kept(scene: Any) -> Path:
    (found,) = (scene.work / "kept" / "runs").iterdir()
    return Path(found)


def test_a_disk_that_is_full_from_the_start(scene: Any, small_disk: Any) -> None:
    suite = scene.small()
    for free in (8 << 10, 24 << 10):
        done = small_disk(free, suite)
        done.fails(13, "small/runs/", "cannot be written: No space left on device", "name another directory with --results")
        assert [p.name for p in kept(scene).rglob("*") if p.name.endswith(".part") or p.name == "reserve"] == []


@pytest.mark.long
def test_a_disk_that_becomes_full(scene: Any, small_disk: Any) -> None:
    text = (scene.work / scene.small('{ kind = "reduce-stream", waves = 2000 }')).read_text()
    suite = scene.suite(text.replace('name = "small"', 'name = "small"\ntrials = 30'))
    done = small_disk(260 << 10, suite)
    assert done.code == 13 and "Traceback" not in done.err
    document = done.document
    reasons = [r for r in document["reasons"] if "No space left on device" in r]
    assert document["verdict"] == "infrastructure" and reasons and "small/runs/" in reasons[0]
    (case,) = document["cases"]
    assert case["trials"]["passed"] > 0 and case["trials"]["not-run"] > 0
    # The record is whole, and says the same without the program that wrote it.
    assert not (kept(scene) / "reserve").exists()
    again = scene.run("report", os.fspath(kept(scene)), "--json")
    assert again.code == 13 and again.document["notes"] == []
    assert again.document["reasons"] == document["reasons"]
