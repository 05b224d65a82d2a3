"""Pairs to try the judge on: ports with one planted mistake each, and ports without any.

`registry.FAULTS` says of every mistake which rung is the first to fail and what its cause is; `registry.CLEAN` holds
the pairs that must pass every rung. Each pair is built again from a seed.
"""
