"""What is measured of a machine, of its kernels, and of a training loop."""
