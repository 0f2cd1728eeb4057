"""The floor in bytes against single layers and whole steps."""

from dataclasses import replace

import torch
from torch.nn import functional

from benchmarks.gpu_check import Scale
from benchmarks.traffic import ByteCounter, count_traffic
from results_schema.trial import Recipe

SETTING = Scale("cpu", dry=True).setting(2)


def test_a_layer_reads_its_inputs_and_writes_its_outputs():
    x = torch.randn(2, 3, 8, 8)
    weight = torch.randn(4, 3, 1, 1)
    with ByteCounter() as counter:
        y = functional.relu(functional.conv2d(x, weight)).view(2, 4, 64)
    assert counter.kernels == 2
    assert counter.bytes["convolution"] == 4 * (x.numel() + weight.numel() + y.numel())
    assert counter.bytes["relu"] == 4 * 2 * y.numel()
    assert sum(counter.bytes.values()) == sum(
        counter.bytes[name] for name in ("convolution", "relu")
    )


def test_a_batch_costs_what_a_real_batch_does():
    network = SETTING.network().train()
    batch = SETTING.recipe.batch_size
    images, labels = torch.zeros(batch, 3, 8, 8), torch.zeros(batch, dtype=torch.int64)
    with ByteCounter() as counter:
        functional.cross_entropy(network(images), labels).backward()
    weights = sum(4 * weight.numel() for weight in network.parameters())
    traffic = count_traffic(SETTING)
    assert traffic.unfused == sum(counter.bytes.values()) + 6 * weights
    assert 0 < traffic.fused < traffic.unfused


def test_half_the_bytes_move_less_in_as_many_kernels():
    one, half = count_traffic(SETTING), count_traffic(SETTING, "bf16")
    many = count_traffic(replace(SETTING, recipe=Recipe(batch_size=100)))
    assert half.unfused < one.unfused < many.unfused
    assert one.kernels == many.kernels
