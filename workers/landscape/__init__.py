"""Landscapes of a trained network (Section 4.2): loss, gradient variance and curvature around it.

Pure numerics on tensors: nothing here reads or writes a store.
"""
