"""What an experiment is: from YAML to a checked `Experiment`, its trials and its surfaces.

Start with `experiment`. `documents` and `validation` give every error its file and line; `registry`
names the figures and tables that an experiment may ask for.
"""
