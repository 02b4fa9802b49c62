"""What `harness doctor` tries, one function each. Nothing here changes the machine: whatever is set up is in a process or a
network namespace of its own and gone afterwards."""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from harness.registry import Category, load
from harness.registry.loading import BUILT_IN
from harness.testbeds.ray_adapter import OLDEST_RAY, is_too_old

#: The largest tree of the ready suites and benchmarks: 1 + 16 + 256 processes.
LARGE_TREE = 273
#: Descriptors that an agent holds for each node process: report and control pipe, both ends at the start.
DESCRIPTORS_PER_NODE = 4
#: What a node process may have of its own.
NODE_MB = 25
#: What Ray has at rest on one machine: gcs server, raylet, dashboard agents, object store.
RAY_MB = 1000


class Status(Enum):
    """How a finding counts: fine; works with a limit; every run needs it and it is not there; for information."""

    OK = "ok"
    LIMITED = "limited"
    MISSING = "missing"
    INFO = "info"


@dataclass(frozen=True)
class Finding:
    """What was found, and the command (or the deed) that would change it, empty where nothing need change."""

    name: str
    status: Status
    found: str
    change: str = ""


def examine() -> list[Finding]:
    """All findings, the ones that every run needs first."""
    needed = [python_version(), ray_version(), loopback(), stop_and_continue()]
    room = [cores(), memory(), descriptors(), shared_memory()]
    return [*needed, *room, *transports(), *broken_plugins(), *network_tools(), rdma()]


def python_version() -> Finding:
    """The Python that runs this; an older one than we need could not have."""
    return Finding("python", Status.OK, f"{'.'.join(str(n) for n in sys.version_info[:3])} at {sys.executable}")


def ray_version() -> Finding:
    """Ray, imported in a process of its own, so that one that crashes is noticed too."""
    code = "import ray; print(ray.__version__)"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("ray", Status.MISSING, f"cannot be imported: {error}", "make setup")
    if done.returncode == 0:
        version = (done.stdout.split() or [""])[-1]
        if is_too_old(version):
            oldest = ".".join(map(str, OLDEST_RAY))
            return Finding("ray", Status.MISSING, f"{version} is too old, {oldest} is needed", "make setup")
        return Finding("ray", Status.OK, version)
    reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return Finding("ray", Status.MISSING, f"cannot be imported: {reason}", "make setup")


def loopback() -> Finding:
    """A TCP connection over the loopback interface."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(5)
            with socket.create_connection(server.getsockname(), timeout=5) as client:
                accepted, _ = server.accept()
                with accepted:
                    client.sendall(b"x")
                    accepted.settimeout(5)
                    if accepted.recv(1) == b"x":
                        return Finding("loopback", Status.OK, "TCP over 127.0.0.1 works")
    except OSError as error:
        return Finding("loopback", Status.MISSING, f"no TCP over 127.0.0.1: {error}", "ip link set lo up (as root)")
    return Finding("loopback", Status.MISSING, "TCP over 127.0.0.1 lost a byte", "ip link set lo up (as root)")


def stop_and_continue() -> Finding:
    """SIGSTOP, SIGCONT and SIGKILL on a process of ours: what the faults crash and hang need."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        try:
            child.send_signal(signal.SIGSTOP)
            stopped = _reaches(child.pid, "Tt")
            child.send_signal(signal.SIGCONT)
            continued = _reaches(child.pid, "SRD")
        finally:
            child.kill()
    if stopped and continued:
        return Finding("signals", Status.OK, "a process can be stopped, continued and killed (faults crash and hang)")
    what = "stopped" if not stopped else "continued"
    return Finding("signals", Status.LIMITED, f"a child process was not {what} by a signal: fault hang cannot be used")


def _reaches(pid: int, states: str) -> bool:
    """Whether the process gets into one of the states (third field of its stat file) within two seconds."""
    stat = Path(f"/proc/{pid}/stat")
    for _ in range(200):
        try:
            state = stat.read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state in states:
            return True
        time.sleep(0.01)
    return False


def cores() -> Finding:
    """Cores that this process may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if count >= 2:
        return Finding("cores", Status.OK, f"{count} usable")
    found = "1 usable: node processes take turns, so latencies mean little"
    return Finding("cores", Status.LIMITED, found, "use a larger machine")


def memory() -> Finding:
    """Free memory, as the number of node processes that it is good for."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return Finding("memory", Status.INFO, "unknown here")
    free_mb = next((int(line.split()[1]) // 1024 for line in lines if line.startswith("MemAvailable:")), 0)
    nodes = max(0, (free_mb - RAY_MB) // NODE_MB)
    text = f"{free_mb / 1024:.1f} GB free: Ray and some {nodes} node processes of {NODE_MB} MB"
    if nodes >= LARGE_TREE:
        return Finding("memory", Status.OK, text)
    return Finding("memory", Status.LIMITED, text, f"free memory, or stay below {nodes} nodes")


def descriptors() -> Finding:
    """The limit of open files against what an agent of a large tree needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = LARGE_TREE * DESCRIPTORS_PER_NODE + 256
    shown = "no limit" if soft == resource.RLIM_INFINITY else f"limit {soft}"
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return Finding("open files", Status.OK, f"{shown}, {wanted} are enough for a tree of {LARGE_TREE} nodes")
    within = hard == resource.RLIM_INFINITY or hard >= wanted
    change = f"ulimit -n {wanted}" if within else f"raise the hard limit: `* hard nofile {wanted}` in /etc/security/limits.conf"
    return Finding("open files", Status.LIMITED, f"{shown}, but a tree of {LARGE_TREE} nodes needs {wanted}", change)


def shared_memory() -> Finding:
    """Ray's object store lives in /dev/shm; we hardly use it, but Ray wants room at its start."""
    try:
        space = os.statvfs("/dev/shm")
    except OSError:
        return Finding("shared memory", Status.INFO, "no /dev/shm: Ray keeps its object store in a file")
    free_mb = space.f_bavail * space.f_frsize >> 20
    if free_mb >= 128:
        return Finding("shared memory", Status.OK, f"{free_mb} MB free in /dev/shm")
    change = "mount -o remount,size=1g /dev/shm (as root; in a container: docker run --shm-size=1g)"
    return Finding("shared memory", Status.LIMITED, f"{free_mb} MB free in /dev/shm: Ray falls back to files", change)


def transports() -> Iterator[Finding]:
    """Every installed transport that needs no keys is asked itself."""
    for name, kind in sorted(load().kinds(Category.TRANSPORT).items()):
        if kind.required:
            yield Finding(f"transport {name}", Status.INFO, "needs keys, so it was not tried")
            continue
        try:
            reason = kind.cls().unavailable()
        except Exception as error:  # a plugin's own code: whatever it raises is reported as its mistake
            reason = f"raised {type(error).__name__}: {error}"
        yield Finding(f"transport {name}", Status.LIMITED if reason else Status.OK, reason or "can be used")


def broken_plugins() -> Iterator[Finding]:
    """Plugins that are installed and cannot be used."""
    for plugin in load().broken:
        ours = plugin.origin.distribution == BUILT_IN
        change = "make setup" if ours else f"mend it, or: pip uninstall {plugin.origin.distribution}"
        found = f"{plugin.origin} is broken: {plugin.broken}"
        yield Finding(f"plugin {plugin.origin.entry_point}", Status.MISSING if ours else Status.LIMITED, found, change)


def network_tools() -> Iterator[Finding]:
    """Netem and nftables, tried in a network namespace of their own; no built-in fault uses them yet."""
    netem = ["tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]
    yield _in_namespace("netem", netem, "apt-get install iproute2; modprobe sch_netem (as root)")
    yield _in_namespace("nftables", ["nft", "add", "table", "inet", "probe"], "apt-get install nftables (as root)")


def _in_namespace(name: str, command: Sequence[str], change: str) -> Finding:
    if shutil.which(command[0]) is None:
        return Finding(name, Status.INFO, f"no command {command[0]}", change)
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    try:
        done = subprocess.run(
            ["unshare", *user, "--net", "--", *command], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(name, Status.INFO, f"could not be tried: {error}")
    if done.returncode == 0:
        return Finding(name, Status.INFO, "works in a network namespace of our own")
    reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return Finding(name, Status.INFO, f"does not work in a network namespace of our own: {reason}", change)


def rdma() -> Finding:
    """RDMA devices and the Python binding of libibverbs."""
    folder = Path("/sys/class/infiniband")
    devices = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    binding = importlib.util.find_spec("pyverbs") is not None
    found = f"devices: {', '.join(devices) or 'none'}; pyverbs {'is' if binding else 'is not'} installed"
    if devices and binding:
        return Finding("rdma", Status.INFO, found)
    software_device = "modprobe rdma_rxe && rdma link add rxe0 type rxe netdev eth0 (as root)"
    return Finding("rdma", Status.INFO, found, "apt-get install python3-pyverbs (as root)" if devices else software_device)
