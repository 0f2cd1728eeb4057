"""Sweeps of trivial trials, ours and plain Ray Tune's, each driven by a process of its own."""
