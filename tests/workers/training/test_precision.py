"""Each precision is its own arithmetic, and what a device lacks is refused."""

from dataclasses import replace

import pytest
import torch
from small_trials import ending, log, small_spec
from torch import nn

from results_schema.errors import MachineError
from results_schema.store import LocalStore
from results_schema.trial import PRECISIONS, TrialSpec
from workers.cells.bases import named
from workers.network.network import build_network
from workers.training.engine import Engine
from workers.training.loop import train
from workers.training.precision import arithmetic, require

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
    require("fp32", CPU)
    with pytest.raises(MachineError, match="tf32"):
        require("tf32", CPU)
    with arithmetic("fp32", CPU):
        assert not torch.is_autocast_enabled("cpu")
