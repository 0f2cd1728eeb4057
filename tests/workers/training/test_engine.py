"""The engine against SGD's formulas written out in float64."""

import copy
import importlib
import math
from contextlib import nullcontext
from typing import Any

import pytest
import safetensors.torch
import torch
from small_trials import GENOTYPE
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from results_schema.errors import CorruptData
from results_schema.genotype import Genotype
from results_schema.trial import SCHEDULES, NetworkSpec, Recipe
from workers.cells.bases import BASES, named
from workers.network.network import Network, build_network
from workers.training.engine import LR_SCHEDULES, Engine, scheduled_lr

# Unlike the recipe's own values, each of these moves the weights by more than rounding does.
RECIPE = Recipe(momentum=0.6, weight_decay=0.05, grad_clip=1.5)
Batch = tuple[Tensor, Tensor]


def network(genotype: Genotype = GENOTYPE, seed: int = 0) -> Network:
    return build_network(genotype, NetworkSpec(3, 2), in_channels=1, classes=10, seed=seed)


def batches(*sizes: int, seed: int = 1) -> list[Batch]:
    stream = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(size, 1, 16, 16, generator=stream),
            torch.randint(10, (size,), generator=stream),
        )
        for size in sizes
    ]


class Reference:
    """Momentum SGD with weight decay and clipping, one formula a line."""

    def __init__(self, net: nn.Module, recipe: Recipe) -> None:
        self.net, self.recipe = copy.deepcopy(net).double(), recipe
        self.weights: list[Tensor] = list(self.net.parameters())
        self.velocity = [torch.zeros_like(w) for w in self.weights]
        self.norms: list[float] = []
        self.losses: list[float] = []
        self.correct = 0

    def step(self, batch: Batch, rate: float) -> None:
        images, labels = batch[0].double(), batch[1]
        logits = self.net(images)
        chosen = logits[torch.arange(len(labels)), labels]
        each = torch.log(torch.exp(logits).sum(1)) - chosen
        gradients = torch.autograd.grad(each.mean(), self.weights, allow_unused=True)
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients if g is not None))
        factor = self.recipe.grad_clip / norm if norm > self.recipe.grad_clip else 1.0
        with torch.no_grad():
            for i, gradient in enumerate(gradients):
                if gradient is None:
                    continue
                decayed = factor * gradient + self.recipe.weight_decay * self.weights[i]
                self.velocity[i] = self.recipe.momentum * self.velocity[i] + decayed
                self.weights[i] -= rate * self.velocity[i]
        self.norms.append(norm)
        self.losses += each.tolist()
        self.correct += int((logits.argmax(1) == labels).sum())


@pytest.mark.parametrize("name", ["DARTS", "AmoebaNet_ADAPT"])
def test_steps_are_those_of_the_formulas(name: str):
    net = network(named(name))
    reference, engine = Reference(net, RECIPE), Engine(net, RECIPE)
    for rate, seed in ((0.1, 1), (0.03, 2)):
        data = batches(12, 12, 5, seed=seed)
        engine.train_epoch(data, rate)
        for batch in data:
            reference.step(batch, rate)
    for (key, weight), exact in zip(net.named_parameters(), reference.weights, strict=True):
        torch.testing.assert_close(weight.double(), exact, rtol=2e-4, atol=2e-5, msg=key)


def test_metrics_are_means_over_images_or_steps():
    net, data = network(), batches(20, 20, 20, 3)
    reference, engine = Reference(net, RECIPE), Engine(net, RECIPE)
    totals = engine.train_epoch(data, 0.1)
    for batch in data:
        reference.step(batch, 0.1)
    assert totals.images == len(reference.losses) == 63
    assert totals.loss == pytest.approx(sum(reference.losses) / 63, rel=1e-5)
    assert totals.accuracy == reference.correct / 63
    assert totals.grad_norm == pytest.approx(sum(reference.norms) / 4, rel=1e-4)
    clipped = sum(norm > RECIPE.grad_clip for norm in reference.norms)
    assert totals.clip_rate == clipped / 4
    assert 0 < clipped < 4, "the batches should tell clipped steps from others"


@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.0, 0.05), (0.9, 0.0)])
def test_momentum_and_decay_may_be_nought(momentum: float, decay: float):
    recipe = Recipe(momentum=momentum, weight_decay=decay)
    net, data = network(), batches(10, 10)
    reference, engine = Reference(net, recipe), Engine(net, recipe)
    engine.train_epoch(data, 0.05)
    for batch in data:
        reference.step(batch, 0.05)
    for weight, exact in zip(net.parameters(), reference.weights, strict=True):
        torch.testing.assert_close(weight.double(), exact, rtol=1e-4, atol=1e-5)


def test_dead_operations_neither_move_nor_decay():
    net = network(named("AmoebaNet_ADAPT"))
    before = {key: weight.clone() for key, weight in net.named_parameters()}
    Engine(net, RECIPE).train_epoch(batches(8, 8), 0.1)
    still = {key for key, weight in net.named_parameters() if torch.equal(weight, before[key])}
    assert still == dead(net)
    assert still


def dead(net: Network) -> set[str]:
    """Parameters that no gradient reaches."""
    twin = copy.deepcopy(net)
    twin(torch.randn(2, 1, 16, 16)).sum().backward()
    return {key for key, weight in twin.named_parameters() if weight.grad is None}


def test_evaluation_is_of_each_image_alone_and_changes_nothing():
    net = network()
    engine = Engine(net, RECIPE)
    engine.train_epoch(batches(16, 16), 0.1)
    before, data = engine.state(), batches(9, 9, 4, seed=5)
    before = {name: tensor.clone() for name, tensor in before.items()}
    loss, accuracy = engine.evaluate(data)
    losses, correct = [], []
    with torch.no_grad():
        for images, labels in data:
            for image, label in zip(images, labels, strict=True):
                logits = net.eval()(image[None])[0].double()
                losses.append(float(logits.exp().sum().log() - logits[label]))
                correct.append(bool(logits.argmax() == label))
    assert loss == pytest.approx(sum(losses) / 22, rel=1e-5)
    assert accuracy == sum(correct) / 22
    after = engine.state()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_was_marked_stays_whatever_is_trained_afterwards():
    engine = Engine(network(), RECIPE)
    for seed in (1, 2):
        engine.train_epoch(batches(16, seed=seed), 0.1)
        engine.take_snapshot()
        expected = {name: tensor.clone() for name, tensor in engine.state().items()}
        engine.train_epoch(batches(16, seed=3), 0.1)
        snapshot = engine.snapshot()
        assert snapshot.keys() == expected.keys()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in snapshot.items())
        moved = engine.state()
        assert not all(torch.equal(tensor, moved[name]) for name, tensor in snapshot.items())


def test_training_after_an_evaluation_uses_batch_statistics_again():
    one, two = Engine(network(), RECIPE), Engine(network(), RECIPE)
    one.train_epoch(batches(8), 0.1)
    one.evaluate(batches(8))
    one.train_epoch(batches(8), 0.1)
    for _ in range(2):
        two.train_epoch(batches(8), 0.1)
    assert all(torch.equal(a, two.state()[name]) for name, a in one.state().items())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_bad_input_is_reported_in_the_loss_and_not_raised(value: float):
    engine = Engine(network(), RECIPE)
    assert engine.finite()
    [(images, labels)] = batches(4)
    images[2, 0, 3, 3] = value
    totals = engine.train_epoch([(images, labels)], 0.1)
    assert math.isnan(totals.loss)
    assert math.isnan(totals.grad_norm)
    assert not engine.finite()
    assert math.isnan(engine.evaluate([(images, labels)])[0])


def test_a_restored_engine_goes_on_as_if_it_had_not_stopped():
    genotype = named("AmoebaNet_ADAPT")
    whole = Engine(network(genotype), RECIPE)
    whole.train_epoch(batches(8, 8), 0.1)
    kept = safetensors.torch.load(safetensors.torch.save(whole.state()))
    resumed = Engine(network(genotype, seed=9), RECIPE)
    resumed.restore(kept)
    for engine in (whole, resumed):
        engine.train_epoch(batches(8, 8, seed=2), 0.05)
    one, two = whole.state(), resumed.state()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert whole.evaluate(batches(5)) == resumed.evaluate(batches(5))


def test_momentum_is_part_of_the_state():
    engine = Engine(network(), RECIPE)
    engine.train_epoch(batches(8), 0.1)
    kept = {name: tensor.clone() for name, tensor in engine.state().items()}
    engine.train_epoch(batches(8), 0.1)
    with_momentum = engine.state()["classifier.weight"].clone()
    for name in kept:
        if name.startswith("momentum."):
            kept[name].zero_()
    engine.restore(kept)
    engine.train_epoch(batches(8), 0.1)
    assert not torch.equal(engine.state()["classifier.weight"], with_momentum)


def test_state_is_contiguous_as_safetensors_wants_it():
    assert all(tensor.is_contiguous() for tensor in Engine(network(), RECIPE).state().values())


@pytest.mark.parametrize("damage", ["missing", "foreign", "shape", "empty"])
def test_another_networks_state_is_refused_and_nothing_changed(damage: str):
    engine = Engine(network(), RECIPE)
    before = {name: tensor.clone() for name, tensor in engine.state().items()}
    other = Engine(network(seed=1), RECIPE).state()
    match damage:
        case "missing":
            del other["momentum.stem.0.weight"]
        case "foreign":
            other["stray"] = torch.zeros(2)
        case "shape":
            other["classifier.bias"] = torch.zeros(11)
        case "empty":
            other = {}
    with pytest.raises(CorruptData, match="not those of this network"):
        engine.restore(other)
    assert all(torch.equal(before[name], tensor) for name, tensor in engine.state().items())


def test_without_momenta_the_rest_of_a_state_is_restored():
    engine, other = Engine(network(), RECIPE), Engine(network(seed=1), RECIPE)
    other.train_epoch(batches(8), 0.1)
    bare = other.state(momenta=False)
    assert bare.keys() == other.network.state_dict().keys()
    with pytest.raises(CorruptData, match="not those of this network"):
        engine.restore(bare)
    for given in (bare, other.state()):
        engine.restore(given, momenta=False)
        assert engine.evaluate(batches(5)) == other.evaluate(batches(5))
    with pytest.raises(CorruptData, match="not those of this network"):
        engine.restore({}, momenta=False)


def test_batch_normalisation_and_biases_may_be_spared_from_decay():
    """Without a gradient and with much decay, what decays is what has moved."""
    net = network()
    before = {name: weight.detach().clone() for name, weight in net.named_parameters()}
    recipe = Recipe(decayed="weights", weight_decay=0.5, momentum=0.0, grad_clip=1e-12)
    Engine(net, recipe).train_epoch(batches(8), 1.0)
    for name, weight in net.named_parameters():
        kept = 1.0 if before[name].ndim == 1 else 0.5
        torch.testing.assert_close(weight.detach(), kept * before[name], msg=name)


META = torch.device("meta")


class MetaGenerator(torch.Generator):
    """Draws for tensors that hold no numbers; torch has none of its own."""

    device = META

    def __new__(cls, device: object = None) -> "MetaGenerator":
        return super().__new__(cls)


class OnlyOnMeta(TorchDispatchMode):
    """Notes what would wait for a device: a tensor elsewhere, and a number that is read."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = tree_leaves((args, kwargs))
        elsewhere = [t for t in given if isinstance(t, Tensor) and t.device != META]
        moved = [one for one in given if isinstance(one, torch.device) and one != META]
        if elsewhere or moved or "local_scalar_dense" in str(func):
            self.seen.append(str(func))
        if "_fused_sgd_" in str(func):  # which has no form without numbers
            return None
        return func(*args, **(kwargs or {}))


def test_a_step_reads_no_number_and_no_tensor_elsewhere(monkeypatch: pytest.MonkeyPatch):
    """So that it can be captured: every base, with auxiliary head and drop path; and evaluation."""
    importlib.import_module("torch._dynamo")  # it looks at what is replaced here
    monkeypatch.setattr(torch, "Generator", MetaGenerator)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    recipe = Recipe(epochs=2, auxiliary=0.4, drop_path=0.3)
    pixels = torch.empty(4, 3, 32, 32, device=META).contiguous(memory_format=torch.channels_last)
    labels = torch.empty(4, dtype=torch.int64, device=META)
    for name in BASES:
        net = build_network(
            named(name),
            NetworkSpec(6, 4),
            in_channels=3,
            classes=10,
            seed=0,
            auxiliary=True,
        )
        engine = Engine(net.to(META), recipe)
        with OnlyOnMeta() as watched:
            engine.network.train()
            engine._train_batch(pixels, labels)
            engine.network.eval()
            with torch.inference_mode():
                engine._test_batch(pixels, labels)
        assert watched.seen == [], name


def test_a_step_that_reads_a_number_is_found(monkeypatch: pytest.MonkeyPatch):
    with OnlyOnMeta() as watched, pytest.raises(RuntimeError):
        torch.empty(3, device=META).sum().item()
    assert watched.seen
    with OnlyOnMeta() as watched:
        torch.add(torch.empty(3, device=META), torch.ones(()))
    assert watched.seen


def rates(schedule: str, lr: float, epochs: int) -> list[float]:
    recipe = Recipe(epochs=epochs, schedule=schedule)
    return [scheduled_lr(recipe, lr, epoch) for epoch in range(1, epochs + 1)]


def test_the_rate_falls_as_half_a_cosine():
    falling = rates("cosine", 0.025, 600)
    assert falling[0] == 0.025
    assert falling[300] == pytest.approx(0.0125)
    assert falling[150] == pytest.approx(0.0125 * (1 + math.sqrt(0.5)))
    assert falling == sorted(falling, reverse=True)
    assert 0 < falling[-1] < 0.025 * 1e-5
    assert rates("cosine", 0.3, 1) == [0.3]


def test_other_schedules_end_at_nothing_or_never_fall():
    assert rates("cosine_shifted", 0.2, 4) == [*rates("cosine", 0.2, 4)[1:], 0.0]
    assert rates("constant", 0.2, 4) == [0.2] * 4


def test_every_schedule_that_a_recipe_may_name_is_there():
    assert set(LR_SCHEDULES) == set(SCHEDULES)
