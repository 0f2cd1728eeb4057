"""Statistics of few cells: an effect, a two-sided test, and the interval that inverts it.

Read `laws` first: what a test returns, and the laws of sums under rearrangement. `association`
relates two columns within strata; `comparison` compares named cells, shares and means.
"""
