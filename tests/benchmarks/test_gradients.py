"""The check of gradients finds a wrong kernel, and none where there is none."""

import pytest
import torch
from torch import Tensor, nn

from benchmarks.measures import gradients
from benchmarks.measures.gradients import Difference, check_native_average_pool, check_operations
from results_schema.genotype import OPERATIONS

CPU = torch.device("cpu")


def check(*precisions: str) -> list[Difference]:
    torch.manual_seed(0)
    found = check_operations(CPU, shapes=((8, 8),), precisions=precisions)
    return list(found)


def test_every_operation_of_this_machine_is_sound_in_both_strides_and_every_layout():
    found = check("fp32", "bf16")
    assert [one for one in found if not one.sound] == []
    cases = {(one.operation, one.stride, one.layout, one.precision) for one in found}
    # Noise has no gradient, and a skip at stride 1 is the identity.
    assert len(cases) == len(found) == 2 * 2 * (2 * (len(OPERATIONS) - 1) - 1)


class Mirrored(torch.autograd.Function):
    """The identity, with the gradient of a mirrored map."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> Tensor:
        # As a kernel does that is wrong in one precision and one layout alone.
        [grad] = grads
        last = grad.is_contiguous(memory_format=torch.channels_last) and grad.dtype == torch.float32
        return grad.flip(3) if last else grad


class WrongPool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Mirrored.apply(x)


def test_a_kernel_that_is_wrong_in_one_layout_is_found(monkeypatch: pytest.MonkeyPatch):
    real = gradients.build_operation

    def build(name: str, channels: int, stride: int) -> nn.Module:
        operation = real(name, channels, stride)
        return nn.Sequential(operation, WrongPool()) if name == "avg_pool_3x3" else operation

    monkeypatch.setattr(gradients, "build_operation", build)
    wrong = {(d.operation, d.layout) for d in check("fp32") if not d.sound}
    assert wrong == {("avg_pool_3x3", "channels_last")}


@pytest.mark.parametrize("distance", [float("nan"), float("inf")])
def test_a_gradient_that_is_no_number_is_unsound(distance: float):
    assert not Difference("conv_1x1", 1, "contiguous", "bf16", 4, 8, distance).sound


def test_torchs_own_average_pool_is_right_on_a_cpu():
    torch.manual_seed(0)
    found = list(check_native_average_pool(CPU, images=2, shapes=((4, 8),)))
    assert {(one.stride, one.sound) for one in found} == {(1, True), (2, True)}
