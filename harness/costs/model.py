"""What the model predicts for one tree: the round trip of one wave, and the waves that a saturated tree carries.

All is made of the CPU time of each node for one wave (`work`), which is linear in the parameters. Processes share the cores of
their machines. So two things bound a tree: its busiest chain or node, which no number of cores makes faster, and the work of
all nodes divided by the cores (the two bounds of Graham, "Bounds on Multiprocessing Timing Anomalies", 1969).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.core.ranks import EMPTY
from harness.core.spec import StreamSpec
from harness.costs.parameters import Parameters
from harness.costs.shape import Shape

_USUAL = StreamSpec(name="", members=EMPTY, filter="")
#: Larger items are offered one at a time (the workload `reduce-stream` does so), smaller ones as many as the parent takes.
MOST_BATCHED_BYTES = 32 << 10


@dataclass(frozen=True, slots=True)
class Load:
    """What the tree carries: items of `item_bytes` up, and for a round trip a request of `request_bytes` down before."""

    item_bytes: int = 8
    request_bytes: int = 16

    def __post_init__(self) -> None:
        for name in ("item_bytes", "request_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")

    @property
    def pieces(self) -> int:
        """Frames that one item is cut into."""
        return -(-self.item_bytes // _USUAL.chunk_bytes)

    @property
    def window_waves(self) -> int:
        """Waves that may be on the way at once."""
        return max(2, min(_USUAL.window_waves, -(-_USUAL.window_bytes // self.item_bytes)))

    @property
    def waves_per_frame(self) -> int:
        """Waves that share a frame where the tree is saturated: half a window, at most a chunk."""
        if self.item_bytes > MOST_BATCHED_BYTES:
            return 1
        return max(1, min(_USUAL.window_waves // 2, _USUAL.chunk_bytes // self.item_bytes))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node is, as far as that matters for its work. deep: the tree has communication processes."""

    children: int
    root: bool
    deep: bool


def work(place: Place, load: Load, request: bool) -> Mapping[str, float]:
    """How much of each parameter a node needs for one wave: {name: amount}; its CPU time is the sum of amount * parameter.

    request: the wave is alone, the answer to a request that comes down before; if not, it is one of a saturated stream, where
    small waves share frames. In a stream, a node of a deep tree hears twice a window what the front-end has delivered, beside
    the credits of its parent; in a flat one that is the same frame.
    """
    children, root = place.children, place.root
    frames = float(load.pieces) if request or load.pieces > 1 else 1 / load.waves_per_frame
    size = float(load.item_bytes)
    need = dict.fromkeys(("send_s", "receive_s"), 0.0)
    if children:
        need |= {"receive_s": children * frames, "receive_s_per_byte": children * size}
        need["filter_s_per_byte"] = (children - 1) * size
    else:
        need["offer_s_per_byte"] = size
    if root:
        need |= {"deliver_s": frames, "deliver_s_per_byte": size}
    else:
        need |= {"send_s": frames, "send_s_per_byte": size}
    need["turn_s"] = frames  # in a stream a node mostly waits for each frame, small ones above all
    if request:
        down = float(load.request_bytes)
        need["send_s"] += children
        need["send_s_per_byte"] = need.get("send_s_per_byte", 0.0) + children * down
        if not root:
            need["receive_s"] += 1
            need["request_receive_s_per_byte"] = down
        need["turn_s"] = 1.0 + bool(children and not root)
    elif place.deep:
        told = 2 / load.window_waves
        need["send_s"] += children * told
        if not root:
            need["receive_s"] += told
            need["turn_s"] += told
    return need


def cpu_s(need: Mapping[str, float], parameters: Parameters) -> float:
    """The CPU time of what `work` says, in seconds."""
    return sum(float(getattr(parameters, name)) * amount for name, amount in need.items())


@dataclass(frozen=True, slots=True)
class Prediction:
    """latency_s: of one round trip with nothing else under way; latency_bound: what decides it, `cores` or `path`.
    throughput_waves_s, throughput_mb_s: of a saturated stream (MB/s of results); throughput_bound: `cores`, `front-end`,
    `communication process` (the one with most children), `back-end`, `link` or `window`. cpu_s_per_wave: of all nodes together
    in a saturated stream."""

    latency_s: float
    latency_bound: str
    throughput_waves_s: float
    throughput_mb_s: float
    throughput_bound: str
    cpu_s_per_wave: float


def places(shape: Shape) -> list[Place]:
    """The place of each class of nodes."""
    last = len(shape.classes) - 1
    return [Place(shape.fanout(i), i == last, shape.depth > 1) for i in range(last + 1)]


def predict(shape: Shape, load: Load, parameters: Parameters, cores: int) -> Prediction:
    """The prediction for a tree whose nodes share `cores` cores evenly. Raises ValueError for less than one core."""
    if cores < 1:
        raise ValueError(f"cores = {cores} must be at least 1")
    latency_s, latency_bound = _latency(shape, load, parameters, cores)
    last = len(shape.classes) - 1
    busy = [cpu_s(work(place, load, False), parameters) for place in places(shape)]
    total_s = sum(b * n for b, n in zip(busy, shape.counts, strict=True))
    inner = max(range(last + 1), key=lambda i: busy[i])
    widest = max(shape.fanout(i) for i in range(last + 1))
    bounds = {
        "cores": total_s / cores,
        "front-end" if inner == last else "back-end" if inner == 0 else "communication process": busy[inner],
        "link": widest * load.item_bytes * parameters.gap_s_per_byte,
        "window": latency_s / load.window_waves,
    }
    bound = max(bounds, key=lambda name: bounds[name])
    rate = 1 / bounds[bound]
    return Prediction(latency_s, latency_bound, rate, rate * load.item_bytes / 1e6, bound, total_s)


def _latency(shape: Shape, load: Load, parameters: Parameters, cores: int) -> tuple[float, str]:
    """The time of one round trip, and what decides it."""
    total_s, path_s = unhindered(shape, load, parameters)
    links_s = 2 * shape.depth * parameters.latency_s
    if total_s / cores > path_s:
        return total_s / cores + links_s, "cores"
    return path_s + links_s, "path"


def unhindered(shape: Shape, load: Load, parameters: Parameters) -> tuple[float, float]:
    """Of one round trip without the latency of its links: the CPU time of all nodes, and the time of its longest chain, with a
    core for every node, both in seconds.

    A node sends to its children one after the other, and takes their answers one after the other. It is done once it has done
    all of that, and not before the last child to answer has; large items come in pieces, of which the second and later
    follow at the pace of the slowest node.
    """
    p = parameters
    piece = Load(-(-load.item_bytes // load.pieces), load.request_bytes)
    down_s = p.send_s + load.request_bytes * p.send_s_per_byte
    up_s = p.receive_s + piece.item_bytes * (p.receive_s_per_byte + p.filter_s_per_byte)
    wire_s = (load.request_bytes + piece.item_bytes) * p.gap_s_per_byte
    total_s, slowest_s, chains = 0.0, 0.0, list[float]()
    for children, place, count in zip(shape.classes, places(shape), shape.counts, strict=True):
        fanout = place.children
        total_s += cpu_s(work(place, load, True), p) * count
        alone_s = cpu_s(work(place, piece, True), p)
        slowest_s = max(slowest_s, cpu_s(work(place, piece, False), p))
        chain_s = alone_s
        if children:
            own_s = alone_s - fanout * (down_s + up_s)  # its own frames up, and to be woken
            below_s = max(chains[c] for c, _ in children) + wire_s
            chain_s = max(alone_s, own_s + down_s + up_s + (fanout - 1) * max(down_s, up_s) + below_s)
        chains.append(chain_s)
    return total_s, chains[-1] + (load.pieces - 1) * slowest_s
