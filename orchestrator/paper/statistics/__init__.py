"""Statistics of few cells: permutation within bases, exact tests, intervals, simulated power.

Read `testing` first: what every test returns. `association` relates two columns, `samples` compares
few values.
"""
