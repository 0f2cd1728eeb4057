"""Data sets, held as tensors on the device, and their augmentation."""
