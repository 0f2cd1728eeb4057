"""Each precision is its own arithmetic, and what a device lacks is refused."""

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import safetensors.torch
import torch
from small_trials import ending, log, small_spec
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from results_schema.errors import MachineError
from results_schema.store import LocalStore
from results_schema.trial import PRECISIONS, NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import named
from workers.network.network import Network, build_network
from workers.training.engine import SGD, Engine
from workers.training.precision import MixedPrecision, check_supported
from workers.training.trial import train

CPU = torch.device("cpu")


def test_a_precision_is_part_of_the_identity_and_the_default_is_what_it_was():
    spec = small_spec()
    others = {replace(spec, precision=precision).trial_id for precision in PRECISIONS}
    assert len(others) == 3
    assert spec.trial_id in others
    assert spec.precision == "fp32"


def test_bfloat16_computes_in_it_and_keeps_weights_statistics_and_logits_in_float32(
    spec: TrialSpec,
):
    network = build_network(
        named("DARTS"), spec.network, in_channels=1, classes=10, seed=0, auxiliary=False
    )
    kinds: dict[str, torch.dtype] = {}

    def watch(name: str):
        return lambda module, inputs, output: kinds.__setitem__(name, output.dtype)

    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
            module.register_forward_hook(watch(name))
    engine = Engine(network, spec.recipe, "bf16")
    draws = torch.Generator().manual_seed(0)
    images = torch.randn(8, 1, 16, 16, generator=draws)
    engine.train_epoch([(images, torch.arange(8))], 0.1)
    assert kinds.pop("classifier") == torch.float32
    assert set(kinds.values()) == {torch.bfloat16}
    kept = [tensor for tensor in engine.state().values() if tensor.is_floating_point()]
    assert {tensor.dtype for tensor in kept} == {torch.float32}


def test_bfloat16_trains_to_about_the_same_loss_and_not_to_the_same_bits(store: LocalStore):
    exact = small_spec()
    coarse = replace(exact, precision="bf16")
    for spec in (exact, coarse):
        assert train(spec, store, device="cpu").status == "done"
    one, two = ending(store, exact), ending(store, coarse)
    assert one["train_loss"] != two["train_loss"]
    assert one["train_loss"] == pytest.approx(two["train_loss"], abs=0.05)
    assert two["precision"] == "bf16"
    assert two["form"] == "eager"


def test_a_device_that_lacks_a_precision_fails_the_trial_and_says_so(store: LocalStore):
    spec = replace(small_spec(), precision="tf32")
    outcome = train(spec, store, device="cpu")
    assert (outcome.status, outcome.kind) == ("failed", "machine")
    assert "a CPU has no tf32" in outcome.reason
    assert "fp32" in log(store, spec)


def test_every_device_has_float32():
    check_supported("fp32", CPU)
    with pytest.raises(MachineError, match="tf32"):
        check_supported("tf32", CPU)
    network = build_network(named("DARTS"), small_spec().network, in_channels=1, classes=10, seed=0)
    with MixedPrecision(network, "fp32").autocast():
        assert not torch.is_autocast_enabled("cpu")


class TestCastAtOnce:
    """All weights of a step in one go, to the bits that autocast gives one by one."""

    def trained(self, auxiliary: bool) -> tuple[Network, Engine, Recipe]:
        network = build_network(
            named("AmoebaNet_ADAPT"),
            NetworkSpec(6, 4),
            in_channels=3,
            classes=10,
            seed=0,
            auxiliary=auxiliary,
        )
        recipe = Recipe(epochs=2, auxiliary=0.4 * auxiliary, grad_clip=0.5)
        return network, Engine(copy.deepcopy(network), recipe, "bf16"), recipe

    @pytest.mark.parametrize("auxiliary", [False, True], ids=["plain", "auxiliary"])
    def test_steps_and_evaluation_give_the_bits_of_autocast(self, auxiliary: bool):
        network, engine, recipe = self.trained(auxiliary)
        network.to(memory_format=torch.channels_last)
        optimizer = SGD(dict(network.named_parameters()), recipe)
        optimizer.lr.fill_(0.1)
        batches = images_of(32 if auxiliary else 16, 3)
        autocast = partial(torch.autocast, "cpu", dtype=torch.bfloat16, cache_enabled=False)
        network.train()
        for pixels, labels in batches:
            with autocast():
                if auxiliary:
                    logits, others = network.forward_with_auxiliary(pixels)
                    loss = cross_entropy(logits, labels) + 0.4 * cross_entropy(others, labels)
                else:
                    loss = cross_entropy(network(pixels), labels)
            loss.backward()
            optimizer.step()
        engine.train_epoch(batches, 0.1)
        state = engine.state()
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, state[name]), name
        network.eval()
        with torch.inference_mode(), autocast():
            losses = [cross_entropy(network(x), y, reduction="sum").double() for x, y in batches]
        assert engine.evaluate(batches)[0] == float(sum(losses)) / 24

    def test_no_weight_is_cast_where_it_is_used(self):
        _, engine, _ = self.trained(True)
        with Casts() as casts:
            engine.train_epoch(images_of(32, 1), 0.1)
        weights = {tuple(weight.shape) for weight in engine.network.parameters()}
        assert not [shape for shape in casts.shapes if len(shape) == 4 and shape in weights]

    def test_a_step_that_fails_leaves_the_float32_weights_in_place(self):
        _, engine, _ = self.trained(False)
        with pytest.raises(RuntimeError):
            engine.train_epoch([(torch.randn(2, 7, 16, 16), torch.arange(2))], 0.1)
        assert {weight.dtype for weight in engine.network.parameters()} == {torch.float32}

    def test_a_checkpoint_of_weights_in_one_tensor_is_restored_bit_by_bit(self):
        _, engine, _ = self.trained(False)
        _, other, _ = self.trained(False)
        engine.train_epoch(images_of(16, 2), 0.1)
        other.restore(safetensors.torch.load(safetensors.torch.save(engine.state())))
        for each in (engine, other):
            each.train_epoch(images_of(16, 2), 0.1)
        state = other.state()
        assert all(torch.equal(tensor, state[name]) for name, tensor in engine.state().items())


class Casts(TorchDispatchMode):
    """Notes the shapes of what is cast."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if "_to_copy" in str(func):
            self.shapes.append(tuple(args[0].shape))
        return func(*args, **(kwargs or {}))


def images_of(size: int, count: int) -> list[tuple[Tensor, Tensor]]:
    """Batches of 8."""
    draws = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(8, 3, size, size, generator=draws).contiguous(
                memory_format=torch.channels_last
            ),
            torch.randint(10, (8,), generator=draws),
        )
        for _ in range(count)
    ]
