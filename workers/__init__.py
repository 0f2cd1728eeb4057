"""Computes: cells, networks, data, training. Needs torch, numpy, pandas and pyarrow alone."""
