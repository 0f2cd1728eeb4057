"""Operations of plug-ins: tried out, counted, built into networks, named by ids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_trials import few_digits, small_spec
from torch.nn import functional

from results_schema import layout, plugins
from results_schema.errors import SpecError
from results_schema.genotype import Cell, Genotype
from results_schema.store import open_store
from results_schema.trial import NetworkSpec, TrialSpec
from workers.cells.cost import count
from workers.cells.notation import parse_genotype
from workers.cells.operations import check_name, examine, find
from workers.identity import canonical_trial
from workers.network.network import build_network
from workers.training.setup import check_versions, set_up
from workers.training.trial import train

pytestmark = pytest.mark.usefixtures("own_plugins")

HEAD = "import torch, nas_sweep\nfrom torch import nn\nfrom torch.nn import functional as F\n"
MIX_CONV = """
@nas_sweep.operation("mix_conv", version=3)
def mix_conv(channels, stride, affine):
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, stride, 1, groups=2, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    )
"""
SIZE = NetworkSpec(3, 4)


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], plugins.Plugin]:
    def load(text: str) -> plugins.Plugin:
        file = tmp_path / f"ops{len(plugins.LOADED)}.py"
        file.write_text(HEAD + text)
        return plugins.load_file(file)

    return load


def cells(name: str) -> dict[str, object]:
    """Both cells read each node by the operation and by others, before and after it."""
    nodes = [
        [["sep_conv_3x3", 0], [name, 0], ["skip_connect", 1]],
        [[name, 1], ["skip_connect", 2], ["max_pool_3x3", 0]],
    ]
    return {part: {"nodes": nodes, "concat": [2, 3]} for part in ("normal", "reduce")}


def body(forward: str, init: str = "") -> str:
    """A module that is registered as `mine`; its forward takes x and has self.stride."""
    return (
        "class Mine(nn.Module):\n"
        "    def __init__(self, channels, stride, affine):\n"
        f"        super().__init__(); self.stride = stride; {init}\n"
        "    def forward(self, x):\n"
        f"        {forward}\n"
        "nas_sweep.operation('mine')(Mine)\n"
    )


HALVED = "x[:, :, ::self.stride, ::self.stride]"


def test_a_plugins_operation_is_counted_as_it_is_built(load):
    load(MIX_CONV)
    genotype = parse_genotype(cells("mix_conv"))
    network = build_network(genotype, SIZE, in_channels=1, classes=10, seed=0)
    cost = count(genotype, SIZE, in_channels=1, classes=10, image=8)
    assert cost.parameters == sum(p.numel() for p in network.parameters())
    # 3 × 3 weights for each of 4 outputs over 2 inputs, at each of 8 × 8 pixels.
    found = examine(find("mix_conv"), channels=4, stride=2, side=8)
    assert found == (9 * 4 * 2 + 8, 9 * 4 * 2 * 64)


def test_a_declared_cost_is_taken_and_must_be_the_modules(load):
    text = MIX_CONV.replace("version=3", "cost=lambda c, s, pixels: (9 * c * c // 2 + 2 * c, 7)")
    load(text)
    assert examine(find("mix_conv"), channels=6, stride=2, side=8) == (9 * 18 + 12, 7)
    plugins.registry("operation").withdraw("ops0.py")
    load(text.replace("// 2 + 2", "+ 2"))
    with pytest.raises(SpecError, match="its cost has 152 parameters of 4 channels, and its modu"):
        check_name("mix_conv")


def test_ids_name_the_entry_and_its_version_and_others_stay(load):
    built_in = small_spec()
    assert canonical_trial(built_in).trial_id == built_in.trial_id
    load(MIX_CONV)
    assert canonical_trial(built_in).trial_id == built_in.trial_id
    spec = canonical_trial(replace(built_in, genotype=parse_genotype(cells("mix_conv"))))
    assert spec.extensions == ("operation:mix_conv@3",)
    assert TrialSpec.from_json(spec.to_json()) == spec
    check_versions(spec)
    with pytest.raises(SpecError, match="id does not name operation:mix_conv@3"):
        check_versions(replace(spec, extensions=()))
    with pytest.raises(SpecError, match=r"mix_conv, version 2, is needed .* version 3 is loaded"):
        check_versions(replace(spec, extensions=("operation:mix_conv@2",)))
    plugins.registry("operation").withdraw("ops0.py")
    # A store is read as before; only what builds the network needs the plug-in.
    assert TrialSpec.from_json(spec.to_json()).trial_id == spec.trial_id
    with pytest.raises(SpecError, match="operation mix_conv, version 3, is needed from a plug-in"):
        check_versions(spec)
    with pytest.raises(SpecError, match="unknown operation 'mix_conv'"):
        count(replace(spec.genotype), SIZE, in_channels=2, classes=10, image=8)


@pytest.mark.parametrize(
    "forward",
    [
        f"return {HALVED}",  # a view of its input
        f"return F.relu({HALVED})",  # whose backward pass reads its output
        f"return torch.sigmoid({HALVED}.contiguous())",
    ],
)
def test_no_other_edge_sees_what_an_operation_does_to_its_maps(load, forward):
    load(body(forward))
    genotype = parse_genotype(cells("mine"))
    network = build_network(genotype, SIZE, in_channels=1, classes=10, seed=0)
    network = network.to(torch.float64)
    images = torch.randn(3, 1, 8, 8, dtype=torch.float64)
    loss = functional.cross_entropy(network(images), torch.arange(3))
    loss.backward()
    weight = network.get_parameter("stem.0.weight")
    gradient, step = weight.grad, 1e-6
    assert gradient is not None
    with torch.no_grad():
        weight[0, 0, 1, 1] += step
        moved = functional.cross_entropy(network(images), torch.arange(3))
    assert (moved - loss).item() / step == pytest.approx(gradient[0, 0, 1, 1].item(), abs=1e-4)


def test_a_trial_ends_with_its_plugins_file_in_its_log(load, tmp_path):
    plugin = load(MIX_CONV)
    genotype, store = parse_genotype(cells("mix_conv")), open_store(tmp_path / "results")
    spec = canonical_trial(replace(small_spec(), genotype=genotype))
    with few_digits():
        assert train(spec, store, device="cpu").status == "done"
    log = store.get(layout.log(spec.trial_id)).decode()
    assert f"plug-in {plugin.name}, digest {plugin.digest}" in log


def test_what_an_operation_draws_is_drawn_again(load):
    drawn = f"return {HALVED} + torch.rand((), generator=self.generator)"
    load(body(drawn, "self.generator = None"))
    genotype = parse_genotype(cells("mine"))
    spec = canonical_trial(replace(small_spec(), genotype=genotype))
    with few_digits():
        losses = []
        for _ in range(2):
            torch.rand(7)  # what else the process draws
            _, engine = set_up(spec, torch.device("cpu"))
            engine.begin(spec.seed, 1)
            images = torch.zeros(2, 1, 8, 8)
            losses.append(engine.network.train()(images).sum().item())
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (body("return x"), r"operation mine of ops0.py, stride 2: it maps \[2, 4, 8, 8\] to"),
        (body("return x[:, :2]"), r"stride 1: it maps \[2, 4, 4, 4\] to \[2, 2, 4, 4\], not to"),
        (body("return None"), "it returns None, not a tensor"),
        (body("return x.argmax(1, keepdim=True).expand(-1, 4, -1, -1)"), "returns torch.int64"),
        (body("return x.relu_()"), "it changes its input\n  use no inplace=True"),
        (body("return x / 0 + y"), r"it fails: NameError: name 'y' is not defined \(ops0.py:8\)"),
        (body("raise ValueError('a\\nb' * 500)"), "it fails: ValueError: a b"),
        (body(f"return torch.rand_like({HALVED})"), "it draws from torch's own generator"),
        (body(f"return F.dropout({HALVED})"), "it draws from torch's own generator"),
        (body("return x", "1 / 0"), r"its builder fails: ZeroDivisionError: .* \(ops0.py:6\)"),
        ("nas_sweep.operation('mine')(lambda c, s, a: None)", "its builder returns None, not a m"),
        ("nas_sweep.operation('mine')(lambda c, s, a: int)", "its builder returns a type, not a"),
        ("nas_sweep.operation('mine')(lambda c, s: nn.Identity())", "its builder fails: TypeError"),
        ("nas_sweep.operation('mine')(3)", "its builder fails: TypeError: 'int' object is not c"),
        (
            "nas_sweep.operation('mine', cost=lambda c: 3)(lambda c, s, a: nn.AvgPool2d(s))",
            "its cost fails: TypeError",
        ),
    ],
)
def test_a_builder_that_is_no_operation_is_one_line(load, text, error):
    load(text)
    with pytest.raises(SpecError, match=error) as caught:
        parse_genotype(cells("mine"))
    assert caught.value.where == "normal cell, node 2, edge 1"
    assert len(caught.value.what) < 400
    assert "\n" not in caught.value.what


def test_a_module_that_reads_numbers_is_tried_on_the_cpu(load):
    load(body(f"return {HALVED} * (2 if x.sum() > 0 else 1)"))
    check_name("mine")


def test_a_cell_of_a_store_needs_no_plugin():
    genotype = Genotype.from_json(cells("of_a_plugin_that_is_gone"))
    assert isinstance(genotype.normal, Cell)
    with pytest.raises(SpecError, match=r"(?s)unknown operation 'of_a_plug.*or name its plug-in"):
        parse_genotype(genotype.to_json())
