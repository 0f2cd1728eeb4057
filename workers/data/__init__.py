"""Which images does a trial see? Data sets as tensors on the device, and their augmentation.

Read `catalog` (the registry) and `batches` first; `folder` is how published data sets get to a
machine, and `custom` how a user's own do.
"""
