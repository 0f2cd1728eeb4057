"""Do the paper's equations and theorems hold (Sections 4.3 and C)? Checked on drawn examples.

Read `checks.py` first: it compares each statement on linear cells. `objectives.py` has the cells
and their gradients, `smoothness.py` the bounds of Theorems 4.2 and 4.3, `sgd.py` Theorem 4.1.
"""
