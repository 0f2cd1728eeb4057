"""Whether two ways of running the same steps end at the same weights.

Rounding differs between kernels and grows from step to step, so two runs are held against how far
two runs of one and the same way lie apart, and against how far a wrong one would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.loops.ours import OwnLoop
from benchmarks.loops.setting import Setting
from workers.training.graphs import StepMode

STEPS = 20
"""That are compared."""

RATE, OTHER_RATE = 0.025, 0.1
DROPPED = 0.4
"""The probability of drop path in the second epoch; in the first it is 0."""

BARS = {"fp32": 1e-2, "tf32": 5e-2, "bf16": 0.2}
"""Largest distance by precision; twice what two equal runs differ by is allowed too."""


@dataclass(frozen=True)
class Apart:
    """How far two runs ended from one another.

    Attributes:
        what: Was done.
        precision: One of `results_schema.trial.PRECISIONS`.
        distance: ‖a − b‖ / ‖b − start‖ over all weights.
        again: The same of two runs of the way that is compared with.
        effect: The same between the change that was made and none, if one was.
    """

    what: str
    precision: str
    distance: float
    again: float
    effect: float | None = None

    @property
    def sound(self) -> bool:
        """Whether rounding explains it, and the change does not."""
        allowed = max(BARS[self.precision], 2 * self.again)
        seen = self.effect is None or self.distance < self.effect / 5
        return self.distance <= allowed and seen


def compare_modes(setting: Setting, precision: str, mode: StepMode) -> list[Apart]:
    """Compare steps of the engine in a mode with eager ones: at one rate, then with other numbers.

    Args:
        setting: The job; its data set is replaced by one that makes `STEPS` steps.
        precision: As for `Apart`.
        mode: How the compared steps run.

    Raises:
        CaptureFailed: The steps can't be captured.
    """
    setting = _short(setting)
    setting = replace(setting, recipe=replace(setting.recipe, epochs=2, drop_path=2 * DROPPED))
    one, two, other = (OwnLoop(setting, precision, each) for each in ("eager", "eager", mode))
    # On a CPU a state is the engine's own tensors.
    start = {name: tensor.clone() for name, tensor in one.run(one.engine.state).items()}
    found = []

    def run(what: str, epoch: int, rate: float, unchanged: Tensor | None) -> Tensor:
        """All three from one state; returns the weights that the first ends at."""
        for loop in (one, two, other):
            loop.run(loop.engine.restore, start)
            loop.epoch(epoch, rate)
        first, second, third = (weights(loop) for loop in (one, two, other))
        began = _flat(one, start)
        effect = None if unchanged is None else distance(first, unchanged, began)
        found.append(
            Apart(
                what,
                precision,
                distance(third, first, began),
                distance(second, first, began),
                effect,
            )
        )
        return first

    plain = run(f"{STEPS} steps from one state", 1, RATE, None)
    run(f"the same at a rate of {OTHER_RATE:g}", 1, OTHER_RATE, plain)
    run(f"the same with {DROPPED:.0%} of the paths dropped", 2, RATE, plain)
    return found


def rows(found: Sequence[Apart]) -> list[list[str]]:
    """For a table whose header is `HEADER`."""
    return [
        [
            f"{one.what}, {one.precision}",
            f"{one.distance:.1e}",
            f"{one.again:.1e}",
            "–" if one.effect is None else f"{one.effect:.1e}",
            "yes" if one.sound else "NO",
        ]
        for one in found
    ]


HEADER = ("what", "distance", "of two equal runs", "effect of the change", "sound")


def _short(setting: Setting) -> Setting:
    about = setting.data(torch.device("cpu")).about
    images = STEPS * setting.recipe.batch_size
    shape = f"{about.channels}x{about.size}_{about.classes}"
    return replace(setting, dataset=f"synthetic_{images}x{shape}")


def weights(loop: OwnLoop) -> Tensor:
    """Return all weights of a loop's network as one vector in float64."""
    return _flat(loop, loop.run(loop.engine.state))


def _flat(loop: OwnLoop, state: dict[str, Tensor]) -> Tensor:
    """All weights of a state as one vector in float64; no buffers, no momenta."""
    names = [name for name, _ in loop.engine.network.named_parameters()]
    return torch.cat([state[name].double().flatten() for name in names])


def distance(one: Tensor, other: Tensor, start: Tensor) -> float:
    """Return ‖one − other‖ / ‖other − start‖."""
    return float((one - other).norm() / (other - start).norm())
