"""Genotypes as data, the samplers that draw variants from them, and what their graphs are like."""
