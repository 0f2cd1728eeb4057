import pytest
import torch
import torch.nn.functional as F

from results_schema.errors import SpecError
from results_schema.trial import NetworkSpec
from workers.cells.bases import named
from workers.network.auxiliary import AuxiliaryHead
from workers.network.network import Network, build_network

SMALL = NetworkSpec(cells=5, channels=4)


def with_head(stem_stride: int = 1) -> Network:
    return build_network(
        named("DARTS"),
        SMALL,
        in_channels=3,
        classes=10,
        seed=0,
        stem_stride=stem_stride,
        auxiliary=True,
    )


@pytest.mark.parametrize(("image", "stem_stride"), [(32, 1), (64, 2)])
def test_both_heads_answer_and_train(image: int, stem_stride: int):
    network = with_head(stem_stride)
    x = torch.randn(4, 3, image, image)
    logits, auxiliary = network.forward_with_auxiliary(x)
    assert logits.shape == auxiliary.shape == (4, 10)
    (0.4 * F.cross_entropy(auxiliary, torch.arange(4))).backward()
    reached = {name for name, p in network.named_parameters() if p.grad is not None}
    assert any(name.startswith("cells.3.") for name in reached), "the second reduction cell"
    assert not any(name.startswith(("cells.4.", "classifier.")) for name in reached)


def test_forward_gives_the_first_logits_alone():
    network, x = with_head().eval(), torch.randn(2, 3, 32, 32)
    logits, _ = network.forward_with_auxiliary(x)
    assert torch.equal(network(x), logits)


def test_the_head_is_the_published_one():
    head = AuxiliaryHead(6, 10).eval()
    x = torch.randn(2, 6, 8, 8)
    means = torch.stack(
        [
            torch.stack([F.relu(x)[:, :, i : i + 5, j : j + 5].mean((2, 3)) for j in (0, 3)], -1)
            for i in (0, 3)
        ],
        -2,
    )
    hidden = F.relu(head.features[3](head.features[2](means)))
    wide = F.relu(head.features[6](head.features[5](hidden))).flatten(1)
    assert hidden.shape[1:] == (128, 2, 2)
    assert wide.shape[1:] == (768,)
    torch.testing.assert_close(head(x), head.classifier(wide))


def test_an_image_that_gives_no_8x8_map_is_refused():
    with pytest.raises(SpecError, match="8×8, not 4×4") as caught:
        with_head().forward_with_auxiliary(torch.randn(2, 3, 16, 16))
    assert "32×32" in caught.value.fix


def test_asking_a_network_without_head_is_refused():
    network = build_network(named("DARTS"), SMALL, in_channels=3, classes=10, seed=0)
    with pytest.raises(SpecError, match="no auxiliary head"):
        network.forward_with_auxiliary(torch.randn(2, 3, 32, 32))


def test_a_head_leaves_the_other_initial_weights_alone():
    plain = build_network(named("DARTS"), SMALL, in_channels=3, classes=10, seed=0)
    ours = dict(with_head().named_parameters())
    assert all(torch.equal(weight, ours[name]) for name, weight in plain.named_parameters())
