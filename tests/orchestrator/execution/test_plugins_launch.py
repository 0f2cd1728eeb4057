"""A launch of trials with a plug-in's operation, and what is done with their store without it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sweeps import launch

import nas_sweep
from results_schema.errors import SpecError
from results_schema.results import Results
from results_schema.store import LocalStore

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400), pytest.mark.usefixtures("own_plugins")]

PLUGIN = """
import nas_sweep
from torch import nn

@nas_sweep.operation("mix_conv", version=2)
def mix_conv(channels, stride, affine):
    conv = nn.Conv2d(channels, channels, 3, stride, 1, groups=2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(channels, affine=affine))
"""
EXPERIMENT = """
title: An operation of my own
claim: None, this is a test.
plugins: [my_ops.py]
grid:
  genotype:
    - name: mine
      normal: {nodes: [[[mix_conv, 0], [sep_conv_3x3, 1]]], concat: [2]}
      reduce: {nodes: [[[mix_conv, 0], [skip_connect, 1]]], concat: [2]}
  variants: {operations: {mode: uniform, n: 1, candidates: [mix_conv, avg_pool_3x3]}}
  dataset: [digits]
network: {cells: 3, channels: 2}
recipe: {epochs: 2}
landscape:
  gradient_variance: {grid: 1, subset: 20}
figures: {own: accuracy_by_index, cells: topologies}
"""


def test_a_plugins_operation_is_launched_measured_and_read_without_it(tmp_path: Path, run):
    (tmp_path / "own.yaml").write_text(EXPERIMENT)
    (tmp_path / "my_ops.py").write_text(PLUGIN)
    place = ("--store", tmp_path / "results")
    # Pictures are left to the tests of figures.
    code, output = launch(tmp_path / "own.yaml", *place, BROWSER_PATH=str(tmp_path / "none"))
    assert code == 0, output
    store = LocalStore(tmp_path / "results")
    results = Results(store)
    trials = results.trials("own")
    assert list(trials["status"]) == ["done", "done"]
    assert all('"operation:mix_conv@2"' in spec for spec in trials["spec"])
    [note] = {json.loads(notes)["gradients"] for notes in results.surfaces("own")["notes"]}
    assert note == "of single instances by torch.func: operation mix_conv"
    (tmp_path / "my_ops.py").rename(tmp_path / "elsewhere.py")
    for command in (
        ("status",),
        ("claims", "own"),
        ("query", "FROM trials"),
        ("report", "own"),
        ("export", "own", "--to", tmp_path / "exported"),
        ("show", "own/mine/base"),
    ):
        code, output, errors = run(*command, *place)
        assert code == 0, (command, errors)
    assert nas_sweep.Results(str(tmp_path / "results")).trials("own").equals(trials)
    for command in ("plan", "launch", "landscape"):
        code, _, errors = run(command, tmp_path / "own.yaml", *place)
        assert (code, "own.yaml:4: plugins: 'my_ops.py': there is no plug-in" in errors) == (
            2,
            True,
        )
    trial = trials["trial_id"].iloc[0]
    with pytest.raises(SpecError, match="the operation mix_conv, version 2, is needed"):
        nas_sweep.load_network(str(tmp_path / "results"), trial)
    nas_sweep.load_plugin(str(tmp_path / "elsewhere.py"))
    assert nas_sweep.load_network(str(tmp_path / "results"), trial).training is False
