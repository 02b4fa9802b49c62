"""One running trial, as the driver sees it."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.api.errors import InfrastructureError
from harness.api.fault import late
from harness.api.testbed import DeploymentSpec
from harness.testbeds.front_end import FrontEndWatch
from harness.testbeds.hosts import AgentGone, Host, ask, ask_each, clock_offsets, named, settle
from harness.testbeds.roots import Roots, how_ended, patience
from harness.testbeds.wire import Launch

NODE_ENTRY = "harness.testbeds.loop:run_node"
#: How long an agent holds a poll without events.
_LONG_POLL_S = 2.0
#: The front-end gives up on a tree that does not attach by itself; it gets the first word.
_FRONT_END_FIRST_S = 2.0
_CHUNK_BYTES = 4 << 20
_FORCE_S = 5.0


class TreeDeployment:
    """Starts, follows and ends the node processes of one trial through the agents of its hosts.

    `entry` names the node's main function; it is a parameter so that a testbed can be tried without a tree inside.
    `bind`: see harness.testbeds.binding; all hosts are this machine then.
    """

    def __init__(self, spec: DeploymentSpec, hosts: Sequence[Host], entry: str = NODE_ENTRY, bind: bool = False) -> None:
        self._spec = spec
        self._nodes: dict[int, tuple[int, ...]] = {}
        for node in spec.tree.nodes:
            if not 0 <= node.host < len(hosts):
                raise InfrastructureError(f"node {node.id} is placed on host {node.host}, but there are {len(hosts)} hosts")
            self._nodes[node.host] = (*self._nodes.get(node.host, ()), node.id)
        absent = late(spec.injections)
        self._expected = [n.id for n in spec.tree.nodes if n.id not in absent]
        self._hosts = [hosts[number] for number in sorted(self._nodes)]
        self._by_number = hosts
        self._front_host = hosts[spec.tree.nodes[0].host]
        self._entry = entry
        self._bind = bind
        self._polls: dict[int, Future[Any]] = {}
        self._lost: set[int] = set()
        self._queue: list[dict[str, Any]] = []
        self._addresses: dict[int, str] = {}
        self._exited: dict[int, int] = {}
        self._failures: dict[int, str] = {}
        self._attached: set[int] = set()
        self._faults = 0
        self._launched = self._gone = False
        self._workload_started_s: float | None = None
        self._finished = self._stopped = False
        self._roots = Roots(spec.tree, lambda node: node not in self._exited, self._why_ended)
        self._watches = {n: FrontEndWatch(spec.injections, n) for n in self._roots.candidates}
        self._hopeless = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop(0.0)

    # --- start --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all node processes and wait until the workload has started. Raises InfrastructureError, after everything was
        taken down again, where that does not happen in time."""
        try:
            self._launch()
            self._wait_for_listeners()
            self._go()
        except BaseException:
            self._end(0.0, 0.0)
            raise

    def _launch(self) -> None:
        try:
            blob = pickle.dumps(self._spec, protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            raise InfrastructureError(f"the trial cannot be sent to its hosts: a plugin cannot be pickled: {error}") from error
        offsets = clock_offsets(self._hosts, self._front_host)
        (epoch_s,) = ask([self._front_host], "clock")

        def launch(host: Host) -> Launch:
            at = epoch_s + offsets[host.number]
            return Launch(blob, self._nodes[host.number], host.number, host.address, at, self._entry, self._bind)

        self._launched = True
        ask_each(self._hosts, "launch", launch, within_s=self._spec.start_timeout_s)

    def _wait_for_listeners(self) -> None:
        deadline = time.monotonic() + self._spec.start_timeout_s
        while missing := [n for n in self._expected if n not in self._addresses]:
            for node in missing:
                if node in self._failures or node in self._exited:
                    raise InfrastructureError(f"{self._name(node)} did not come up: {self._why_ended(node)}")
            if time.monotonic() > deadline:
                raise InfrastructureError(
                    f"{len(missing)} of {len(self._expected)} node processes did not come up within"
                    f" {self._spec.start_timeout_s:g} s: {_list(self._name(n) for n in missing)}"
                )
            self._pump(deadline - time.monotonic())

    def _go(self) -> None:
        addresses = {str(node): address for node, address in self._addresses.items() if address}
        ask(self._hosts, "command", {"cmd": "go", "addresses": addresses})
        self._gone = True
        within_s = self._spec.start_timeout_s * patience(self._spec.tree) + _FRONT_END_FIRST_S
        deadline = time.monotonic() + within_s
        while self._workload_started_s is None:
            if self._finished and self._faults:
                return  # what a fault does to a tree that is starting is for the trial's check to say
            if self._finished or self._failures or time.monotonic() > deadline:
                raise InfrastructureError(self._why_not_ready(within_s))
            self._pump(deadline - time.monotonic())
        left_out = [int(e["member"]) for e in self._queue if e["kind"] == "dead"]
        if left_out and not self._faults:
            raise InfrastructureError(f"the tree came up without some nodes; not attached: {self._with_refusals(left_out)}")
        ask(self._hosts, "arm", self._workload_started_s)

    def _with_refusals(self, nodes: Iterable[int]) -> str:
        """The nodes, each with what was last heard of its attempts to attach."""
        refused = {int(e["node"]): f": {e['reason']}" for e in self._queue if e["kind"] == "adopter-refused"}
        return _list(self._name(node) + refused.get(node, "") for node in nodes)

    def _why_not_ready(self, within_s: float) -> str:
        if self._failures:
            node = min(self._failures)
            return f"{self._name(node)} failed before the tree was ready: {self._failures[node]}"
        reasons = [str(e.get("reason", "")) for e in self._queue if e["kind"] == "finished"]
        if reasons:
            return f"the tree was not ready when the front-end gave up: {reasons[0]}"
        detached = [n for n in self._expected[1:] if n not in self._attached]
        what = f"; not attached: {self._with_refusals(detached)}" if detached else ""
        return f"the tree was not ready within {within_s:g} s{what}"

    def _name(self, node: int) -> str:
        n = self._spec.tree.nodes[node]
        return f"node {node} ({n.role}, host {n.host})"

    # --- poll ---------------------------------------------------------------------------------------------------------

    def poll(self, timeout_s: float) -> list[dict[str, Any]]:
        """The events since the last call, those of one call in the order of their times; waits at most `timeout_s` for the
        first. Raises InfrastructureError where a host was lost; `stop` still has what was heard before."""
        if not self._stopped:
            self._pump(0.0 if self._queue else timeout_s)
            self._look_at_front_end()
        return self._drain()

    def _look_at_front_end(self) -> None:
        """End a trial whose front-end the suite has stopped for good, once its neighbours have had the time to notice, where no
        standby goes on, or may."""
        settings = self._spec.settings
        left = [n for n in self._roots.candidates if n not in self._exited]
        since = [self._watches[n].hopeless_s(settings.lease_s + settings.heartbeat_s) for n in left]
        known = [t_s for t_s in since if t_s is not None]
        if known and len(known) == len(left) and not self._finished:
            self._hopeless = True
            self._give_up(max(known), "the suite's own fault stopped the front-end, and nothing is going to continue it")

    def _give_up(self, t_s: float, reason: str) -> None:
        """Say in the front-end's place that the workload is over."""
        self._finished = True
        self._queue.append({"t_s": t_s, "kind": "finished", "ok": False, "reason": reason})

    def _drain(self) -> list[dict[str, Any]]:
        events, self._queue = self._queue, []
        return sorted(events, key=lambda e: float(e["t_s"]))

    def _pump(self, timeout_s: float) -> None:
        """Take in what the agents have, waiting at most `timeout_s` for the first of them."""
        for host in self._hosts:
            if host.number not in self._polls and host.number not in self._lost:
                self._polls[host.number] = host.handle.call("poll", _LONG_POLL_S)
        if not self._polls:
            raise InfrastructureError("all hosts of the trial are lost")
        wait(self._polls.values(), timeout=max(0.0, timeout_s), return_when=FIRST_COMPLETED)
        errors = self._collect_polls()
        if errors:
            raise errors[0]

    def _collect_polls(self) -> list[BaseException]:
        """Take the events of all polls that have been answered; the errors of those that failed."""
        errors = []
        for host in self._hosts:
            future = self._polls.get(host.number)
            if future is None or not future.done():
                continue
            del self._polls[host.number]
            if (error := future.exception()) is not None:
                self._lost.add(host.number)
                errors.append(named(host, error))
            else:
                for event in future.result():
                    self._take(event)
        return errors

    def _take(self, event: dict[str, Any]) -> None:
        kind = event["kind"]
        if kind == "listening":
            self._addresses[event["node"]] = event["address"]
            return
        if not self._roots.take(event):
            return
        self._queue.append(event)
        for watch in self._watches.values():
            watch.take(event)
        if kind == "node-started":  # perhaps in the place of one that has ended
            self._exited.pop(event["node"], None)
        elif kind == "attached":
            self._attached.add(event["node"])
        elif kind == "workload-started":
            self._workload_started_s = float(event["t_s"])
        elif kind == "fault":
            self._faults += 1
        elif kind == "finished":
            self._finished = True
        elif kind == "node-failed":
            self._failures[event["node"]] = event["message"]
        elif kind == "node-exited":
            self._on_exited(event)

    def _on_exited(self, event: dict[str, Any]) -> None:
        node = event["node"]
        self._exited[node] = event["status"]
        if self._gone and not self._finished and not self._stopped and (reason := self._roots.end_of(node)):
            self._give_up(event["t_s"], reason)

    def _why_ended(self, node: int) -> str:
        if node in self._failures:
            return self._failures[node]
        return how_ended(self._exited[node])

    # --- stop and collect ---------------------------------------------------------------------------------------------

    def stop(self, timeout_s: float) -> list[dict[str, Any]]:
        """End the tree in order within `timeout_s`, then by force; return the last events. Idempotent. Raises
        InfrastructureError where a host does not confirm the end of its processes (a host whose agent is gone has none)."""
        if self._hopeless:
            timeout_s = 0.0  # a front-end that woke up now would say something else about an end that was told already
        rivals = self._roots.candidates if len(self._roots.candidates) > 1 and not self._finished else ()
        in_order = self._gone and self._roots.in_charge and not any(self._watches[n].stopped for n in rivals)
        errors = self._end(timeout_s, 0.6 * timeout_s if in_order else 0.0)
        if errors:
            raise errors[0]
        return self._drain()

    def _end(self, timeout_s: float, patience_s: float) -> list[InfrastructureError]:
        """Take everything down and fetch the last events; what went wrong."""
        if self._stopped or not self._launched:
            self._stopped = True
            return []
        self._stopped = True
        hosts = self._hosts
        futures = [h.handle.call("stop", timeout_s, patience_s, self._roots.root) for h in hosts]
        within_s = timeout_s + _FORCE_S
        wait(futures, timeout=within_s)
        wait(self._polls.values(), timeout=_FORCE_S)  # an agent ends a long poll when its trial has ended
        self._collect_polls()
        left = [h for h, f in zip(hosts, futures, strict=True) if f.done() and f.exception() is None]
        self._polls = {h.number: h.handle.call("poll", 0.0) for h in left}
        wait(self._polls.values(), timeout=_FORCE_S)
        self._collect_polls()
        errors = []
        for host, future in zip(hosts, futures, strict=True):
            try:
                settle([host], [future], "stop", 0.0)
            except AgentGone:
                continue  # its processes ended with it
            except InfrastructureError as error:
                errors.append(error)
        return errors

    def collect(self, into: Path) -> None:
        """Fetch the sample files of the front-end, or of the standby that took its place, into directory `into`; none where it
        never wrote any. Raises InfrastructureError where its host is lost or the files cannot be written."""
        root = self._roots.root
        host = self._by_number[self._spec.tree.nodes[root].host]
        (files,) = ask([host], "files", root)
        into.mkdir(parents=True, exist_ok=True)
        try:
            for name, size in sorted(files.items()):
                with (into / Path(name).name).open("wb") as out:
                    for offset in range(0, size, _CHUNK_BYTES):
                        (piece,) = ask([host], "fetch", root, name, offset, _CHUNK_BYTES)
                        out.write(piece)
        except OSError as error:
            raise InfrastructureError(f"the samples cannot be written to {into}: {error}") from error


def _list(names: Iterable[str], at_most: int = 8) -> str:
    every = list(names)
    more = f" and {len(every) - at_most} more" if len(every) > at_most else ""
    return ", ".join(every[:at_most]) + more
