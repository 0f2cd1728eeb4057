"""Each precision is its own arithmetic, and what a device lacks is refused."""

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from small_trials import log, small_spec
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from results_schema.errors import MachineError
from results_schema.store import LocalStore
from results_schema.trial import NetworkSpec, Recipe
from workers.cells.bases import named
from workers.network.network import Network, build_network
from workers.training.engine import Engine
from workers.training.optimizers import SGD
from workers.training.precision import MixedPrecision, check_supported, set_tf32
from workers.training.trial import train

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_a_device_that_lacks_a_precision_fails_the_trial(store: LocalStore):
    spec = replace(small_spec(), precision="tf32")
    outcome = train(spec, store, device="cpu")
    assert (outcome.status, outcome.kind) == ("failed", "machine")
    assert "a CPU has no tf32" in outcome.reason
    assert "fp32" in log(store, spec)
    check_supported("fp32", CPU)
    check_supported("bf16", CPU)


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (9, 0)])
def test_gpus_have_tf32_and_bfloat16_from_ampere_on(monkeypatch, capability):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "T4")
    check_supported("fp32", CUDA)
    for precision in ("tf32", "bf16"):
        if capability < (8, 0):
            with pytest.raises(MachineError, match=rf"T4 has no {precision}.* is 7\.5"):
                check_supported(precision, CUDA)
        else:
            check_supported(precision, CUDA)


def test_only_tf32_lets_products_round():
    for precision in ("tf32", "bf16", "tf32", "fp32"):
        set_tf32(precision)
        assert torch.backends.cuda.matmul.allow_tf32 == (precision == "tf32")
        assert torch.backends.cudnn.allow_tf32 == (precision == "tf32")


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


def coarse(auxiliary: bool) -> tuple[Network, Engine, Recipe]:
    """A network, an engine that trains a copy of it in bfloat16, and its recipe."""
    network = build_network(
        named("AmoebaNet_ADAPT"),
        NetworkSpec(4, 4),
        in_channels=3,
        classes=10,
        seed=0,
        auxiliary=auxiliary,
    )
    recipe = Recipe(epochs=2, auxiliary=0.4 * auxiliary, grad_clip=0.5)
    return network, Engine(copy.deepcopy(network), recipe, "bf16"), recipe


@pytest.mark.parametrize("auxiliary", [False, True], ids=["plain", "auxiliary"])
def test_steps_and_evaluation_in_bfloat16_give_the_bits_of_autocast(auxiliary: bool):
    network, engine, recipe = coarse(auxiliary)
    network.to(memory_format=torch.channels_last)
    optimizer = SGD(dict(network.named_parameters()), recipe)
    optimizer.lr.fill_(0.1)
    batches = images_of(32 if auxiliary else 16, 2)
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
    kept = {tensor.dtype for tensor in state.values() if tensor.is_floating_point()}
    assert kept == {torch.float32}
    network.eval()
    with torch.inference_mode(), autocast():
        losses = [cross_entropy(network(x), y, reduction="sum").double() for x, y in batches]
    assert engine.evaluate(batches)[0] == float(sum(losses)) / 16


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


def test_layers_compute_in_bfloat16_but_the_classifier_and_no_weight_is_cast_where_it_is_used():
    _, engine, _ = coarse(True)
    kinds: dict[str, Any] = {}
    for name, module in engine.network.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
            module.register_forward_hook(
                lambda *call, name=name: kinds.__setitem__(name, call[2].dtype)
            )
    with Casts() as casts:
        engine.train_epoch(images_of(32, 1), 0.1)
    weights = {tuple(weight.shape) for weight in engine.network.parameters()}
    assert not [shape for shape in casts.shapes if len(shape) == 4 and shape in weights]
    assert kinds.pop("classifier") == torch.float32
    assert set(kinds.values()) == {torch.bfloat16}


def test_a_step_that_fails_leaves_the_float32_weights_in_place():
    _, engine, _ = coarse(False)
    with pytest.raises(RuntimeError):
        engine.train_epoch([(torch.randn(2, 7, 16, 16), torch.arange(2))], 0.1)
    assert {weight.dtype for weight in engine.network.parameters()} == {torch.float32}


def test_a_state_of_weights_in_one_tensor_is_restored_bit_by_bit():
    (_, engine, _), (_, other, _) = coarse(False), coarse(False)
    engine.train_epoch(images_of(16, 2), 0.1)
    other.restore({name: tensor.clone() for name, tensor in engine.state().items()})
    for each in (engine, other):
        each.train_epoch(images_of(16, 2), 0.1)
    state = other.state()
    assert all(torch.equal(tensor, state[name]) for name, tensor in engine.state().items())


def test_in_float32_nothing_is_cast():
    network, _, _ = coarse(False)
    with MixedPrecision(network, "fp32").autocast():
        assert not torch.is_autocast_enabled("cpu")
