"""Side by side figures: lazygraph, its peers and the bare limits of this machine, in one run.

Run it with ``python -m benchmarks``; ``benchmarks/README.md`` says what each work is and how to read the table.
"""
