"""Check that the GPU computes what it should: against eager steps, itself and float64.

Rounding differs between kernels and grows from step to step, so two runs are compared with how far
two runs of the same kind are apart, and with how far a wrong one would be.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from benchmarks.gpu_check import Outcome, Scale, environment
from benchmarks.landscape import Case
from benchmarks.loops import OwnLoop, PackedLoop, Setting
from benchmarks.measure import LEARNING_RATE, shortened, table
from results_schema import layout
from results_schema.trial import PRECISIONS, NetworkSpec, Recipe
from workers.landscape.contour import Contour
from workers.landscape.curvature import Hessian, Lanczos, run
from workers.landscape.gradient_variance import GradientVariance
from workers.landscape.instances import Instances
from workers.landscape.plane import draw_directions
from workers.training import device as devices
from workers.training.graphs import StepMode

STEPS = 20
"""Steps that are compared."""

OTHER_RATE = 0.1
DROPPED = 0.4
"""The probability of drop path in the second epoch; in the first it is 0."""

BARS = {"fp32": 1e-2, "tf32": 5e-2, "bf16": 0.2}
"""Largest distance by precision; twice what two equal runs differ by is allowed too."""

CELLS = ("DARTS", "NASNet", "AmoebaNet", "ENAS", "SNAS")
"""Together they have every operation and every number of intermediate nodes of the paper."""

FLOAT32, CURVATURE = 2e-3, 2e-2
"""Largest relative distance from float64: of losses and variances, and of the top eigenvalue.

In float32 a rounded number sometimes falls on the other side of a ReLU, which moves a gradient
by up to some thousandths of its length; a wrong kernel moves it by about its whole length.
"""


@dataclass(frozen=True)
class Difference:
    """How far two runs of `what` ended from one another.

    Attributes:
        distance: ‖a − b‖ / ‖b − start‖ over all weights.
        again: The same between two runs of the reference's kind.
        effect: The same between the reference with a change and without it, if one was made.
    """

    what: str
    precision: str
    distance: float
    again: float
    effect: float | None = None

    @property
    def sound(self) -> bool:
        """Whether rounding explains the distance, and a missed change would not."""
        allowed = max(BARS[self.precision], 2 * self.again)
        seen = self.effect is None or self.distance < self.effect / 5
        return self.distance <= allowed and seen


def compare_modes(setting: Setting, precision: str, mode: StepMode) -> list[Difference]:
    """Compare `STEPS` steps in a mode with eager ones: at one rate, then with other numbers."""
    setting = shortened(setting, STEPS)
    setting = replace(setting, recipe=replace(setting.recipe, epochs=2, drop_path=2 * DROPPED))
    loops = [OwnLoop(setting, precision, each) for each in ("eager", "eager", mode)]
    state, start = _state(loops[0]), weights(loops[0])
    found, plain = [], None
    for what, epoch, lr in (
        (f"{STEPS} steps from one state", 1, LEARNING_RATE),
        (f"the same at a rate of {OTHER_RATE:g}", 1, OTHER_RATE),
        (f"the same with {DROPPED:.0%} of the paths dropped", 2, LEARNING_RATE),
    ):
        for loop in loops:
            loop.run(loop.engine.restore, state)
            loop.epoch(epoch, lr)
        eager, again, other = (weights(loop) for loop in loops)
        effect = None if plain is None else relative(eager, plain, start)
        distance, repeated = relative(other, eager, start), relative(again, eager, start)
        found.append(Difference(what, precision, distance, repeated, effect))
        plain = eager if plain is None else plain
    return found


def _state(loop: OwnLoop) -> dict[str, Tensor]:
    # On a CPU a state is the engine's own tensors.
    return {name: tensor.clone() for name, tensor in loop.run(loop.engine.state).items()}


def weights(loop: OwnLoop) -> Tensor:
    """Return all weights of a loop's network as one float64 vector: no buffers, no momenta."""
    state = loop.run(loop.engine.state)
    names = [name for name, _ in loop.engine.network.named_parameters()]
    return torch.cat([state[name].double().flatten() for name in names])


def relative(one: Tensor, other: Tensor, start: Tensor) -> float:
    """Return ‖one − other‖ / ‖other − start‖."""
    return float((one - other).norm() / (other - start).norm())


def alone(scale: Scale) -> Outcome:
    """Compare graphed steps with eager ones, for each cell in each precision of the device."""
    on_gpu = devices.choose(scale.device).type == "cuda"
    mode = "graphed" if on_gpu else "fixed"
    rows, numbers, passed = [], [], True
    for cell in CELLS[: 1 if scale.dry else None]:
        for precision in PRECISIONS:
            if precision == "tf32" and not on_gpu:
                continue
            for one in compare_modes(scale.setting(STEPS, cell, 8), precision, mode):
                passed = passed and one.sound
                numbers.append([cell, vars(one)])
                effect = "–" if one.effect is None else f"{one.effect:.1e}"
                distances = [f"{one.distance:.1e}", f"{one.again:.1e}", effect]
                rows.append([cell, f"{one.what}, {precision}", *distances, _answer(one.sound)])
    lead = "" if mode == "graphed" else "A CPU has no graphs: steps on fixed tensors instead.\n\n"
    header = ("cell", "what", "distance", "of two equal runs", "effect of the change", "sound")
    return Outcome(passed, lead + table(header, rows), numbers)


def _answer(sound: bool) -> str:
    return "yes" if sound else "NO"


def packs(scale: Scale) -> Outcome:
    """Train four unlike cells as a pack, then each alone; deterministic kernels give equal bits."""
    settings = [scale.setting(STEPS, cell, 8) for cell in CELLS[: 2 if scale.dry else 4]]
    rows, passed = [], True
    for precision in ("bf16",) if scale.dry else ("fp32", "bf16"):
        for deterministic in (True, False):
            packed = PackedLoop(settings, precision, deterministic=deterministic)
            starts = [weights(loop) for loop in packed.loops]
            packed.epoch(1, LEARNING_RATE)
            together = [weights(loop) for loop in packed.loops]
            packed.close()
            for setting, start, ended in zip(settings, starts, together, strict=True):
                single = OwnLoop(setting, precision, deterministic=deterministic)
                single.epoch(1, LEARNING_RATE)
                distance = relative(ended, weights(single), start)
                single.close()
                sound = distance == 0 if deterministic else distance <= BARS[precision]
                passed = passed and sound
                kind = "deterministic" if deterministic else "free"
                name = f"{setting.genotype}, {precision}, {kind}"
                rows.append([name, f"{distance:.1e}", _answer(sound)])
    return Outcome(passed, table(("packed against alone", "distance", "sound"), rows), rows)


def resume(scale: Scale) -> Outcome:
    """Stop after an epoch and resume from its state: the second epoch ends at the same bits."""
    setting = scale.setting(STEPS, cells=8)
    setting = replace(setting, recipe=replace(setting.recipe, epochs=2, drop_path=0.2))
    rows, passed = [], True
    for precision in ("bf16",) if scale.dry else ("fp32", "bf16"):
        whole, resumed = (OwnLoop(setting, precision, deterministic=True) for _ in range(2))
        whole.epoch(1, LEARNING_RATE)
        state, start = _state(whole), weights(whole)
        whole.epoch(2, LEARNING_RATE)
        resumed.run(resumed.engine.restore, state)
        resumed.epoch(2, LEARNING_RATE)
        distance = relative(weights(resumed), weights(whole), start)
        whole.close()
        resumed.close()
        passed = passed and distance == 0
        rows.append([precision, f"{distance:.1e}", _answer(distance == 0)])
    return Outcome(passed, table(("resumed against undisturbed", "distance", "equal"), rows), rows)


def trial(scale: Scale) -> Outcome:
    """Train a trial by `python -m workers.train`, stopped after an epoch and resumed, and whole."""
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as name:
        folder = Path(name)
        size = NetworkSpec(cells=3, channels=2) if scale.dry else NetworkSpec(cells=5, channels=8)
        job = Setting(torch.device("cpu"), "digits", size=size, recipe=Recipe(epochs=3))
        spec = job.spec()
        (folder / "trial.json").write_text(spec.to_json())
        whole, broken = folder / "whole", folder / "broken"
        codes = [_train(folder, whole, scale), _train(folder, broken, scale, stop_after=1)]
        codes.append(_train(folder, broken, scale))
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


def _train(folder: Path, store: Path, scale: Scale, stop_after: int | None = None) -> int:
    """Run `workers.train` to its end, or send SIGTERM after some epochs; return its exit code."""
    command = [sys.executable, "-m", "workers.train", "trial.json", "--store", str(store)]
    command += ["--deterministic", "--checkpoint-every", "0"]
    command += ["--device", scale.device] if scale.device else []
    with subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if stop_after and line.startswith(f"epoch {stop_after}/"):
                process.send_signal(signal.SIGTERM)
    return process.returncode


def landscape(scale: Scale) -> Outcome:
    """Compare a contour's point, a variance and the top eigenvalue with float64 on the CPU."""
    device, cpu = devices.choose(scale.device), torch.device("cpu")
    rows, passed = [], True
    for cell in CELLS[: 1 if scale.dry else None]:
        setting = Setting(cpu, "synthetic_16x3x16_10", cell, NetworkSpec(cells=3, channels=4))
        case = Case.build(setting, images=16, batch=16)
        # First, because the network moves to the device.
        exact = _measure(case, cpu, torch.float64, eigenvalue=cell == CELLS[0])
        measured = _measure(case, device, torch.float32, eigenvalue=cell == CELLS[0])
        for name, value in measured.items():
            bar = CURVATURE if "eigenvalue" in name else FLOAT32
            distance = abs(value - exact[name]) / abs(exact[name])
            passed = passed and distance <= bar
            rows.append([f"{cell}: {name}", f"{exact[name]:.6g}", f"{distance:.1e}", f"{bar:g}"])
    return Outcome(passed, table(("measured", "float64", "distance", "bar"), rows), rows)


def _measure(
    case: Case, device: torch.device, dtype: torch.dtype, *, eigenvalue: bool
) -> dict[str, float]:
    network = case.network.to(device)
    images, labels = case.images.to(device), case.labels.to(device)
    instances = Instances(images, labels, dtype=dtype, batch=case.batch)
    directions = draw_directions(network, seed=0)
    contour = Contour(network, directions, instances).at(0.1, -0.1)
    variance = GradientVariance(network, directions, instances).at(0.1, -0.1)
    found = {"loss at (0.1, −0.1)": contour["loss"], "variance there": variance["variance"]}
    if eigenvalue:
        found["top eigenvalue"] = run(Lanczos(Hessian(network, instances)))["top_eigenvalue"]
    return found
