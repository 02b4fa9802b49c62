"""What the testbeds ask of the operating system about processes: who is whose parent, who is stopped, what they use.

Linux is home. Elsewhere the functions that need /proc or prctl say so by their return value, and the pipes between the
processes remain as the only line of defence against orphans.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from harness.api.errors import InfrastructureError

#: Environment variable by which the processes of one open testbed are recognised, whoever their parent is by then.
MARK = "HARNESS_TESTBED"

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_LINUX = sys.platform == "linux"
_libc = ctypes.CDLL(None, use_errno=True) if _LINUX else None


def die_with_parent(parent: int, by: signal.Signals) -> None:
    """Ask the kernel to send `by` to this process when the thread that started it ends; exit at once where the parent
    (whose pid must be `parent`) has ended before the request was in place. Does nothing beyond that check off Linux."""
    if _libc is not None and _libc.prctl(_PR_SET_PDEATHSIG, int(by), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        os._exit(1)


def set_process_name(name: str) -> None:
    """Name this process as `ps -o comm` shows it (at most 15 bytes)."""
    if _libc is not None:
        _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def state_of(pid: int) -> str:
    """The one-letter state of /proc/PID/stat (R, S, D, T, Z, ...); "" where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def is_running(pid: int) -> bool:
    """Whether the process exists and has not ended (a zombie has)."""
    return state_of(pid) not in ("", "Z", "X")


def boot_id() -> str:
    """The same for all processes of one booted kernel; "" where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def usage() -> dict[str, float]:
    """What this process uses: resident and proportional set, memory of its own, its peak (bytes), and CPU time (s)."""
    found = {"rss_bytes": 0, "pss_bytes": 0, "own_bytes": 0}
    names = {"Rss": "rss_bytes", "Pss": "pss_bytes", "Private_Clean": "own_bytes", "Private_Dirty": "own_bytes"}
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
            key, _, rest = line.partition(":")
            if key in names:
                found[names[key]] += int(rest.split()[0]) * 1024
    used = resource.getrusage(resource.RUSAGE_SELF)
    found["rss_bytes"] = found["rss_bytes"] or used.ru_maxrss * 1024
    return {**found, "peak_rss_bytes": _peak_bytes(used.ru_maxrss), "cpu_s": round(used.ru_utime + used.ru_stime, 6)}


def _peak_bytes(max_rss_kib: int) -> int:
    # VmHWM rather than ru_maxrss: the latter is inherited from the parent of a forked process.
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return max_rss_kib * 1024


def raise_descriptor_limit(needed: int, what: str) -> int:
    """Raise the soft limit of open files to the hard one and return it. Raises InfrastructureError where it stays below
    `needed`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard or hard == resource.RLIM_INFINITY:
        wanted = max(soft, needed, 65536) if hard == resource.RLIM_INFINITY else hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft < needed:
        raise InfrastructureError(
            f"too few file descriptors: {what} needs {needed}, the limit is {soft}; raise it (ulimit -Hn {needed}, or "
            f"LimitNOFILE / limits.conf) where Ray or the harness is started"
        )
    return soft


def marked(value: str, base: Path | None = None) -> list[int]:
    """The pids of all living processes of this machine, except this one, that were started with MARK=value in their
    environment, and of those of Ray's that have files open below `base`. Processes of other users are not seen."""
    pids = (int(e.name) for e in Path("/proc").iterdir() if e.name.isdigit()) if _LINUX else iter(())
    return [pid for pid in pids if pid != os.getpid() and _is_marked(pid, value, base) and is_running(pid)]


def _is_marked(pid: int, value: str, base: Path | None) -> bool:
    with contextlib.suppress(OSError):
        if f"{MARK}={value}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return True
        # Ray's helpers write their title over their environment.
        if base is not None and Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::"):
            return any(str(fd.readlink()).startswith(f"{base}/") for fd in Path(f"/proc/{pid}/fd").iterdir())
    return False


def end_marked(value: str, grace_s: float, base: Path | None = None) -> list[int]:
    """Give the processes that `marked` finds `grace_s` seconds to end by themselves, then end them by SIGKILL. Returns the
    pids that had to be killed. Raises InfrastructureError where one of them does not even end by that."""
    wait_until_gone(marked(value, base), grace_s)
    killed: list[int] = []
    deadline = time.monotonic() + 10.0
    while left := marked(value, base):
        if time.monotonic() > deadline:
            raise InfrastructureError(f"processes {left} did not end after SIGKILL; look at them with ps and end them by hand")
        for pid in left:
            _kill_if_marked(pid, value, base)
        killed += [pid for pid in left if pid not in killed]
        time.sleep(0.02)
    return killed


def _kill_if_marked(pid: int, value: str, base: Path | None) -> None:
    # The pid could have gone to somebody else since it was listed: hold it by a descriptor and look again before killing.
    with contextlib.suppress(ProcessLookupError):
        held = os.pidfd_open(pid)
        try:
            if _is_marked(pid, value, base):
                signal.pidfd_send_signal(held, signal.SIGKILL)
        finally:
            os.close(held)


def wait_until_gone(pids: Iterable[int], timeout_s: float) -> None:
    """Wait until none of the processes runs any more, at most `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    pids = list(pids)
    while any(is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
