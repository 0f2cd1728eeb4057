"""Check that the GPU computes what it should: against eager steps, itself and float64.

Rounding differs between kernels and grows from step to step, so two runs are compared with how far
two runs of one and the same kind are apart, and with how far a wrong one would be.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from benchmarks.gpu_check import Outcome, Scale
from benchmarks.loops import OwnLoop, PackedLoop, Setting
from benchmarks.measure import table
from results_schema import layout
from results_schema.trial import PRECISIONS, NetworkSpec, Recipe
from workers.landscape.contour import Contour
from workers.landscape.curvature import Hessian, Lanczos
from workers.landscape.directions import draw_directions
from workers.landscape.gradient_variance import GradientVariance
from workers.network.network import Network
from workers.training import device as devices
from workers.training.graphs import StepMode

STEPS = 20
"""That are compared."""

RATE, OTHER_RATE = 0.025, 0.1
DROPPED = 0.4
"""The probability of drop path in the second epoch; in the first it is 0."""

BARS = {"fp32": 1e-2, "tf32": 5e-2, "bf16": 0.2}
"""Largest distance by precision; twice what two equal runs differ by is allowed too."""


@dataclass(frozen=True)
class Apart:
    """How far two runs ended from one another.

    Attributes:
        what: Was done.
        precision: One of `results_schema.trial.PRECISIONS`.
        distance: ‖a − b‖ / ‖b − start‖ over all weights.
        again: The same of two runs of the way that is compared with.
        effect: The same between the change that was made and none, if one was.
    """

    what: str
    precision: str
    distance: float
    again: float
    effect: float | None = None

    @property
    def sound(self) -> bool:
        """Whether rounding explains it, and the change does not."""
        allowed = max(BARS[self.precision], 2 * self.again)
        seen = self.effect is None or self.distance < self.effect / 5
        return self.distance <= allowed and seen


def compare_modes(setting: Setting, precision: str, mode: StepMode) -> list[Apart]:
    """Compare steps of the engine in a mode with eager ones: at one rate, then with other numbers.

    Args:
        setting: The job; its data set is replaced by one that makes `STEPS` steps.
        precision: As for `Apart`.
        mode: How the compared steps run.

    Raises:
        CaptureFailed: The steps can't be captured.
    """
    setting = _short(setting)
    setting = replace(setting, recipe=replace(setting.recipe, epochs=2, drop_path=2 * DROPPED))
    one, two, other = (OwnLoop(setting, precision, each) for each in ("eager", "eager", mode))
    # On a CPU a state is the engine's own tensors.
    start = {name: tensor.clone() for name, tensor in one.run(one.engine.state).items()}
    found = []

    def run(what: str, epoch: int, rate: float, unchanged: Tensor | None) -> Tensor:
        """All three from one state; returns the weights that the first ends at."""
        for loop in (one, two, other):
            loop.run(loop.engine.restore, start)
            loop.epoch(epoch, rate)
        first, second, third = (weights(loop) for loop in (one, two, other))
        began = _flat(one, start)
        effect = None if unchanged is None else apart(first, unchanged, began)
        found.append(
            Apart(
                what,
                precision,
                apart(third, first, began),
                apart(second, first, began),
                effect,
            )
        )
        return first

    plain = run(f"{STEPS} steps from one state", 1, RATE, None)
    run(f"the same at a rate of {OTHER_RATE:g}", 1, OTHER_RATE, plain)
    run(f"the same with {DROPPED:.0%} of the paths dropped", 2, RATE, plain)
    return found


def apart_rows(found: Sequence[Apart]) -> list[list[str]]:
    """For a table whose header is `HEADER`."""
    return [
        [
            f"{one.what}, {one.precision}",
            f"{one.distance:.1e}",
            f"{one.again:.1e}",
            "–" if one.effect is None else f"{one.effect:.1e}",
            "yes" if one.sound else "NO",
        ]
        for one in found
    ]


HEADER = ("what", "distance", "of two equal runs", "effect of the change", "sound")


def _short(setting: Setting) -> Setting:
    about = setting.data(torch.device("cpu")).about
    images = STEPS * setting.recipe.batch_size
    shape = f"{about.channels}x{about.size}_{about.classes}"
    return replace(setting, dataset=f"synthetic_{images}x{shape}")


def weights(loop: OwnLoop) -> Tensor:
    """Return all weights of a loop's network as one vector in float64."""
    return _flat(loop, loop.run(loop.engine.state))


def _flat(loop: OwnLoop, state: dict[str, Tensor]) -> Tensor:
    """All weights of a state as one vector in float64; no buffers, no momenta."""
    names = [name for name, _ in loop.engine.network.named_parameters()]
    return torch.cat([state[name].double().flatten() for name in names])


def apart(one: Tensor, other: Tensor, start: Tensor) -> float:
    """Return ‖one − other‖ / ‖other − start‖."""
    return float((one - other).norm() / (other - start).norm())


CELLS = ("DARTS", "NASNet", "AmoebaNet", "ENAS", "SNAS")
"""Together they have every operation and every number of intermediate nodes of the paper."""

FLOAT32, CURVATURE = 2e-3, 2e-2
"""Largest relative distance from float64: of losses and variances, and of the top eigenvalue.

In float32 a rounded number now and then falls on the other side of a ReLU, which moves a gradient
by up to some thousandths of its length; a wrong kernel moves it by about its whole length.
"""


def alone(scale: Scale) -> Outcome:
    """Compare graphed steps with eager ones, for each cell in each precision of the device."""
    device = devices.choose(scale.device)
    mode = "graphed" if device.type == "cuda" else "fixed"
    precisions = [each for each in PRECISIONS if each != "tf32" or device.type == "cuda"]
    found: list[tuple[str, Apart]] = []
    for cell in CELLS[: 1 if scale.dry else None]:
        for precision in precisions:
            setting = _setting(device, scale, cell)
            found += [(cell, apart) for apart in compare_modes(setting, precision, mode)]
    rows = [[cell, *row] for cell, apart in found for row in apart_rows([apart])]
    lead = "" if mode == "graphed" else "A CPU has no graphs: steps on fixed tensors instead.\n\n"
    passed = all(apart.sound for _, apart in found)
    numbers = [[cell, vars(apart)] for cell, apart in found]
    return Outcome(passed, lead + table(("cell", *HEADER), rows), numbers)


def packs(scale: Scale) -> Outcome:
    """Train four unlike cells as a pack, then each alone; deterministic kernels give equal bits."""
    device = devices.choose(scale.device)
    settings = [_setting(device, scale, cell) for cell in CELLS[: 2 if scale.dry else 4]]
    rows, passed = [], True
    for precision in ("bf16",) if scale.dry else ("fp32", "bf16"):
        for deterministic in (True, False):
            packed = PackedLoop(settings, precision, deterministic=deterministic)
            starts = [weights(loop) for loop in packed.loops]
            packed.epoch(1, RATE)
            together = [weights(loop) for loop in packed.loops]
            packed.close()
            for cell, setting, start, ended in zip(CELLS, settings, starts, together, strict=False):
                single = OwnLoop(setting, precision, deterministic=deterministic)
                single.epoch(1, RATE)
                distance = apart(ended, weights(single), start)
                single.close()
                sound = distance == 0 if deterministic else distance <= BARS[precision]
                passed = passed and sound
                kind = "deterministic" if deterministic else "free"
                rows.append(
                    [f"{cell}, {precision}, {kind}", f"{distance:.1e}", "yes" if sound else "NO"]
                )
    return Outcome(passed, table(("packed against alone", "distance", "sound"), rows), rows)


def resume(scale: Scale) -> Outcome:
    """Stop after an epoch and resume from its state: the second epoch ends at the same bits."""
    device = devices.choose(scale.device)
    rows, passed = [], True
    for precision in ("bf16",) if scale.dry else ("fp32", "bf16"):
        setting = _setting(device, scale, "DARTS")
        setting = replace(setting, recipe=replace(setting.recipe, epochs=2, drop_path=0.2))
        through = OwnLoop(setting, precision, deterministic=True)
        through.epoch(1, RATE)
        state = {name: each.clone() for name, each in through.run(through.engine.state).items()}
        start = weights(through)
        through.epoch(2, RATE)
        resumed = OwnLoop(setting, precision, deterministic=True)
        resumed.run(resumed.engine.restore, state)
        resumed.epoch(2, RATE)
        distance = apart(weights(resumed), weights(through), start)
        through.close()
        resumed.close()
        passed = passed and distance == 0
        rows.append([precision, f"{distance:.1e}", "yes" if distance == 0 else "NO"])
    return Outcome(passed, table(("resumed against undisturbed", "distance", "equal"), rows), rows)


def trial(scale: Scale) -> Outcome:
    """Train a trial by `python -m workers.train`, stopped after an epoch and resumed, and whole."""
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as name:
        folder = Path(name)
        size = NetworkSpec(cells=3, channels=2) if scale.dry else NetworkSpec(cells=5, channels=8)
        job = Setting(torch.device("cpu"), "digits", size=size, recipe=Recipe(epochs=3))
        spec = job.spec("fp32")
        (folder / "trial.json").write_text(spec.to_json())
        whole, broken = folder / "whole", folder / "broken"
        codes = [_trained(folder, whole, scale), _trained(folder, broken, scale, stop_after=1)]
        codes.append(_trained(folder, broken, scale))
        tables = [
            pd.read_parquet(store / layout.metrics(spec.trial_id)) for store in (whole, broken)
        ]
    measured = [c for c in tables[0] if c.endswith(("_loss", "_accuracy", "_norm", "clip_rate"))]
    equal = tables[0][measured].equals(tables[1][measured])
    passed = codes == [0, 130, 0] and equal and len(tables[0]) == job.recipe.epochs
    text = (
        f"Exit codes {codes} of a whole run, a stopped one and its continuation (expected: 0, "
        f"130, 0); {len(tables[1])} epochs, metrics "
        f"{'equal' if equal else 'DIFFERENT'} bit for bit."
    )
    found = {name: [list(each[name]) for each in tables] for name in measured}
    return Outcome(passed, text, found)


def landscape(scale: Scale) -> Outcome:
    """Compare a contour's point, a variance and the top eigenvalue with float64 on the CPU."""
    device = devices.choose(scale.device)
    rows, passed = [], True
    for name, bar, one, exact in _measured(device, scale):
        distance = abs(one - exact) / abs(exact)
        passed = passed and distance <= bar
        rows.append([name, f"{exact:.6g}", f"{distance:.1e}", f"{bar:g}"])
    return Outcome(passed, table(("measured", "float64", "distance", "bar"), rows), rows)


class _Measured(NamedTuple):
    """A number on the device and in float64, and the largest distance that rounding explains."""

    name: str
    bar: float
    on_device: float
    exact: float


def _measured(device: torch.device, scale: Scale) -> Iterator[_Measured]:
    for cell in CELLS[: 1 if scale.dry else None]:
        setting = Setting(torch.device("cpu"), genotype=cell, size=NetworkSpec(3, 4))
        draws = torch.Generator().manual_seed(0)
        images = torch.randn(16, 3, 16, 16, generator=draws)
        labels = torch.randint(10, (16,), generator=draws)
        network = replace(setting, dataset="synthetic_16x3x16_10").network().eval()
        values = [
            _landscape(network.to(place), images.to(place), labels.to(place), dtype, cell)
            for place, dtype in ((torch.device("cpu"), torch.float64), (device, torch.float32))
        ]
        for name, exact in values[0].items():
            bar = CURVATURE if "eigenvalue" in name else FLOAT32
            yield _Measured(f"{cell}: {name}", bar, values[1][name], exact)


def _landscape(
    network: Network, images: Tensor, labels: Tensor, dtype: torch.dtype, cell: str
) -> dict[str, float]:
    directions = draw_directions(network, seed=0)
    contour = Contour(network, directions, images, labels, dtype=dtype).at(0.1, -0.1)
    variance = GradientVariance(network, directions, images, labels, dtype=dtype).at(0.1, -0.1)
    found = {"loss at (0.1, −0.1)": contour.loss, "variance there": variance.whole.value}
    if cell == CELLS[0]:
        hessian = Hessian(network, images, labels, dtype=dtype, batch=16)
        found["top eigenvalue"] = Lanczos(hessian).run().largest
    return found


def _trained(folder: Path, store: Path, scale: Scale, stop_after: int | None = None) -> int:
    """Run `workers.train` to its end, or send SIGTERM after some epochs; return its exit code."""
    words = [sys.executable, "-m", "workers.train", "trial.json", "--store", str(store)]
    words += ["--deterministic", "--checkpoint-every", "0"]
    words += ["--device", scale.device] if scale.device else []
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    with subprocess.Popen(
        words, cwd=folder, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if stop_after and line.startswith(f"epoch {stop_after}/"):
                process.send_signal(signal.SIGTERM)
    return process.returncode


def _setting(device: torch.device, scale: Scale, cell: str) -> Setting:
    """All three resolutions of the paper's network at its width, or the smallest network."""
    size = NetworkSpec(cells=3, channels=2) if scale.dry else NetworkSpec(cells=8, channels=36)
    recipe = Recipe(batch_size=4 if scale.dry else 80)
    shape = "3x8_10" if scale.dry else "3x32_10"
    images = STEPS * recipe.batch_size
    return Setting(device, f"synthetic_{images}x{shape}", cell, size, recipe)
