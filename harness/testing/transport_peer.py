"""A node in a process of its own, for the checks of transports: it listens and sends every frame back.

Standard input brings one JSON line that says how to make the transport; its end is the signal to leave. Standard output gets
one JSON line with the address.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import select
import sys
from operator import attrgetter
from types import ModuleType
from typing import Any

from harness.api.transport import Link, Transport


class Echo:
    """A sink that sends every frame back. What a slow peer does not take is the transport's to keep."""

    def on_link(self, link: Link, initiated: bool) -> None:
        """As harness.api.transport.Sink."""

    def on_frame(self, link: Link, frame: memoryview) -> None:
        """As harness.api.transport.Sink."""
        link.send((frame,))

    def on_lost(self, link: Link, reason: str) -> None:
        """As harness.api.transport.Sink."""

    def on_writable(self, link: Link) -> None:
        """As harness.api.transport.Sink."""

    def on_refused(self, peer: int, reason: str) -> None:
        """As harness.api.transport.Sink."""


def _module(name: str, file: str | None) -> ModuleType:
    """The module by its name, or from its file where the name is not on the path (as pytest imports tests)."""
    try:
        return importlib.import_module(name)
    except ImportError:
        spec = importlib.util.spec_from_file_location(name, file) if file else None
        if spec is None or spec.loader is None:
            raise
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module


def make(recipe: dict[str, Any]) -> Transport:
    """The transport that the recipe describes: module, file, name and keys."""
    kind = attrgetter(recipe["name"])(_module(recipe["module"], recipe["file"]))
    transport: Transport = kind(**recipe["keys"])
    return transport


def main() -> None:
    """Echo until standard input ends."""
    recipe = json.loads(sys.stdin.readline())
    endpoint = make(recipe).endpoint(
        node=recipe["node"], host=recipe["host"], secret=bytes.fromhex(recipe["secret"]), listen=True,
        max_frame_bytes=recipe["limit"],
    )  # fmt: skip
    print(json.dumps({"address": endpoint.address}), flush=True)
    sink = Echo()
    while not select.select([sys.stdin], [], [], 0)[0]:
        endpoint.poll(0.05, sink)
    endpoint.close()


if __name__ == "__main__":
    main()
