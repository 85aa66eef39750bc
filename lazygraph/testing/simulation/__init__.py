"""Cluster lives in one process: the real minds, joined by a pretend network that a seed drives.

`World(seed)` joins one scheduler mind, some worker minds and clients.  Links keep order; between links anything may
overtake anything.  Workers die and join, tasks fail, futures are dropped, all as the seed says; a failing seed is a bug
report that replays itself.
"""
