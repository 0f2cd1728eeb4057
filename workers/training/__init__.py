"""Training of one trial: the step, the loop, its checkpoints and its end."""
