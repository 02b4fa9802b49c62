"""Plugins for harness that are not part of it."""
