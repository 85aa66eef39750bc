"""For tests: the conformance suite, and cluster lives simulated from a seed."""
