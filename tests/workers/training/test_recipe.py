"""What a recipe names: rates and steps beside torch.optim's, and trials resumed with each."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_trials import COMMIT_ALL, assert_same, rows, small_spec
from stops import after_epoch
from torch import Tensor, optim
from torch.nn import functional
from torch.optim import lr_scheduler

from results_schema.errors import SpecError
from results_schema.plugins import registry
from results_schema.store import open_store
from results_schema.trial import Recipe
from workers.training.optimizers import SGD, AdamW, Optimizer
from workers.training.recipe import entries, scheduled_lr
from workers.training.trial import train


def rates(lr: float, **recipe: Any) -> list[float]:
    made = Recipe(**recipe)
    return [scheduled_lr(made, lr, epoch) for epoch in range(1, made.epochs + 1)]


def torchs(lr: float, epochs: int, warmup: int, build: Any) -> list[float]:
    """The rates of one of torch's schedules, stepped once an epoch, after a linear warm-up."""
    optimizer = optim.SGD([torch.zeros(1, dtype=torch.float64)], lr=lr)
    after = build(optimizer, epochs - warmup)
    if warmup:
        # A schedule sets the first rate as it is made.
        optimizer.param_groups[0]["lr"] = lr
        start = lr_scheduler.LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup)
        after = lr_scheduler.SequentialLR(optimizer, [start, after], [warmup])
    found = []
    for _ in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        after.step()
    return found


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("warmup", [0, 3])
@pytest.mark.parametrize(
    ("recipe", "build"),
    [
        ({}, lambda o, n: lr_scheduler.CosineAnnealingLR(o, n)),
        ({"schedule": "constant"}, lambda o, n: lr_scheduler.ConstantLR(o, 1.0)),
        (
            {"schedule": "step", "step_epochs": 4, "step_factor": 0.3},
            lambda o, n: lr_scheduler.StepLR(o, 4, 0.3),
        ),
    ],
    ids=["cosine", "constant", "step"],
)
def test_rates_are_those_of_torch(recipe: dict[str, Any], build: Any, warmup: int):
    found = rates(0.2, epochs=17, warmup_epochs=warmup, **recipe)
    assert found == pytest.approx(torchs(0.2, 17, warmup, build), rel=1e-12)


@given(st.integers(3, 60), st.floats(0.01, 0.99))
def test_one_cycle_is_torchs(epochs: int, rise: float):
    optimizer = optim.SGD([torch.zeros(1)], lr=0.1)
    try:
        cycle = lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=epochs, pct_start=rise)
    except ZeroDivisionError:  # torch's own, where the rise is one step long
        return
    expected = [optimizer.param_groups[0]["lr"]]
    for _ in range(epochs - 1):
        optimizer.step()
        cycle.step()
        expected.append(optimizer.param_groups[0]["lr"])
    found = rates(0.2, epochs=epochs, schedule="one_cycle", rise=rise)
    assert found == pytest.approx(expected, rel=1e-9)


def test_other_rates_start_and_end_as_described():
    assert rates(0.2, epochs=4)[0] == 0.2
    shifted = rates(0.2, epochs=4, schedule="cosine_shifted")
    assert shifted == [*rates(0.2, epochs=4)[1:], 0.0]
    assert rates(0.3, epochs=5, warmup_epochs=2)[:3] == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({}, lambda w, d: optim.SGD(w, 0.1, momentum=0.6, weight_decay=d)),
        (
            {"nesterov": True},
            lambda w, d: optim.SGD(w, 0.1, momentum=0.6, weight_decay=d, nesterov=True),
        ),
        (
            {"optimizer": "adamw", "beta2": 0.8, "epsilon": 1e-3},
            lambda w, d: optim.AdamW(w, 0.1, betas=(0.6, 0.8), eps=1e-3, weight_decay=d),
        ),
    ],
    ids=["sgd", "nesterov", "adamw"],
)
@pytest.mark.parametrize("decayed", ["all", "weights"])
def test_steps_are_those_of_torch_in_float64(fields: dict[str, Any], kind: Any, decayed: str):
    recipe = Recipe(momentum=0.6, weight_decay=0.05, grad_clip=0.5, decayed=decayed, **fields)
    torch.manual_seed(0)
    shapes = {"weight": (4, 3), "bias": (4,), "dead": (5, 2)}
    own = {n: torch.randn(s, dtype=torch.float64, requires_grad=True) for n, s in shapes.items()}
    other = {name: weight.detach().clone().requires_grad_() for name, weight in own.items()}
    optimizer = {"sgd": SGD, "adamw": AdamW}[recipe.optimizer](own, recipe)
    spared = 0.0 if decayed == "weights" else 0.05
    references = [
        kind([other["weight"], other["dead"]], 0.05),
        kind([other["bias"]], spared),
    ]
    optimizer.lr.fill_(0.1)
    clipped = 0
    for step in range(12):
        images = torch.randn(6, 3, dtype=torch.float64)
        for weights in (own, other):
            loss = functional.linear(images, weights["weight"], weights["bias"]).square().mean()
            loss = loss * (0.01 if step % 2 else 10)
            loss.backward()
        alive = [other["weight"], other["bias"]]
        gradients = [weight.grad for weight in alive if weight.grad is not None]
        expected = torch.stack([gradient.norm() for gradient in gradients]).norm()
        clipped += bool(expected > 0.5)
        for gradient in gradients:
            gradient /= (expected / 0.5).clamp(min=1).float().double()
        norm = optimizer.step()
        for reference in references:
            reference.step()
            reference.zero_grad()
        assert norm.item() == pytest.approx(expected.item(), rel=1e-12)
        for name, weight in own.items():
            torch.testing.assert_close(weight, other[name], rtol=1e-12, atol=1e-12, msg=name)
    assert 0 < clipped < 12
    assert torch.equal(own["dead"], other["dead"])


class Lion(Optimizer):
    """A plug-in's optimizer (Chen et al., 2023)."""

    def __init__(self, weights: Any, recipe: Recipe) -> None:
        super().__init__(weights, recipe)
        self.buffers["average"] = {n: torch.zeros_like(w) for n, w in weights.items()}

    def update(self, names: Sequence[str], decay: float, scale: Tensor) -> None:
        for name, gradient, average in zip(
            names, self.gradients(names), self.remember("average", names), strict=True
        ):
            gradient, weight = gradient / scale, self.weights[name]
            direction = average.lerp(gradient, 0.1).sign_()
            weight.sub_(self.lr.to(weight.dtype) * (direction + decay * weight))
            average.lerp_(gradient, 0.01)


def _linear(lr: float, epoch: int, epochs: int) -> float:
    return lr * (1 - (epoch - 1) / epochs)


def _noisy(images: Tensor, draws: torch.Generator) -> Tensor:
    return images + 0.1 * torch.randn(images.shape, generator=draws).to(images.device)


def _greedy(images: Tensor, draws: torch.Generator) -> Tensor:
    return images[:, :, :4]


registry("optimizer").enter("lion", Lion)
registry("schedule").enter("falling_line", _linear)
registry("augmentation").enter("noisy", _noisy)
registry("augmentation").enter("greedy", _greedy)
registry("schedule").enter("lost", lambda lr, epoch, epochs: math.nan)
registry("optimizer").enter("nobodys", sum)

EVERY: list[dict[str, Any]] = [
    {"nesterov": True},
    {"optimizer": "adamw", "decayed": "weights"},
    {"optimizer": "lion", "schedule": "falling_line"},
    {"warmup_epochs": 1, "label_smoothing": 0.2, "schedule": "step", "step_epochs": 1},
    {"schedule": "one_cycle", "rise": 0.6},
    {"flip": True, "padding": 0},
    {"augmentation": ("noisy",)},
    {"validation": 0.25},
    {"cutout": 6},
    {"drop_path": 0.3},
]


@pytest.mark.parametrize("fields", EVERY, ids=lambda fields: next(iter(fields)))
def test_a_stopped_trial_resumes_bit_by_bit(tmp_path: Path, fields: dict[str, Any]):
    whole, cut = (open_store(tmp_path / name) for name in ("whole", "cut"))
    spec = small_spec(rate=0.01, **fields)
    assert train(spec, whole, device="cpu").status == "done"
    plain = small_spec(rate=0.01)
    train(plain, whole, device="cpu")
    for epoch in (1, 2):
        outcome = train(spec, cut, device="cpu", checkpointing=COMMIT_ALL, **after_epoch(epoch))
        assert (outcome.status, outcome.reason) == ("stopped", f"after epoch {epoch} of 3")
    assert train(spec, cut, device="cpu").status == "done"
    assert_same(cut, whole, spec)
    tables = [rows(whole, each) for each in (spec, plain)]
    assert tables[0]["test_loss"].tolist() != tables[1]["test_loss"].tolist()
    assert bool(tables[0]["val_loss"].notna().all()) == bool(spec.recipe.validation)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"augmentation": ("greedy",)}, "augmentation greedy makes torch.float32 of shape"),
        ({"schedule": "lost"}, "the schedule lost returns nan for epoch 1"),
        ({"optimizer": "nobodys"}, "the optimizer nobodys is <built-in function sum>"),
    ],
)
def test_what_a_plugin_should_not_return_fails_the_trial_in_a_line(store, fields, reason):
    outcome = train(small_spec(**fields), store, device="cpu")
    assert (outcome.status, outcome.kind) == ("failed", "spec")
    assert outcome.reason.startswith(reason)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizer": "adam"}, "did you mean adamw"),
        ({"schedule": "onecycle"}, "did you mean one_cycle"),
        ({"augmentation": ("mixup",)}, "unknown augmentation 'mixup'"),
    ],
)
def test_an_unknown_name_is_refused_where_it_is_used(fields: dict[str, Any], message: str):
    with pytest.raises(SpecError, match=message):
        entries(Recipe(**fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epochs": 3, "warmup_epochs": 3}, "leave 0"),
        ({"epochs": 2, "schedule": "one_cycle"}, "at least 3"),
        ({"optimizer": "../evil"}, "is no name"),
        ({"augmentation": ("noisy", "noisy")}, "repeats"),
        ({"augmentation": "noisy"}, "a list of names"),
        ({"flip": 1}, "true or false"),
        ({"label_smoothing": 1.0}, "below 1"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str):
    with pytest.raises(SpecError, match=message):
        Recipe(**fields)
