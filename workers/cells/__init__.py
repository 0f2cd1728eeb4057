"""What is a cell like, and which variants of it are there? Genotypes as data, without torch.

Read `bases` first, then `sampling` and `variants`; `stack` and `cost` describe the network of them.
"""
