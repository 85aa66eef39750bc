"""Cluster lives in one process: the real minds, joined by a pretend network that a seed drives.

`live(seed)` makes a life (simulation.lives), `check(life)` lives it in a World and compares how it ends with the rules
of the oracle.  Links keep order; between links anything may overtake anything.  Workers die and join, tasks fail,
futures are dropped, cancelled and asked for again, all as the seed says; a failing seed is a bug report that replays
itself: `python -m lazygraph.testing.simulation --replay SEED`.
"""
