"""harness: benchmarks and fault injection for tree-based overlay networks and distributed training."""

__version__ = "0.1.0"
