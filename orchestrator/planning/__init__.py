"""What remains to be run of some experiments, how long it takes and how much disk it needs.

Read `plan` first: the trials and surfaces that a store lacks. `estimate` turns them into hours.
"""
