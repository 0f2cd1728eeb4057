"""What an experiment is: from YAML to a checked `Experiment`, its trials and its surfaces.

Start with `experiment`. `documents` gives every error its file and line; `assembly` joins a file,
those that it extends, a profile and options; `axes` and `grid` make the product of trials;
`registry` names the figures and tables that an experiment may ask for.
"""
