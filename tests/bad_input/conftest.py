"""A scene: one place in which the real command line is run, and from which nothing may be left afterwards.

Everything that a scene starts has the scene's mark in its environment and is in a session of the scene's own; temporary
files go to the scene's own directory. So whatever else runs on the machine at the same time is told apart.
"""

from __future__ import annotations

import json
import os
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

MARK = "BAD_INPUT_SCENE"
#: Long enough for anything that must happen at all, on a machine that does many things at once.
BOUND_S = 90.0
#: Nobody who was left behind may stay for longer than this.
GONE_WITHIN_S = 15.0

SMALL = """
[suite]
name = "small"
[testbed]
kind = "local"
hosts = 1
start_timeout_s = 80
[[case]]
name = "one"
workload = {workload}
topology = {{ kind = "kary", fanout = 1, depth = 2 }}
filter = "sum"
"""


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    args: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on standard output."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    def fails(self, code: int, *parts: str) -> str:
        """It ended with `code` and one error, which has all of `parts` in it; the error."""
        told = f"{self.args} ended with {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"
        assert self.code == code, told
        assert "Traceback" not in self.err + self.out, told
        errors = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, told
        error = self.err[self.err.index("error: ") :].rstrip("\n")
        if "--json" in self.args:
            document = self.document
            assert (document["exit_code"], document["verdict"]) == (code, "error"), told
            assert document["error"] in error or document["mistakes"], told
        else:
            assert self.out == "", told
        for part in parts:
            assert part in error, f"{part!r} is missing\n{told}"
        return error

    def gives_up(self, *parts: str) -> dict[str, Any]:
        """It had begun to run, and then ended with exit code 13 and one reason, which has all of `parts` in it and is told
        on standard error as well; the document."""
        told = f"{self.args} ended with {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"
        assert self.code == 13, told
        assert "Traceback" not in self.err + self.out, told
        document = self.document
        assert (document["exit_code"], document["verdict"]) == (13, "infrastructure"), told
        reason = document["reasons"][0]
        assert [line for line in self.err.splitlines() if line.startswith("the run is given up: ")] == [
            f"the run is given up: {reason}"
        ], told
        for part in parts:
            assert part in reason, f"{part!r} is missing\n{told}"
        return document


@dataclass
class Running:
    """A command that runs."""

    scene: Scene
    args: tuple[str, ...]
    process: subprocess.Popen[bytes]
    files: tuple[Path, Path]

    def wait_for(self, there: Callable[[], object], what: str) -> None:
        """Until `there` holds; the command must not end before."""
        end = time.monotonic() + BOUND_S
        while not there():
            assert self.process.poll() is None, f"it ended before: {what}\n{self.told}"
            assert time.monotonic() < end, f"never came: {what}\n{self.told}"
            time.sleep(0.02)

    def wait_for_entry(self, kind: str, times: int = 1) -> None:
        """Until the journals have so many entries or events of a kind."""
        self.wait_for(lambda: self.scene.count(kind) >= times, f"{times} x {kind} in the journal")

    @property
    def told(self) -> str:
        """What it has written to standard error so far."""
        return self.files[1].read_text()

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """Ctrl-C as a terminal sends it, to the whole process group; any other signal to the command alone."""
        self.scene.look()
        if number == signal.SIGINT:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def done(self) -> Done:
        """Wait for its end, remembering whatever it starts on the way."""
        end = time.monotonic() + BOUND_S
        while (code := self.process.poll()) is None:
            assert time.monotonic() < end, f"it does not end\n{self.told}"
            self.scene.look()
            time.sleep(0.1)
        out, err = (f.read_text() for f in self.files)
        return Done(self.args, code, out, err)


@dataclass
class Scene:
    """Runs commands in the empty directory `root`, and knows whatever they have started."""

    root: Path
    temporary: Path
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    sessions: list[int] = field(default_factory=list)
    seen: dict[int, str] = field(default_factory=dict)
    listening: set[str] = field(default_factory=set)

    @property
    def home(self) -> Path:
        """Its own home directory, which stays empty."""
        return self.root / "home"

    @property
    def environment(self) -> dict[str, str]:
        """What commands see: nothing that changes them from outside, and the mark."""
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("HARNESS_", "RAY_", "COLUMNS", "FORCE_COLOR"))}
        own = {MARK: self.mark, "TMPDIR": str(self.temporary), "HOME": str(self.home), "NO_COLOR": "1", "COLUMNS": "200"}
        return {**plain, **own}

    def start(
        self,
        *args: str,
        cwd: Path | None = None,
        limits: Mapping[int, int] | None = None,
        prefix: tuple[str, ...] = (),
        **env: str,
    ) -> Running:
        """Start `harness ARGS...`; keywords go into its environment. limits: soft and hard resource limits by number."""

        def limit() -> None:
            for what, value in (limits or {}).items():
                resource.setrlimit(what, (value, value))

        stem = self.root / f"told-{len(self.sessions)}"
        files = (stem.with_suffix(".out"), stem.with_suffix(".err"))
        with files[0].open("wb") as out, files[1].open("wb") as err:
            process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "harness", *args],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=cwd or self.work,
                env={**self.environment, **env},
                start_new_session=True,
                preexec_fn=limit if limits else None,
            )
        self.sessions.append(process.pid)
        return Running(self, args, process, files)

    def run(self, *args: str, **how: Any) -> Done:
        """The same, to its end."""
        return self.start(*args, **how).done()

    def report_says(self, document: Mapping[str, Any]) -> None:
        """The report, made again from the only run's directory, is this document, and ends with its exit code."""
        done = self.run("report", str(self.run_dir), "--json")
        assert done.document == document
        assert done.code == document["exit_code"]

    def run_all(self, *commands: tuple[str, ...], **how: Any) -> list[Done]:
        """Several commands at once, to their ends."""
        return [r.done() for r in [self.start(*args, **how) for args in commands]]

    @property
    def work(self) -> Path:
        """Where commands are run."""
        return self.root / "work"

    def suite(self, text: str, name: str = "suite.toml") -> str:
        """Write a suite; its path as commands take it."""
        (self.work / name).write_text(text)
        return name

    def small(self, workload: str = '{ kind = "reduce-stream", waves = 20 }', more: str = "") -> str:
        """A suite of one case with three nodes."""
        return self.suite(SMALL.format(workload=workload) + more)

    def install(self, distribution: str, module: str, source: str) -> str:
        """Make a distribution whose entry point `mine` is `module`; the PYTHONPATH with which it is found."""
        site = self.root / distribution
        info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(source + "\n")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[harness]\nmine = {module}\n")
        return str(site)

    def fake_ray(self, source: str) -> str:
        """A package `ray` of one's own; the PYTHONPATH with which it is found first."""
        package = self.root / f"fake-{secrets.token_hex(2)}" / "ray"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(source + "\n")
        return str(package.parent)

    @property
    def journal(self) -> str:
        """The journals of all runs so far."""
        return "".join(p.read_text() for p in sorted(self.work.glob("runs/*/journal.jsonl")))

    def count(self, kind: str) -> int:
        """How many entries or events of a kind the journals have."""
        return self.journal.count(f'"what":"{kind}"') + self.journal.count(f'"kind":"{kind}"')

    @property
    def run_dir(self) -> Path:
        """The directory of the only run so far."""
        (found,) = (self.work / "runs").iterdir()
        return found

    # --- what is left ---------------------------------------------------------------------------------------------------

    def look(self) -> list[int]:
        """The pids of all living processes of this scene, which are remembered from now on."""
        stats = {int(e.name): _stat(e) for e in Path("/proc").iterdir() if e.name.isdigit()}
        ours = {pid for pid, born in self.seen.items() if pid in stats and stats[pid].get("born") == born}
        for pid, stat in stats.items():
            if stat and (int(stat["session"]) in self.sessions or _has(pid, self.mark)):
                ours.add(pid)
        grown = True
        while grown:
            children = {pid for pid, stat in stats.items() if stat and int(stat["parent"]) in ours} - ours
            ours |= children
            grown = bool(children)
        self.seen.update({pid: stats[pid]["born"] for pid in ours})
        return sorted(pid for pid in ours if stats[pid]["state"] not in "ZX")

    def command(self, pid: int) -> str:
        """The command line of a process, empty where it has ended."""
        return _command(pid)

    def nodes(self) -> dict[str, int]:
        """The living node processes of this scene: pids by name (n0 is the front-end)."""
        names = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in self.look()}
        return {name.removeprefix("harness-"): pid for pid, name in names.items() if name.startswith("harness-n")}

    def ports(self, pid: int) -> list[int]:
        """Where a process listens."""
        inodes = set(_socket_inodes(pid))
        return [int(address.rpartition(":")[2], 16) for address, inode in listeners().items() if inode in inodes]

    def look_at_sockets(self) -> None:
        """Remember where the living processes of this scene listen."""
        inodes = {i for pid in self.look() for i in _socket_inodes(pid)}
        self.listening |= {address for address, inode in listeners().items() if inode in inodes}

    def left(self) -> dict[str, Any]:
        """Everything of this scene that is still there: nothing, after a clean end."""
        found = {
            "processes": [f"{pid} {_command(pid)}" for pid in self.look()],
            "sockets": sorted(self.listening & listeners().keys()),
            "temporary files": sorted(str(p) for p in self.temporary.iterdir()),
            "files at home": sorted(str(p) for p in self.home.iterdir()),
        }
        return {what: those for what, those in found.items() if those}

    def assert_clean(self, within_s: float = GONE_WITHIN_S) -> None:
        """Nothing is left, or not for long."""
        end = time.monotonic() + within_s
        while (left := self.left()) and time.monotonic() < end:
            time.sleep(0.05)
        assert not left

    def end(self) -> None:
        """End by force what is left, each process by its pid."""
        for pid in self.look():
            held = os.pidfd_open(pid)
            try:
                if pid in self.look():
                    signal.pidfd_send_signal(held, signal.SIGKILL)
            finally:
                os.close(held)
        shutil.rmtree(self.temporary, ignore_errors=True)


def _stat(entry: Path) -> dict[str, str]:
    try:
        fields = (entry / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return {}
    return {"state": fields[0], "parent": fields[1], "session": fields[3], "born": fields[19]}


def _has(pid: int, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
    except OSError:
        return ""


def _socket_inodes(pid: int) -> Iterator[str]:
    try:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            target = str(fd.readlink())
            if target.startswith("socket:["):
                yield target[8:-1]
    except OSError:
        return


def listeners() -> dict[str, str]:
    """All TCP sockets of this machine that listen: the kernel's spelling of the address, and the inode."""
    found = {}
    for table in ("tcp", "tcp6"):
        path = Path(f"/proc/net/{table}")
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if fields[3] == "0A":
                found[fields[1]] = fields[9]
    return found


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A scene for one test, which must be clean at its end."""
    with_scene = make_scene(tmp_path)
    try:
        yield with_scene
        with_scene.assert_clean()
    finally:
        with_scene.end()


def make_scene(root: Path) -> Scene:
    """A scene under `root`. Its directory for temporary files has a short name: Ray puts sockets below it."""
    temporary = Path(f"/tmp/b{secrets.token_hex(3)}")
    temporary.mkdir(mode=0o700)
    made = Scene(root, temporary)
    made.home.mkdir()
    made.work.mkdir()
    return made


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Scene]]:
    """Makes scenes for a whole module; whoever asks for one says himself when it must be clean."""
    made: list[Scene] = []

    def one() -> Scene:
        made.append(make_scene(tmp_path_factory.mktemp("scene")))
        return made[-1]

    yield one
    for scene in made:
        scene.end()
