"""An experiment and a profile as text, to be edited, and the error that comes of it."""

import pytest

from orchestrator.config.experiment import load_experiment
from results_schema.errors import ConfigError

GOOD = """\
title: A title
claim: A claim.
grid:
  genotype: [DARTS, SNAS]
  variants: paper4
  dataset: [cifar10, cifar100]
  learning_rate: [0.025, 0.25]
  seed: [0, 1]
network: {cells: 8, channels: 16}
recipe: {epochs: 30, weight_decay: 0}
precision: fp32
figures: {accuracy: accuracy_by_index}
"""

PROFILE = """\
description: Small.
datasets:
  cifar10: digits
set:
  network.cells: 5
  recipe.epochs: 2
"""


def edited(old: str, new: str, text: str = GOOD) -> str:
    """The text with its one `old` replaced."""
    assert text.count(old) == 1
    return text.replace(old, new)


def refused(path: str = "x.yaml", **options: object) -> str:
    """What is said of an experiment that does not load."""
    with pytest.raises(ConfigError) as caught:
        load_experiment(path, **options)  # type: ignore[arg-type]
    return str(caught.value)
