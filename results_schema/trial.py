"""What a trial is: one training run, named by its content.

`trial_id` hashes every choice that changes the numbers and nothing else: no label, no device, no
time. Two experiments that name the same trial share it. An `optional` field is omitted from the
hashed JSON at its default, so that a field added later keeps all older ids. A field that has no
effect under the others is set to its default when the spec is made, so that equal numbers have
equal ids; `workers.identity` does so where the data set or the cells decide.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from results_schema.canonical import (
    build,
    check_choice,
    check_dataset,
    check_float,
    check_int,
    dump,
    optional,
    parse_spec,
)
from results_schema.errors import SpecError
from results_schema.genotype import Genotype

RECIPE_VERSION = 2
"""Number of the training algorithm: counts changes that no field of `Recipe` expresses."""
CANONICAL_SINCE = 2
"""Recipe version from which specs are canonical and ids name their version: older specs are kept
as they were written, so that they give the ids under which their results are stored."""

PRECISIONS = ("fp32", "tf32", "bf16")
MOST_CELLS = 1000
"""Most cells of a network: the deepest that were ever trained have about as many blocks."""
SCHEDULES = ("cosine", "cosine_shifted", "constant")
DECAYED = ("all", "weights")
GROWTHS = ("linear", "constant")


@dataclass(frozen=True)
class NetworkSpec:
    """Size of the network (Section A.3).

    Attributes:
        cells: L, the number of cells; cells L/3 and 2L/3 are reduction cells.
        channels: C, channels of a node before the first reduction.
        stem_stride: Stride of the first convolution: 1 on CIFAR, 2 on Tiny-ImageNet's 64×64 images.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid", "strict": True}

    cells: int = 20
    channels: int = 36
    stem_stride: int = optional(1)

    def __post_init__(self) -> None:
        check_int(self, "cells", 3, MOST_CELLS)
        check_int(self, "channels", 2)
        check_int(self, "stem_stride", 1)
        if self.channels % 2:
            raise SpecError(
                f"channels is {self.channels}",
                fix="use an even number: a strided skip connection halves the channels",
            )


@dataclass(frozen=True)
class Recipe:
    """How a network is trained (Sections A.3 and A.4); the defaults are Section 4's on CIFAR.

    SGD with momentum on the cross-entropy; the gradient's global norm is clipped.

    Attributes:
        epochs: E, the number of epochs.
        batch_size: Images a step; the last step of an epoch takes what is left.
        momentum: Momentum of SGD, without Nesterov's correction.
        weight_decay: Factor of the weights that is added to the gradient.
        decayed: What decays: "all" parameters, as in the published code, or "weights" alone, so
            that batch normalisation's parameters and biases do not.
        schedule: Learning-rate schedule. "cosine": ½·lr·(1 + cos(π e / E)) for e = 0 … E − 1, from
            lr on; "cosine_shifted": the same for e = 1 … E, which ends at 0 and is what the
            published code does under torch 1.1 or newer; "constant": lr.
        grad_clip: Largest global gradient norm; from the published code, not in the paper.
        cutout: Side in pixels of the square that is blanked in each training image after it was
            normalised, centred anywhere in the image and cut at its border; 0 for none. The
            published code takes even sides alone: it blanks side − 1 pixels for an odd one.
        auxiliary: Weight of the auxiliary head's loss; 0 for no such head.
        drop_path: Probability p of dropping an edge's output, per sample; the identity is never
            dropped.
        drop_path_growth: "linear": p·e/E in epoch e = 0 … E − 1; "constant": p from the first on.
        statistics: Whose mean and deviation normalise the images: the data set's "own", or a named
            one's. The published code used CIFAR-10's for CIFAR-100 until February 2020.
        evaluation_batch: Test images at a time; changes the test loss by rounding alone.
        version: `RECIPE_VERSION` when the trial was named.

    Fields without effect are set to their defaults: the growth of a drop path of 0, a drop path
    that grows from 0 and the shape of a schedule over a single epoch, what decays by 0.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid", "strict": True}

    epochs: int = 600
    batch_size: int = 80
    momentum: float = 0.9
    weight_decay: float = 3e-4
    grad_clip: float = 5.0
    cutout: int = optional(0)
    auxiliary: float = optional(0.0)
    drop_path: float = optional(0.0)
    schedule: str = optional("cosine")
    decayed: str = optional("all")
    drop_path_growth: str = optional("linear")
    statistics: str = optional("own")
    evaluation_batch: int = optional(500)
    version: int = RECIPE_VERSION

    def __post_init__(self) -> None:
        check_int(self, "epochs", 1)
        check_int(self, "batch_size", 1)
        check_float(self, "momentum", above=0, zero=True, below=1)
        check_float(self, "weight_decay", above=0, zero=True)
        check_float(self, "grad_clip", above=0)
        check_int(self, "cutout", 0)
        check_float(self, "auxiliary", above=0, zero=True)
        check_float(self, "drop_path", above=0, zero=True, below=1)
        check_choice(self, "schedule", SCHEDULES)
        check_choice(self, "decayed", DECAYED)
        check_choice(self, "drop_path_growth", GROWTHS)
        check_dataset("statistics", self.statistics)
        check_int(self, "evaluation_batch", 1)
        check_int(self, "version", 1)
        if self.version >= CANONICAL_SINCE:
            self._drop_inert_fields()

    def _drop_inert_fields(self) -> None:
        if self.epochs == 1 and self.drop_path_growth == "linear":
            object.__setattr__(self, "drop_path", 0.0)
        if not self.drop_path:
            object.__setattr__(self, "drop_path_growth", "linear")
        if self.epochs == 1 and self.schedule == "constant":
            object.__setattr__(self, "schedule", "cosine")
        if not self.weight_decay:
            object.__setattr__(self, "decayed", "all")


@dataclass(frozen=True)
class TrialSpec:
    """Everything that decides a trial's numbers by choice.

    Attributes:
        genotype: The two cells.
        dataset: Name of the data set trained on, as `workers.data` knows it.
        preprocessing: Version of that data set's split, scaling and augmentation.
        network: Size of the network.
        recipe: How it is trained.
        learning_rate: Learning rate at the first epoch.
        seed: Seed of every draw: initial weights, order of images, augmentation.
        precision: Precision of the arithmetic; a worker that lacks it fails.
        statistics_preprocessing: Version of the data set whose statistics normalise the images, if
            the recipe names one; 0 where they are the data set's own.

    Statistics that name the trial's own data set become "own".
    """

    genotype: Genotype
    dataset: str
    preprocessing: int
    network: NetworkSpec
    recipe: Recipe
    learning_rate: float
    seed: int
    precision: str = "fp32"
    statistics_preprocessing: int = optional(0)

    def __post_init__(self) -> None:
        check_dataset("data set", self.dataset)
        check_int(self, "preprocessing", 1)
        check_float(self, "learning_rate", above=0)
        check_int(self, "seed", 0, most=2**63 - 1)
        check_choice(self, "precision", PRECISIONS)
        check_int(self, "statistics_preprocessing", 0)
        if self.recipe.version >= CANONICAL_SINCE:
            self._settle_statistics()

    def _settle_statistics(self) -> None:
        if self.recipe.statistics == self.dataset:
            object.__setattr__(self, "recipe", replace(self.recipe, statistics="own"))
            object.__setattr__(self, "statistics_preprocessing", 0)
        named = self.recipe.statistics != "own"
        if named != (self.statistics_preprocessing > 0):
            raise SpecError(
                f"statistics_preprocessing is {self.statistics_preprocessing} with statistics "
                f"{self.recipe.statistics!r}",
                fix="give the preprocessing version of the data set that statistics names"
                if named
                else "omit it",
            )

    @cached_property
    def trial_id(self) -> str:
        """Name of the trial, and of its files in the store.

        `<dataset>-w<width>d<depth>-lr<lr>-s<seed>-r<recipe version>-<digest>`, the digest being the
        first 10 hexadecimal digits of the SHA-256 of `to_json`. Ids of recipe version 1 lack the
        version, and their width and depth count dead nodes.
        """
        digest = hashlib.sha256(self.to_json().encode()).hexdigest()[:10]
        cell, version = self.genotype.normal, ""
        width, depth = cell.width_all_nodes, cell.depth_all_nodes
        if self.recipe.version >= CANONICAL_SINCE:
            width, depth, version = cell.width, cell.depth, f"-r{self.recipe.version}"
        start = f"{self.dataset}-w{width:g}d{depth}-lr{self.learning_rate:g}-s{self.seed}"
        return f"{start}{version}-{digest}"

    def to_json(self) -> str:
        """Return the trial as canonical JSON (`results_schema.canonical`)."""
        return dump(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> TrialSpec:
        """Return the trial that `to_json` wrote.

        Raises:
            SpecError: The text is not JSON, lacks a field, has an unknown one or a bad value.
        """
        return cls.from_parts(parse_spec(text, "trial"))

    @classmethod
    def from_parts(cls, data: Any) -> TrialSpec:
        """Return a trial from its parsed JSON.

        Raises:
            SpecError: As for `from_json`.
        """
        if not isinstance(data, Mapping):
            raise SpecError(f"a trial's spec is a JSON object, not {type(data).__name__}")
        parts: dict[str, Any] = dict(data)
        for name, kind in (("network", NetworkSpec), ("recipe", Recipe)):
            if name in parts:
                parts[name] = build(kind, parts[name])
        if "genotype" in parts:
            parts["genotype"] = Genotype.from_json(parts["genotype"])
        return build(cls, parts)


def recipe_version(trial_id: str) -> int:
    """Return the recipe version that a trial's id names."""
    named = re.search(r"-r([1-9][0-9]*)-[0-9a-f]{10}$", trial_id)
    return int(named[1]) if named else 1
