"""Conformance checks for plugins: the same from `harness plugin check` and from pytest."""
