"""What a run ran on, so that two runs can be told apart later. Nothing here fails: what cannot be read is null."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from harness import __version__

#: Packages whose versions can change a result.
PACKAGES = ("harness", "msgpack", "numpy", "pandas", "pluggy", "pyarrow", "ray", "rich", "typer")


def describe_environment(argv: Sequence[str]) -> dict[str, Any]:
    """The machine, the software and the moment, as plain values.

    `host` is a hash of the host's name: it tells machines apart without naming them. Memory is in bytes, `load_average` is
    the kernel's over 1, 5 and 15 minutes at the start of the run.
    """
    uname = os.uname()
    return {
        "harness": __version__,
        "argv": list(argv),
        "started_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "host": hashlib.sha256(uname.nodename.encode()).hexdigest()[:12],
        "boot_id": _read("/proc/sys/kernel/random/boot_id"),
        "kernel": f"{uname.sysname} {uname.release}",
        "machine": uname.machine,
        "cpu_model": next(_fields("/proc/cpuinfo", "model name"), None) or platform.processor() or None,
        "cpus": os.cpu_count(),
        "cpus_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu_governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "clock_source": _read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "memory_bytes": _memory_bytes(),
        "load_average": [round(x, 2) for x in os.getloadavg()],
        "tcp_congestion_control": _read("/proc/sys/net/ipv4/tcp_congestion_control"),
        "open_files_limit": _open_files_limit(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: _package_version(name) for name in PACKAGES},
        "git": _git(Path.cwd()),
    }


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _fields(path: str, name: str) -> Iterator[str]:
    """The values of the lines `name : value` of a file of the kernel's."""
    for line in (_read(path) or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            yield value.strip()


def _memory_bytes() -> int | None:
    total = next(_fields("/proc/meminfo", "MemTotal"), None)
    return int(total.split()[0]) * 1024 if total else None


def _open_files_limit() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _package_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git(where: Path) -> dict[str, Any] | None:
    """The revision of the working directory, and whether it has changes; None where it is in no repository."""
    revision = _run_git(where, "rev-parse", "HEAD")
    if revision is None:
        return None
    status = _run_git(where, "status", "--porcelain")
    return {"revision": revision, "dirty": None if status is None else bool(status)}


def _run_git(where: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(where), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
