"""The one place that touches Ray. Everything in here has a time-out, and ends in our own errors.

Ray is imported on first use only. Its client can neither be interrupted nor trusted to give up, so that all of its blocking
calls are made by one thread of ours, and a cluster is first probed from a process of its own (`python -m` this module).
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from harness.api.errors import InfrastructureError
from harness.testbeds.agent import Agent, AgentConfig
from harness.testbeds.hosts import AgentGone
from harness.testbeds.procs import MARK, raise_descriptor_limit
from harness.testbeds.ray_quiet import QUIET, dismiss_helpers

NAMESPACE = "harness"
#: As in pyproject.toml.
OLDEST_RAY = (2, 30)
_USED = ("get_runtime_context", "init", "is_initialized", "kill", "nodes", "remote", "shutdown")
#: What the hungriest of Ray's processes has open on one machine with a few agents, and some room.
_DESCRIPTORS = 128
_OBJECT_STORE_BYTES = 80 << 20
_LEAVE_WITHIN_S = 30.0
#: Threads of an agent: a long poll, an order that takes its time, and room for short questions.
_AGENT_THREADS = 4
#: Off: everything of a Ray that is ours alone listens on the loopback address only, not on all interfaces.
_CLUSTER_SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@dataclass(frozen=True)
class RayNode:
    """One raylet: its id, its address, and the name of its machine."""

    id: str
    address: str
    hostname: str


class RayAgent:
    """An agent actor. Implements harness.testbeds.hosts.AgentHandle."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def call(self, method: str, *args: Any) -> Future[Any]:
        """See AgentHandle."""
        answer: Future[Any] = Future()
        try:
            made: Future[Any] = getattr(self._actor, method).remote(*args).future()
        except Exception as error:
            answer.set_exception(translate(error))
            return answer

        def forward(done: Future[Any]) -> None:
            error = done.exception()
            if error is None:
                answer.set_result(done.result())
            else:
                answer.set_exception(translate(error))

        made.add_done_callback(forward)
        return answer

    def kill(self) -> None:
        """End the actor's process."""
        import ray

        ray.kill(self._actor)


class RayClient:
    """This process's connection to Ray: `start` or `join`, then `leave`. One at a time in a process."""

    def __init__(self) -> None:
        self._thread = _Thread()
        self._environment: dict[str, str | None] = {}
        self._connected = False

    def start(self, directory: Path, num_cpus: int, mark: str, within_s: float) -> None:
        """Start a small Ray of our own on this machine, with its files under `directory` and reachable over loopback with a
        secret of its own only. Nothing is written anywhere else. Raises InfrastructureError."""
        raise_descriptor_limit(_DESCRIPTORS, "Ray")
        self._set_environment(
            {
                MARK: mark,
                _CLUSTER_SWITCH: "0",
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": secrets.token_hex(32),
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_enable_metrics_collection": "0",
                **QUIET,
                "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
                "PYTHONPATH": _own_path(),
            },
            without=("RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"),
        )
        self._init(
            within_s,
            num_cpus=num_cpus,
            num_gpus=0,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            _temp_dir=str(directory),
            _node_ip_address="127.0.0.1",
        )
        self._thread.call(dismiss_helpers, within_s, "starting Ray")
        self._restore_environment(MARK, "PYTHONPATH")  # these are for Ray's processes, which have them now

    def join(self, address: str, packages: Sequence[Path] | None, mark: str, within_s: float) -> None:
        """Join the cluster at `address` (host:port) and ship `packages` to every agent (None: the cluster is this machine, and
        agents import from where we do). Raises InfrastructureError."""
        found = probe(address, within_s)
        local = any(ip.startswith("127.") for ip in found.addresses)
        self._set_environment({_CLUSTER_SWITCH: "0"} if local else {})
        environment: dict[str, Any] = {"env_vars": {MARK: mark}}
        if packages is None:
            environment["env_vars"]["PYTHONPATH"] = _own_path()
        else:
            environment |= {"py_modules": [str(p) for p in packages], "excludes": ["__pycache__", "*.pyc"]}
        self._init(within_s, address=address, runtime_env=environment)

    def _init(self, within_s: float, **options: Any) -> None:
        ray = import_ray()
        if ray.is_initialized():
            raise InfrastructureError("this process is connected to Ray already; only one testbed with Ray can be open in it")
        _reload_configuration()
        logging.getLogger("ray").setLevel(logging.ERROR)
        common = {"namespace": NAMESPACE, "log_to_driver": False, "configure_logging": False, "logging_level": logging.ERROR}
        what = f"connecting to Ray at {options['address']}" if "address" in options else "starting Ray"
        self._connected = True
        self._thread.call(lambda: ray.init(**common, **options), within_s, what)

    def nodes(self, within_s: float) -> list[RayNode]:
        """The living nodes of the cluster, this process's own first, then by address."""
        ray = import_ray()
        rows, own = self._thread.call(
            lambda: (ray.nodes(), ray.get_runtime_context().get_node_id()), within_s, "listing Ray's nodes"
        )
        nodes = [RayNode(r["NodeID"], r["NodeManagerAddress"], r["NodeManagerHostname"]) for r in rows if r["Alive"]]
        return sorted(nodes, key=lambda n: (n.id != own, n.address, n.id))

    def spawn(self, name: str, config: AgentConfig, node: RayNode) -> RayAgent:
        """Create an agent on `node`. Whether it came up is told by its first answer."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        options = {
            "name": name,
            "num_cpus": 0,
            "max_concurrency": _AGENT_THREADS,
            "max_restarts": 0,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node.id, soft=False),
        }
        make = ray.remote(Agent).options(**options).remote
        return RayAgent(self._thread.call(lambda: make(config), config.start_timeout_s, f"creating agent {name}"))

    def leave(self) -> None:
        """Disconnect; a Ray that we started ends with it. Idempotent."""
        try:
            if self._connected:
                import ray

                self._connected = False
                self._thread.call(ray.shutdown, _LEAVE_WITHIN_S, "disconnecting from Ray")
        finally:
            self._thread.end()
            if self._environment:
                self._restore_environment()
                _reload_configuration()

    def _set_environment(self, values: Mapping[str, str], without: Sequence[str] = ()) -> None:
        for key in (*values, *without):
            self._environment.setdefault(key, os.environ.pop(key, None))
        os.environ.update(values)

    def _restore_environment(self, *keys: str) -> None:
        for key in keys or tuple(self._environment):
            value = self._environment.pop(key)
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value


class _Thread:
    """One thread that makes Ray's blocking calls, so that the caller can stop waiting for them, and which lives as long as the
    connection: the kernel ends the processes that Ray starts together with the thread that started them."""

    def __init__(self) -> None:
        self._work: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def call(self, act: Callable[[], Any], within_s: float, what: str) -> Any:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="harness-ray", daemon=True)
            self._thread.start()
        future: Future[Any] = Future()
        self._work.put((act, future))
        try:
            return future.result(within_s)
        except TimeoutError as error:
            raise InfrastructureError(f"{what} took longer than {within_s:g} s") from error
        except InfrastructureError:
            raise
        except Exception as error:
            raise InfrastructureError(f"{what} failed: {' '.join(_lines(error))[:1000]}") from error

    def end(self) -> None:
        self._work.put(None)
        self._thread = None

    def _run(self) -> None:
        # What Ray starts inherits this. A shell that is closed sends the signal to everybody, but it is for the driver, which
        # still needs Ray to fetch what was measured. Ray itself does so with Ctrl-C.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        while (job := self._work.get()) is not None:
            act, future = job
            try:
                future.set_result(act())
            except BaseException as error:
                future.set_exception(error)


def _own_path() -> str:
    return os.pathsep.join(p for p in sys.path if p)


def import_ray() -> Any:
    """The ray module. Raises InfrastructureError where it is missing, broken or too old."""
    oldest = ".".join(map(str, OLDEST_RAY))
    install = f"install it: {Path(sys.executable).name} -m pip install 'ray>={oldest}'"
    try:
        import ray
    except Exception as error:  # a broken installation raises whatever it likes
        raise InfrastructureError(f"Ray cannot be imported ({error}); {install}") from error
    version = str(getattr(ray, "__version__", "of no version"))
    if is_too_old(version):
        raise InfrastructureError(f"Ray {version} is here, but {oldest} or newer is needed; {install}")
    if missing := [name for name in _USED if not hasattr(ray, name)]:
        raise InfrastructureError(f"Ray {version} has no {', '.join(missing)}: it cannot be used; {install}")
    return ray


def is_too_old(version: str) -> bool:
    """Whether a Ray of this version is older than what we need."""
    return tuple(int(n) for n in re.findall(r"\d+", version)[:2]) < OLDEST_RAY


def _reload_configuration() -> None:
    """Make Ray look at the environment again: it keeps what it saw when it was imported."""
    constants: Any = sys.modules.get("ray._private.ray_constants")
    if hasattr(constants, "ENABLE_RAY_CLUSTER"):
        constants.ENABLE_RAY_CLUSTER = os.environ.get(_CLUSTER_SWITCH, "1").lower() in ("1", "true")
    raylet = sys.modules.get("ray._raylet")
    configuration, loader = getattr(raylet, "Config", None), getattr(raylet, "AuthenticationTokenLoader", None)
    if configuration is not None and loader is not None:  # Ray without authentication has neither
        configuration.initialize("")
        loader.instance().reset_cache()


def translate(error: BaseException) -> InfrastructureError:
    """One of Ray's errors, or one that an agent raised, as ours."""
    from ray import exceptions

    if isinstance(error, exceptions.RayTaskError):
        cause = error.cause
        if isinstance(cause, InfrastructureError):
            return InfrastructureError(str(cause))
        return InfrastructureError(f"the agent failed: {type(cause).__name__}: {cause}")
    if isinstance(error, exceptions.RayActorError):
        return AgentGone(_last_line(error))
    return InfrastructureError(f"Ray: {_first_line(error)}")


def _lines(error: BaseException) -> list[str]:
    return [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]


def _first_line(error: BaseException) -> str:
    return _lines(error)[0][:500]


def _last_line(error: BaseException) -> str:
    return _lines(error)[-1][:500]


# --- probing a cluster before anything waits for it -----------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """What a cluster said about itself; empty where it did not."""

    ray_version: str = ""
    python_version: str = ""
    addresses: tuple[str, ...] = ()


def probe(address: str, within_s: float) -> Found:
    """Ask the cluster at `address` who it is. Raises InfrastructureError where nobody answers in time, where it is no Ray
    cluster, and where its versions do not fit ours."""
    hint = "start one with `ray start --head`, check the address (host:port of the head), the network, and RAY_AUTH_TOKEN"
    _check_reachable(address, min(within_s, 10.0), hint)
    ray = import_ray()
    try:
        asked = subprocess.run(
            [sys.executable, "-P", "-m", "harness.testbeds.ray_adapter", address],
            env={**os.environ, "PYTHONPATH": _own_path()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=within_s,
        )
    except subprocess.TimeoutExpired as error:
        raise InfrastructureError(f"no Ray cluster answered at {address} within {within_s:g} s; {hint}") from error
    try:
        said = json.loads(asked.stdout.splitlines()[-1])
    except (ValueError, IndexError) as error:
        tail = asked.stderr.decode(errors="replace").strip()[-500:]
        raise InfrastructureError(f"the Ray cluster at {address} could not be asked: {tail}; {hint}") from error
    if "error" in said:
        raise InfrastructureError(f"the Ray cluster at {address} could not be asked: {said['error']}; {hint}")
    found = Found(said["ray_version"], said["python_version"], tuple(said["addresses"]))
    if mistake := mismatch(ray.__version__, ".".join(map(str, sys.version_info[:3])), found):
        raise InfrastructureError(f"the Ray cluster at {address} does not fit: {mistake}")
    return found


def parse_address(address: str) -> tuple[str, int]:
    """The host and the port of a cluster's address. Raises ValueError where it has none."""
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"'{address}' is no address of a Ray cluster; it must be host:port, for example 10.0.0.1:6379")
    return host.strip("[]"), int(port)


def _check_reachable(address: str, within_s: float, hint: str) -> None:
    try:
        host, port = parse_address(address)
    except ValueError as error:
        raise InfrastructureError(f"{error}; {hint}") from error
    try:
        socket.create_connection((host, port), timeout=within_s).close()
    except OSError as error:
        raise InfrastructureError(f"no Ray cluster can be reached at {address}: {error}; {hint}") from error


def mismatch(ray_version: str, python_version: str, cluster: Found) -> str:
    """Why a driver with these versions cannot work on the cluster; "" where it can, as far as the cluster told."""
    if cluster.ray_version and cluster.ray_version != ray_version:
        return (
            f"it runs Ray {cluster.ray_version}, this is Ray {ray_version}; install the cluster's here:"
            f" pip install ray=={cluster.ray_version}"
        )
    theirs, ours = cluster.python_version.split(".")[:2], python_version.split(".")[:2]
    if cluster.python_version and theirs != ours:
        return f"it runs Python {cluster.python_version}, this is Python {python_version}; use the same minor version"
    return ""


def _print_probe(address: str) -> None:
    try:
        usage_lib = importlib.import_module("ray._common.usage.usage_lib")
        client = importlib.import_module("ray._raylet").GcsClient(address=address)
        found = usage_lib.get_cluster_metadata(client) or {}
        nodes = [n.node_manager_address for n in client.get_all_node_info(timeout=10.0).values()]
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
        return
    versions = {key: found.get(key, "") for key in ("ray_version", "python_version")}
    print(json.dumps({**versions, "addresses": nodes}))


if __name__ == "__main__":
    _print_probe(sys.argv[1])
