"""How does a genotype become a network that can be trained? Read `network` first."""
