"""One module for each contender, run in a process of its own: ``python -m benchmarks.contenders.MODULE WORK SIZE``.

A module maps work names to functions and prints one line of JSON with the samples. It is never imported by the
program that starts it, so a missing library costs a row and not the run.
"""
