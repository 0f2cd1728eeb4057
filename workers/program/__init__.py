"""Trials of any function: find its source, run it, commit its state.

Start with `training`; `source` finds and imports a program, `state` encodes what it commits.
"""
