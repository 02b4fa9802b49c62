"""Benchmarks: what the tree reaches, beside what the machine could carry at best. Run one as `python -m benchmarks.NAME`."""
