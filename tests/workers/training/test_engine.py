"""The engine against torch's SGD in float64, and its state."""

import copy
import math
from contextlib import nullcontext, suppress
from typing import Any

import pytest
import torch
from small_trials import GENOTYPE
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from results_schema.errors import CorruptData
from results_schema.genotype import Genotype
from results_schema.trial import NetworkSpec, Recipe
from workers.cells.bases import named
from workers.network import network as networks
from workers.network.network import Network, build_network
from workers.training import engine as engines
from workers.training.engine import Engine

# Unlike the recipe's own values, each of these moves the weights by more than rounding does.
RECIPE = Recipe(momentum=0.6, weight_decay=0.05, grad_clip=1.5)
Batch = tuple[Tensor, Tensor]


def network(genotype: Genotype = GENOTYPE, seed: int = 0, *, auxiliary: bool = False) -> Network:
    return build_network(
        genotype, NetworkSpec(3, 2), in_channels=1, classes=10, seed=seed, auxiliary=auxiliary
    )


def batches(*sizes: int, seed: int = 1, pixels: int = 16) -> list[Batch]:
    stream = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(size, 1, pixels, pixels, generator=stream),
            torch.randint(10, (size,), generator=stream),
        )
        for size in sizes
    ]


def copied(engine: Engine) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in engine.state().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


class Reference:
    """Steps by torch's own SGD in float64, and what a trial reports of them."""

    def __init__(self, net: nn.Module) -> None:
        self.net = copy.deepcopy(net).double()
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), momentum=RECIPE.momentum, weight_decay=RECIPE.weight_decay
        )
        self.norms, self.losses, self.correct = list[float](), list[float](), 0

    def step(self, batch: Batch, rate: float) -> None:
        logits, labels = self.net(batch[0].double()), batch[1]
        each = functional.cross_entropy(logits, labels, reduction="none")
        self.optimizer.zero_grad()
        each.mean().backward()
        self.norms.append(float(nn.utils.clip_grad_norm_(self.net.parameters(), RECIPE.grad_clip)))
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        self.losses += each.tolist()
        self.correct += int((logits.argmax(1) == labels).sum())


@pytest.mark.parametrize("name", ["DARTS", "AmoebaNet_ADAPT"])
def test_steps_are_those_of_torch_and_dead_operations_stay(name: str):
    net = network(named(name))
    before = {key: weight.detach().clone() for key, weight in net.named_parameters()}
    reference, engine = Reference(net), Engine(net, RECIPE)
    for rate, seed in ((0.1, 1), (0.03, 2)):
        data = batches(12, 12, 5, seed=seed)
        engine.train_epoch(data, rate)
        for batch in data:
            reference.step(batch, rate)
    exact = dict(reference.net.named_parameters())
    for key, weight in net.named_parameters():
        torch.testing.assert_close(weight.double(), exact[key], rtol=2e-4, atol=2e-5, msg=key)
    still = {key for key, weight in net.named_parameters() if torch.equal(weight, before[key])}
    net(batches(2)[0][0]).sum().backward()
    assert still == {key for key, weight in net.named_parameters() if weight.grad is None}
    assert bool(still) == (name == "AmoebaNet_ADAPT")


def test_metrics_are_means_over_images_or_steps():
    net, data = network(), batches(20, 20, 20, 3)
    reference, engine = Reference(net), Engine(net, RECIPE)
    totals = engine.train_epoch(data, 0.1)
    for batch in data:
        reference.step(batch, 0.1)
    assert totals.images == len(reference.losses) == 63
    assert totals.loss == pytest.approx(sum(reference.losses) / 63, rel=1e-5)
    assert totals.accuracy == reference.correct / 63
    assert totals.grad_norm == pytest.approx(sum(reference.norms) / 4, rel=1e-4)
    clipped = sum(norm > RECIPE.grad_clip for norm in reference.norms)
    assert totals.clip_rate == clipped / 4
    assert 0 < clipped < 4, "the batches should distinguish clipped steps from others"


def test_evaluation_is_of_each_image_alone_and_changes_nothing():
    net = network()
    engine = Engine(net, RECIPE)
    engine.train_epoch(batches(16, 16), 0.1)
    before, data = copied(engine), batches(9, 9, 4, seed=5)
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
    assert equal(engine.state(), before)
    one, two = Engine(network(), RECIPE), Engine(network(), RECIPE)
    one.evaluate(batches(8))
    for each in (one, two):
        each.train_epoch(batches(8), 0.1)
    assert equal(one.state(), two.state()), "training uses batch statistics again"


def test_label_smoothing_changes_the_steps_and_not_what_is_reported():
    plain, smooth = (Engine(network(), Recipe(label_smoothing=share)) for share in (0.0, 0.3))
    totals = [engine.train_epoch(batches(8), 0.1) for engine in (plain, smooth)]
    assert totals[0].loss == totals[1].loss, "of the first step's weights"
    assert not equal(plain.state(), smooth.state())


def test_a_snapshot_stays_whatever_is_trained_afterwards():
    engine = Engine(network(), RECIPE)
    for seed in (1, 2):
        engine.train_epoch(batches(16, seed=seed), 0.1)
        engine.take_snapshot()
        expected = copied(engine)
        engine.train_epoch(batches(16, seed=3), 0.1)
        assert equal(engine.snapshot(), expected)
        assert not equal(engine.state(), expected)


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


def test_a_restored_engine_continues_as_if_it_had_not_stopped_and_needs_its_momenta():
    genotype = named("AmoebaNet_ADAPT")
    whole, resumed, bare = (Engine(network(genotype, seed), RECIPE) for seed in (0, 9, 9))
    whole.train_epoch(batches(8, 8), 0.1)
    kept = copied(whole)
    assert all(tensor.is_contiguous() for tensor in whole.state().values()), "as safetensors wants"
    resumed.restore(kept)
    bare.restore(kept, momenta=False)
    for engine in (whole, resumed, bare):
        engine.train_epoch(batches(8, 8, seed=2), 0.05)
    assert equal(whole.state(), resumed.state())
    assert not equal(whole.state(), bare.state())


@pytest.mark.parametrize("damage", ["missing", "foreign", "shape", "kind", "empty"])
def test_another_networks_state_is_refused_and_nothing_changed(damage: str):
    engine = Engine(network(), RECIPE)
    before, other = copied(engine), Engine(network(seed=1), RECIPE).state()
    match damage:
        case "missing":
            del other["momentum.stem.0.weight"]
        case "foreign":
            other["stray"] = torch.zeros(2)
        case "shape":
            other["classifier.bias"] = torch.zeros(11)
        case "kind":
            other["classifier.bias"] = torch.zeros(10, dtype=torch.float64)
        case "empty":
            other = {}
    with pytest.raises(CorruptData, match="not those of this network"):
        engine.restore(other)
    assert equal(engine.state(), before)


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


def test_the_auxiliary_loss_is_added_with_its_weight_and_reported_without():
    trained, reference = (network(named("DARTS"), auxiliary=True) for _ in range(2))
    [(images, labels)] = batches(6, pixels=32)
    logits, others = reference.train().forward_with_auxiliary(images)
    own = functional.cross_entropy(logits, labels)
    (own + 0.4 * functional.cross_entropy(others, labels)).backward()
    recipe = Recipe(auxiliary=0.4, weight_decay=0.0, momentum=0.0, grad_clip=1e9)
    totals = Engine(trained, recipe).train_epoch([(images, labels)], 0.1)
    assert math.isclose(totals.loss, own.item(), rel_tol=1e-5)
    pairs = zip(trained.named_parameters(), reference.parameters(), strict=True)
    for (name, new), old in pairs:
        step = torch.zeros_like(old) if old.grad is None else old.grad
        torch.testing.assert_close(new, old.detach() - 0.1 * step, msg=name)


def test_an_epoch_under_drop_path_is_drawn_from_its_seed_and_number_alone():
    def loss(seed: int, epoch: int) -> float:
        torch.rand(3)
        recipe = Recipe(drop_path=0.5, drop_path_growth="constant")
        engine = Engine(network(named("DARTS")), recipe)
        engine.begin(seed, epoch)
        return engine.train_epoch(batches(6, 6), 0.05).loss

    assert loss(1, 2) == loss(1, 2)
    assert len({loss(1, 2), loss(2, 2), loss(1, 3)}) == 3


@pytest.mark.parametrize(
    ("growth", "expected"), [("linear", [0.0, 0.05, 0.1, 0.15]), ("constant", [0.2] * 4)]
)
def test_drop_path_grows_as_asked(growth: str, expected: list[float]):
    """Linearly, it is 0.2·e/E for e = 0 … E − 1."""
    engine = Engine(network(), Recipe(epochs=4, drop_path=0.2, drop_path_growth=growth))
    seen = []
    for epoch in (1, 2, 3, 4):
        engine.begin(0, epoch)
        assert engine._drop_path is not None
        seen.append(engine._drop_path.probability.item())
    assert seen == pytest.approx(expected)
    assert Engine(network(), RECIPE)._drop_path is None


META = torch.device("meta")


class MetaGenerator(torch.Generator):
    """Draws for tensors that hold no numbers; torch has none of its own."""

    device = META

    def __new__(cls, device: object = None) -> "MetaGenerator":
        return super().__new__(cls)


class MetaTorch:
    """What of torch would not work on the device "meta", replaced where a module looks for it."""

    Generator = MetaGenerator

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def autocast(self, *_: object, **__: object) -> Any:
        return nullcontext()


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
        # Which have no form without numbers.
        if "_fused_sgd_" in str(func) or "_fused_adamw_" in str(func):
            return None
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_step_reads_no_number_and_no_tensor_elsewhere(monkeypatch, optimizer):
    """So that it can be captured: with auxiliary head and drop path, and in evaluation."""
    for module in (engines, networks):
        monkeypatch.setattr(module, "torch", MetaTorch())
    recipe = Recipe(
        epochs=2, auxiliary=0.4, drop_path=0.3, optimizer=optimizer, label_smoothing=0.1
    )
    pixels = torch.empty(4, 1, 32, 32, device=META).contiguous(memory_format=torch.channels_last)
    labels = torch.empty(4, dtype=torch.int64, device=META)
    engine = Engine(network(named("NASNet"), auxiliary=True).to(META), recipe)
    with OnlyOnMeta() as watched:
        engine.network.train()
        engine._train_batch(pixels, labels)
        engine.network.eval()
        with torch.inference_mode():
            engine._test_batch(pixels, labels)
    assert watched.seen == []
    for mistake in (lambda: pixels.sum().item(), lambda: torch.add(pixels, torch.ones(()))):
        with OnlyOnMeta() as watched, suppress(RuntimeError):
            mistake()
        assert watched.seen, "a step that waits would be found"
