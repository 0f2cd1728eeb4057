import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from workers.network.layout import LAYOUTS, Layout, laid

SIZES = st.tuples(*[st.sampled_from([1, 2, 3])] * 4)


@given(SIZES, st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS))
def test_strides_are_those_of_a_new_tensor(shape: tuple[int, ...], before: Layout, after: Layout):
    values = torch.arange(float(torch.Size(shape).numel())).view(shape)
    tensor = laid(laid(values, before), after)
    batch, channels, height, width = shape
    new = (
        torch.empty(shape)
        if after == "contiguous"
        else torch.empty(batch, height, width, channels).permute(0, 3, 1, 2)
    )
    assert tensor.stride() == new.stride()
    assert torch.equal(tensor, values)


def test_what_lies_so_already_is_not_copied():
    maps = torch.randn(2, 3, 4, 5)
    assert laid(maps, "contiguous").data_ptr() == maps.data_ptr()
    last = laid(maps, "channels_last")
    assert laid(last, "channels_last").data_ptr() == last.data_ptr() != maps.data_ptr()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize(
    ("layout", "backend"), [("contiguous", "CudaDepthwise2d"), ("channels_last", "Cudnn")]
)
def test_the_layout_chooses_the_kernels_of_a_depthwise_convolution_on_cuda(
    layout: Layout, backend: str, dilation: int, dtype: torch.dtype
):
    """Of a weight that a whole network's move to channels_last has left in either layout."""
    with FakeTensorMode():
        maps = torch.empty(80, 36, 32, 32, device="cuda", dtype=dtype)
        weight = torch.empty(36, 1, 3, 3, device="cuda", dtype=dtype)
        for lying in (weight, weight.to(memory_format=torch.channels_last)):
            found = torch._C._select_conv_backend(
                laid(maps, layout),
                laid(lying, layout),
                None,
                [1, 1],
                [dilation, dilation],
                [dilation, dilation],
                False,
                [0, 0],
                36,
            )
            assert found.name == backend
