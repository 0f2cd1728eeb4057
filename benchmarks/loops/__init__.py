"""Training loops that differ in nothing but how they train: data, network and recipe are shared."""
