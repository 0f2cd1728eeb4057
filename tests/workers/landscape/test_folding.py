import torch
from small_landscapes import GENOTYPES, instances, network
from torch import nn

from workers.cells.bases import named
from workers.landscape.folding import FoldedNetwork


def test_no_normalisation_is_left_to_run():
    folded = FoldedNetwork(network(GENOTYPES["all"])).move(0, 0)
    ran: list[nn.Module] = []
    for module in folded.modules():
        module.register_forward_hook(lambda module, _, __: ran.append(module))
    with torch.inference_mode():
        folded(torch.randn(1, 3, 8, 8))
    assert sum(isinstance(module, nn.Conv2d) for module in ran) > 30
    assert not [module for module in ran if isinstance(module, nn.BatchNorm2d)]


def test_both_heads_answer_as_the_trained_network_does():
    images, _ = instances(2, 32)
    trained = network(named("DARTS"), auxiliary=True)
    folded = FoldedNetwork(trained, dtype=torch.float64, auxiliary=True).move(0, 0)
    with torch.no_grad():
        for ours, theirs in zip(
            folded.forward_with_auxiliary(images),
            trained.forward_with_auxiliary(images),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def test_feature_maps_stay_channels_last():
    folded = FoldedNetwork(network(named("NASNet"), channels=4)).move(0, 0)
    strided: list[bool] = []
    for module in folded.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda _, __, output: strided.append(
                    output.is_contiguous(memory_format=torch.channels_last)
                )
            )
    with torch.inference_mode():
        folded(torch.randn(2, 3, 16, 16).contiguous(memory_format=torch.channels_last))
    assert strided
    assert all(strided)
