"""From a genotype to a network that can be trained: operations, cells and the stack of them."""
