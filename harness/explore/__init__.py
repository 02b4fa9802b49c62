"""Exploration: random trees, loads and faults in the simulator, each from one seed; what fails is made small and kept."""
