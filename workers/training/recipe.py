"""What a recipe may name: optimizers, learning-rate schedules and augmentations.

Built-in entries and those of plug-ins stand in the same registries:

- an optimizer is a subclass of `workers.training.optimizers.Optimizer`;
- a schedule maps the first rate, the epoch (from 1) and the number of epochs to the epoch's rate,
  and takes as keywords the fields of the recipe that its entry lists as `options`;
- an augmentation maps normalised training images [B, C, H, W] and a generator on the CPU, which is
  the epoch's, to images of the same shape.

Nothing here imports torch, as a plan needs the names.
"""

from __future__ import annotations

import math

from results_schema.errors import SpecError
from results_schema.plugins import Entry, registry
from results_schema.trial import Recipe

OPTIMIZERS = registry("optimizer")
SCHEDULES = registry("schedule")
AUGMENTATIONS = registry("augmentation")

_FIRST, _LAST = 25.0, 1e4
"""By how much less than lr "one_cycle" begins, and than that it ends, as in torch."""


def entries(recipe: Recipe) -> list[tuple[str, Entry]]:
    """Return the entries that a recipe names, each with its kind.

    Raises:
        SpecError: No registry has such an entry.
    """
    named = [(OPTIMIZERS, recipe.optimizer), (SCHEDULES, recipe.schedule)]
    named += [(AUGMENTATIONS, name) for name in recipe.augmentation]
    return [(known.kind, known[name]) for known, name in named]


def scheduled_lr(recipe: Recipe, lr: float, epoch: int) -> float:
    """Return the learning rate of an epoch, from 1, under the recipe's warm-up and schedule.

    Raises:
        SpecError: There is no such schedule, or a plug-in's returns no learning rate.
    """
    warm = recipe.warmup_epochs
    if epoch <= warm:
        return lr * epoch / (warm + 1)
    entry = SCHEDULES[recipe.schedule]
    options = {name: getattr(recipe, name) for name in entry.about.get("options", ())}
    try:
        rate = entry.resolve()(lr, epoch - warm, recipe.epochs - warm, **options)
    except Exception as error:
        what = f"the schedule {recipe.schedule} fails: {type(error).__name__}: {error}"
        raise SpecError(what.splitlines()[0], fix=f"see {entry.origin}") from error
    if not isinstance(rate, int | float) or not 0 <= rate < math.inf:
        what = f"the schedule {recipe.schedule} returns {rate!r} for epoch {epoch}"
        raise SpecError(what, fix="return a finite number from 0")
    return float(rate)


def _cosine(lr: float, epoch: int, epochs: int) -> float:
    # Section A.3: from lr on, and never 0.
    return _cosine_shifted(lr, epoch - 1, epochs)


def _cosine_shifted(lr: float, epoch: int, epochs: int) -> float:
    # Ends at 0, as if the rate fell before each epoch instead of after.
    return 0.5 * lr * (1 + math.cos(math.pi * epoch / epochs))


def _constant(lr: float, epoch: int, epochs: int) -> float:
    return lr


def _step(lr: float, epoch: int, epochs: int, *, step_epochs: int, step_factor: float) -> float:
    return lr * step_factor ** ((epoch - 1) // step_epochs)


def _one_cycle(lr: float, epoch: int, epochs: int, *, rise: float) -> float:
    first, top = lr / _FIRST, rise * epochs - 1
    # A rise shorter than an epoch leaves none to climb in: the rate only falls.
    if top > 0 and epoch - 1 <= top:
        return lr + (first - lr) / 2 * (1 + math.cos(math.pi * (epoch - 1) / top))
    last, share = first / _LAST, (epoch - 1 - top) / (epochs - 1 - top)
    return last + (lr - last) / 2 * (1 + math.cos(math.pi * share))


OPTIMIZERS.enter("sgd", "workers.training.optimizers:SGD")
OPTIMIZERS.enter("adamw", "workers.training.optimizers:AdamW")
SCHEDULES.enter("cosine", _cosine)
SCHEDULES.enter("cosine_shifted", _cosine_shifted)
SCHEDULES.enter("constant", _constant)
SCHEDULES.enter("step", _step, options=("step_epochs", "step_factor"))
SCHEDULES.enter("one_cycle", _one_cycle, options=("rise",))
