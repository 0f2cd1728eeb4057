"""How does the loss look around a trained network (Section 4.2)? Contours, variance, curvature.

Read `survey.py` first: it measures one surface under its lease. `measures.py` has a measure for
each kind. `contour.py`, `gradient_variance.py` and `curvature.py` compute on tensors alone.
"""
