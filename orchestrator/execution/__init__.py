"""How a plan is run until it has ended: on Ray, on this machine or a cluster.

Read `launch` first, then `queue`: which item runs next, and which failures are retried. `tune`
offers the queue to Ray Tune, `trainable` is what a worker process runs of it, and `preflight` what
is checked before.
"""
