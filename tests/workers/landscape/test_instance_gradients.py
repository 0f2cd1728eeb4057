import pytest
import torch
from torch import nn

from workers.landscape.instance_gradients import filters_first, weight_gradients

LAYERS = [
    nn.Conv2d(4, 6, 1),
    nn.Conv2d(4, 6, 1, stride=2),
    nn.Conv2d(4, 6, 3, padding=1),
    nn.Conv2d(3, 4, 3, stride=2, padding=1),
    nn.Conv2d(4, 4, (1, 7), stride=(1, 2), padding=(0, 3)),
    nn.Conv2d(4, 4, (7, 1), stride=(2, 1), padding=(3, 0)),
    nn.Conv2d(4, 4, 3, padding=2, dilation=2),
    nn.Conv2d(4, 6, 2),
    nn.Conv2d(4, 4, 3, padding=1, groups=4),
    nn.Conv2d(4, 4, 5, stride=2, padding=2, groups=4),
    nn.Conv2d(4, 4, 5, stride=2, padding=4, dilation=2, groups=4),
    nn.Conv2d(4, 4, 7, padding=3, groups=4),
]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_each_instance_has_its_own_gradient(
    layer: nn.Conv2d, size: tuple[int, int], layout: torch.memory_format
):
    layer = layer.double()
    inputs = torch.randn(3, layer.in_channels, *size, dtype=torch.float64)
    outputs = layer(inputs)
    gradients = torch.randn_like(outputs)
    found = weight_gradients(
        layer, inputs.contiguous(memory_format=layout), gradients.contiguous(memory_format=layout)
    )
    for index in range(3):
        [wanted] = torch.autograd.grad(
            layer(inputs[index : index + 1]), layer.weight, gradients[index : index + 1]
        )
        torch.testing.assert_close(found[index], filters_first(wanted), rtol=1e-11, atol=1e-11)


def test_groups_of_several_channels_are_refused():
    layer = nn.Conv2d(4, 4, 3, groups=2)
    with pytest.raises(TypeError, match="neither dense nor depthwise"):
        weight_gradients(layer, torch.randn(1, 4, 8, 8), torch.randn(1, 4, 6, 6))
