"""What a trial is: one training run, named by its content.

`trial_id` hashes every choice that changes the numbers and nothing else: no label, no device, no
time. Two experiments that name the same trial share it. An `optional` field is omitted from the
hashed JSON at its default, so that a field added later keeps all older ids. A field that has no
effect under the others is set to its default when the spec is made, so that equal numbers have
equal ids; `workers.identity` does so where the data set or the cells decide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated

from results_schema.canonical import (
    Spec,
    dataset_name,
    entry_name,
    entry_names,
    extension_names,
    flag,
    one_of,
    optional,
    or_null,
    real,
    whole,
)
from results_schema.errors import SpecError
from results_schema.genotype import Genotype
from results_schema.plugins import registry

RECIPE_VERSION = 2
"""Number of the training algorithm: counts changes that no field of `Recipe` expresses."""
CANONICAL_SINCE = 2
"""Recipe version from which specs are canonical and ids name their version: older specs are kept
as they were written, so that they give the ids under which their results are stored."""

PRECISIONS = ("fp32", "tf32", "bf16")
MOST_CELLS = 1000
"""Most cells of a network: the deepest that were ever trained have about as many blocks."""
DECAYED = ("all", "weights")
GROWTHS = ("linear", "constant")
_OPTIONS: dict[str, dict[str, set[str]]] = {
    "optimizer": {"sgd": {"momentum", "nesterov"}, "adamw": {"momentum", "beta2", "epsilon"}},
    "schedule": {
        "cosine": set(),
        "cosine_shifted": set(),
        "constant": set(),
        "step": {"step_epochs", "step_factor"},
        "one_cycle": {"rise"},
    },
}
"""Fields that some built-in entries alone read; a plug-in's entry may read any."""


@dataclass(frozen=True)
class NetworkSpec(Spec):
    """Size of the network (Section A.3).

    Attributes:
        cells: L, the number of cells; cells L/3 and 2L/3 are reduction cells.
        channels: C, channels of a node before the first reduction.
        stem_stride: Stride of the first convolution: 1 on CIFAR, 2 on Tiny-ImageNet's 64×64 images.
    """

    cells: Annotated[int, whole(3, MOST_CELLS)] = 20
    channels: Annotated[int, whole(2)] = 36
    stem_stride: Annotated[int, whole(1)] = optional(1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels % 2:
            fix = "use an even number: a strided skip connection halves the channels"
            raise SpecError(f"channels is {self.channels}", fix=fix)


@dataclass(frozen=True)
class Recipe(Spec):
    """How a network is trained (Sections A.3 and A.4); the defaults are Section 4's on CIFAR.

    SGD with momentum on the cross-entropy; the gradient's global norm is clipped. What optimizers,
    schedules and augmentations there are: `workers.training.recipe`.

    Attributes:
        epochs: E, the number of epochs.
        batch_size: Images a step; the last step of an epoch takes what is left.
        momentum: Momentum of SGD; β₁ of AdamW.
        weight_decay: Factor of the weights that SGD adds to the gradient, and by which AdamW, times
            the learning rate, shrinks the weights (Loshchilov and Hutter, 2019).
        grad_clip: Largest global gradient norm; from the published code, not in the paper.
        cutout: Side in pixels of the square that is blanked in each training image after it was
            normalised, centred anywhere in the image and cut at its border; 0 for none. The
            published code takes even sides alone: it blanks side − 1 pixels for an odd one.
        auxiliary: Weight of the auxiliary head's loss; 0 for no such head.
        drop_path: Probability p of dropping an edge's output, per sample; the identity is never
            dropped.
        schedule: Learning-rate schedule after the warm-up, n = E − W epochs. "cosine":
            ½·lr·(1 + cos(π e / n)) for e = 0 … n − 1, from lr on; "cosine_shifted": the same for
            e = 1 … n, which ends at 0 and is what the published code does under torch 1.1 or newer;
            "constant": lr; "step" and "one_cycle" as torch's `StepLR` and `OneCycleLR`, once an
            epoch; or a plug-in's.
        decayed: What decays: "all" parameters, as in the published code, or "weights" alone, so
            that batch normalisation's parameters and biases do not.
        drop_path_growth: "linear": p·e/E in epoch e = 0 … E − 1; "constant": p from the first on.
        statistics: Whose mean and deviation normalise the images: the data set's "own", or a named
            one's. The published code used CIFAR-10's for CIFAR-100 until February 2020.
        evaluation_batch: Test images at a time; changes the test loss by rounding alone.
        optimizer: "sgd", "adamw", or a plug-in's.
        nesterov: Whether SGD's momentum looks ahead, as in torch.
        beta2: β₂ of AdamW.
        epsilon: What AdamW adds to its denominator.
        warmup_epochs: W, epochs in which the rate rises to lr, which it has in the one after them:
            lr·e / (W + 1) in epoch e = 1 … W.
        step_epochs: Epochs after which "step" multiplies the rate by `step_factor`, each time.
        step_factor: That factor.
        rise: Share of the epochs in which "one_cycle" rises, from lr/25; it ends near 0.
        label_smoothing: ε: the targets are 1 − ε on an image's class and ε/classes on all. The loss
            that is reported is without it.
        flip: Whether training images are mirrored at random; null leaves it to the data set.
        padding: Zeros on each side before a random crop; null leaves it to the data set.
        augmentation: Plug-ins that change normalised training images, in this order.
        validation: Share of the training images that is held out, of each class alike and the same
            images for every seed; 0 for none.
        version: `RECIPE_VERSION` when the trial was named.

    Fields without effect are set to their defaults: the growth of a drop path of 0, a drop path
    that grows from 0 and the shape of a schedule over a single epoch, what decays by 0, options of
    other optimizers and schedules. Steps beyond the last epoch are a constant rate.
    """

    epochs: Annotated[int, whole(1)] = 600
    batch_size: Annotated[int, whole(1)] = 80
    momentum: Annotated[float, real(zero=True, below=1)] = 0.9
    weight_decay: Annotated[float, real(zero=True)] = 3e-4
    grad_clip: Annotated[float, real()] = 5.0
    cutout: Annotated[int, whole(0)] = optional(0)
    auxiliary: Annotated[float, real(zero=True)] = optional(0.0)
    drop_path: Annotated[float, real(zero=True, below=1)] = optional(0.0)
    schedule: Annotated[str, entry_name] = optional("cosine")
    decayed: Annotated[str, one_of(DECAYED)] = optional("all")
    drop_path_growth: Annotated[str, one_of(GROWTHS)] = optional("linear")
    statistics: Annotated[str, dataset_name] = optional("own")
    evaluation_batch: Annotated[int, whole(1)] = optional(500)
    optimizer: Annotated[str, entry_name] = optional("sgd")
    nesterov: Annotated[bool, flag] = optional(False)
    beta2: Annotated[float, real(zero=True, below=1)] = optional(0.999)
    epsilon: Annotated[float, real()] = optional(1e-8)
    warmup_epochs: Annotated[int, whole(0)] = optional(0)
    step_epochs: Annotated[int, whole(1)] = optional(30)
    step_factor: Annotated[float, real(below=1)] = optional(0.1)
    rise: Annotated[float, real(below=1)] = optional(0.3)
    label_smoothing: Annotated[float, real(zero=True, below=1)] = optional(0.0)
    flip: Annotated[bool | None, or_null(flag)] = optional(None)
    padding: Annotated[int | None, or_null(whole(0, 1024))] = optional(None)
    augmentation: Annotated[tuple[str, ...], entry_names] = optional(())
    validation: Annotated[float, real(zero=True, below=1)] = optional(0.0)
    version: Annotated[int, whole(1)] = RECIPE_VERSION

    def __post_init__(self) -> None:
        super().__post_init__()
        left, fewest = self.epochs - self.warmup_epochs, 3 if self.schedule == "one_cycle" else 1
        if left < fewest:
            what = f"{self.epochs} epochs with warmup_epochs {self.warmup_epochs} leave {left}"
            fix = f"leave at least {fewest} to the schedule {self.schedule}"
            raise SpecError(what, fix=fix)
        if self.version < CANONICAL_SINCE:
            return
        if self.epochs == 1 and self.drop_path_growth == "linear":
            self._reset("drop_path")
        if not self.drop_path:
            self._reset("drop_path_growth")
        if self.schedule == "step" and self.step_epochs >= left:
            object.__setattr__(self, "schedule", "constant")
        if left == 1 and self.schedule == "constant":
            self._reset("schedule")
        if not self.weight_decay:
            self._reset("decayed")
        if not self.momentum:
            self._reset("nesterov")
        for choice, options in _OPTIONS.items():
            used = options.get(getattr(self, choice))
            if used is not None:
                self._reset(*set[str]().union(*options.values()) - used)


@dataclass(frozen=True)
class TrialSpec(Spec):
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
        extensions: Every entry of a plug-in that the numbers depend on, as `kind:name@version`.

    Statistics that name the trial's own data set become "own".
    """

    genotype: Genotype
    dataset: Annotated[str, dataset_name]
    preprocessing: Annotated[int, whole(1)]
    network: NetworkSpec
    recipe: Recipe
    learning_rate: Annotated[float, real()]
    seed: Annotated[int, whole(0, 2**63 - 1)]
    precision: Annotated[str, one_of(PRECISIONS)] = "fp32"
    statistics_preprocessing: Annotated[int, whole(0)] = optional(0)
    extensions: Annotated[tuple[str, ...], extension_names] = optional(())

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.recipe.version < CANONICAL_SINCE:
            return
        if self.recipe.statistics == self.dataset:
            object.__setattr__(self, "recipe", replace(self.recipe, statistics="own"))
            self._reset("statistics_preprocessing")
        named, version = self.recipe.statistics, self.statistics_preprocessing
        if (named != "own") != (version > 0):
            what = f"statistics_preprocessing is {version} with statistics {named!r}"
            fix = "give the preprocessing version of the data set that statistics names"
            raise SpecError(what, fix="omit it" if named == "own" else fix)

    @property
    def epochs(self) -> int:
        """Number of epochs of the recipe."""
        return self.recipe.epochs

    @cached_property
    def trial_id(self) -> str:
        """Name of the trial, and of its files in the store.

        `<dataset>-w<width>d<depth>-lr<lr>-s<seed>-r<recipe version>-<digest>`. Ids of recipe
        version 1 lack the version, and their width and depth count dead nodes.
        """
        cell, version = self.genotype.normal, ""
        width, depth = cell.width_all_nodes, cell.depth_all_nodes
        if self.recipe.version >= CANONICAL_SINCE:
            width, depth, version = cell.width, cell.depth, f"-r{self.recipe.version}"
        start = f"{self.dataset}-w{width:g}d{depth}-lr{self.learning_rate:g}-s{self.seed}"
        return f"{start}{version}-{self.digest}"


def extensions(spec: TrialSpec) -> tuple[str, ...]:
    """Return the entries of loaded plug-ins that a trial uses, as its `extensions` names them."""
    cells = spec.genotype.normal, spec.genotype.reduce
    recipe = spec.recipe
    used = [("dataset", spec.dataset), ("optimizer", recipe.optimizer)]
    used += [("schedule", recipe.schedule), *(("augmentation", one) for one in recipe.augmentation)]
    # Dead edges too: they take part in the draws of the initial weights.
    if registry("operation").plugged:
        used += [("operation", e.op) for cell in cells for edges in cell.nodes for e in edges]
    found = {registry(kind).plugged.get(name) for kind, name in used}
    return tuple(sorted(filter(None, found)))


def recipe_version(trial_id: str) -> int:
    """Return the recipe version that a trial's id names."""
    named = re.search(r"-r([1-9][0-9]*)-[0-9a-f]{10}$", trial_id)
    return int(named[1]) if named else 1
