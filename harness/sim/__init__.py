"""The simulator: the unchanged node under virtual time. One seed is one run, the same on every machine.

Everything here is pure: no wall clock, thread or socket. The testbed `sim` (harness.testbeds.sim) runs whole trials in it.
"""
