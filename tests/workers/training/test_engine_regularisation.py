"""Table 1's recipe inside the engine and the loop: auxiliary loss, drop path, cutout."""

import math

import pytest
import torch
from small_trials import few_digits
from stops import after_epoch
from torch.nn import functional

from results_schema import layout
from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import named
from workers.data import catalog
from workers.network.network import Network, build_network
from workers.training.engine import Engine
from workers.training.trial import train


def network() -> Network:
    return build_network(
        named("DARTS"), NetworkSpec(3, 2), in_channels=1, classes=10, seed=0, auxiliary=True
    )


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(0)
    return (
        torch.randn(6, 1, 32, 32, generator=draws),
        torch.randint(10, (6,), generator=draws),
    )


def test_the_auxiliary_loss_is_added_with_its_weight_and_reported_without():
    trained, images, labels = network(), *batch()
    reference = network()
    logits, others = reference.train().forward_with_auxiliary(images)
    own = functional.cross_entropy(logits, labels)
    weights = list(reference.parameters())
    (own + 0.4 * functional.cross_entropy(others, labels)).backward()
    recipe = Recipe(auxiliary=0.4, weight_decay=0.0, momentum=0.0, grad_clip=1e9)
    totals = Engine(trained, recipe).train_epoch([(images, labels)], 0.1)
    assert math.isclose(totals.loss, own.item(), rel_tol=1e-5)
    for name, new, old in zip(
        dict(trained.named_parameters()), trained.parameters(), weights, strict=True
    ):
        step = torch.zeros_like(old) if old.grad is None else old.grad
        torch.testing.assert_close(new, old.detach() - 0.1 * step, msg=name)


def test_the_auxiliary_gradient_reaches_its_head_and_the_cells_before_it_but_no_later_one():
    net, images, labels = network(), *batch()
    _, others = net.train().forward_with_auxiliary(images)
    functional.cross_entropy(others, labels).backward()
    reached = {n.split(".")[0] for n, w in net.named_parameters() if w.grad is not None}
    assert {"auxiliary_head", "stem", "cells"} == reached
    cells = {
        int(n.split(".")[1])
        for n, w in net.named_parameters()
        if n.startswith("cells.") and w.grad is not None
    }
    assert max(cells) == net.tapped
    assert net.classifier.weight.grad is None


def test_an_epoch_under_drop_path_is_drawn_from_its_seed_and_number_alone():
    def losses(seed: int, epoch: int) -> float:
        torch.rand(3)
        recipe = Recipe(auxiliary=0.4, drop_path=0.5, drop_path_growth="constant")
        engine = Engine(network(), recipe)
        engine.begin(seed, epoch)
        return engine.train_epoch([batch()] * 2, 0.05).loss

    assert losses(1, 2) == losses(1, 2)
    assert len({losses(1, 2), losses(2, 2), losses(1, 3)}) == 3


def spec(**recipe) -> TrialSpec:
    return TrialSpec(
        named("DARTS"),
        "digits",
        catalog.DATASETS["digits"].preprocessing,
        NetworkSpec(3, 2),
        Recipe(epochs=4, batch_size=80, **recipe),
        0.05,
        0,
    )


@pytest.mark.parametrize(
    ("growth", "expected"), [("linear", [0.0, 0.05, 0.1, 0.15]), ("constant", [0.2] * 4)]
)
def test_drop_path_grows_as_asked(store, monkeypatch, growth, expected):
    """Linearly, it is 0.2·e/E for e = 0 … E − 1."""
    seen: list[float] = []
    begin = Engine.begin

    def watch(self, seed, epoch):
        begin(self, seed, epoch)
        seen.append(self._drop_path.probability.item())

    monkeypatch.setattr(Engine, "begin", watch)
    dropping = spec(drop_path=0.2, drop_path_growth=growth)
    assert train(dropping, store, device="cpu").status == "done"
    assert seen == pytest.approx(expected)


@pytest.mark.parametrize("field", [{"cutout": 6}, {"drop_path": 0.3}])
def test_each_regularisation_changes_the_numbers_and_resumes_to_the_same_ones(
    tmp_path, store, field
):
    from results_schema.store import open_store

    plain, whole = [], []
    with few_digits():
        train(spec(), store, device="cpu", on_epoch=plain.append)
        train(spec(**field), store, device="cpu", on_epoch=whole.append)
        other, halves = open_store(tmp_path / "other"), []
        train(spec(**field), other, device="cpu", **after_epoch(2, halves.append))
        train(spec(**field), other, device="cpu", on_epoch=halves.append)
    losses = [[row["train_loss"] for row in rows] for rows in (plain, whole, halves)]
    assert losses[0] != losses[1]
    assert losses[1] == losses[2]


@pytest.mark.parametrize(
    ("dataset", "batch_size", "auxiliary", "refused"),
    [
        ("synthetic_9x1x32_4", 4, 0.4, True),
        ("synthetic_9x1x32_4", 1, 0.4, True),
        ("synthetic_9x1x32_4", 3, 0.4, False),
        ("synthetic_9x1x32_4", 20, 0.4, False),
        ("synthetic_9x1x32_4", 4, 0.0, False),
        ("synthetic_9x1x8_4", 1, 0.0, False),
        ("synthetic_9x1x4_4", 4, 0.0, True),
        ("synthetic_1x1x4_4", 4, 0.0, True),
        ("synthetic_9x1x4_4", 9, 0.0, False),
    ],
)
def test_a_step_of_one_image_is_refused_before_training_where_it_would_fail(
    store, monkeypatch, dataset, batch_size, auxiliary, refused
):
    recipe = Recipe(epochs=1, batch_size=batch_size, auxiliary=auxiliary)
    trial = TrialSpec(named("DARTS"), dataset, 1, NetworkSpec(4, 2), recipe, 0.05, 0)
    outcome = train(trial, store, device="cpu")
    assert outcome.status == ("failed" if refused else "done")
    if refused:
        assert outcome.kind == "spec"
        assert f"a batch_size of {batch_size} leaves one of" in outcome.reason
        assert "epoch 1" not in store.get(layout.log(trial.trial_id)).decode()
        monkeypatch.setattr("workers.training.setup.check_batches", lambda *_, **__: None)
        assert "Expected more than 1 value per channel" in train(trial, store, device="cpu").reason
