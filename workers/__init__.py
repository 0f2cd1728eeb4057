"""Computes on a bare machine: cells, data, networks, training, landscapes, theory.

Needs torch, numpy, pandas and pyarrow alone. Read `train` first, which trains one trial, and then
`training.trial`.
"""
