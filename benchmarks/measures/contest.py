"""Loops beside one another: how fast, how near the floor, at what launches and memory."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from benchmarks.loops.kinds import Build
from benchmarks.loops.packed import SideBySideLoop
from benchmarks.loops.setting import Loop, Setting
from benchmarks.measures.launches import Launches, count_launches
from benchmarks.measures.memory import warmed_up
from benchmarks.measures.rounds import Speed, in_turns
from benchmarks.measures.tables import table
from benchmarks.measures.traffic import Traffic, count_traffic


@dataclass(frozen=True)
class Standing:
    """What came of a loop.

    Attributes:
        loop: Its name, or the one that it was asked for with if it failed.
        speed: None if it failed.
        alone: Times the images a second of ours with one network in the same precision, the median
            over rounds; None if that was not timed.
        floors: Measured images a second as a share of what the copy bandwidth allows, for the
            unfused and the fused floor of its precision.
        launches: None on a CPU.
        memory: Bytes, see `measures.memory`; None if not measured.
        error: Why it failed, or empty.
    """

    loop: str
    speed: Speed | None = None
    alone: float | None = None
    floors: tuple[float, float] | None = None
    launches: Launches | None = None
    memory: int | None = None
    error: str = ""


@dataclass
class Contest:
    """Loops that train the same job in turns.

    Args:
        setting: The job.
        builds: Each loop's precision and what builds it, by the name that it is asked for with; the
            first is what the others are measured against.
        copy: Bytes a second that the device copies, read and written together.
        memory: Tells what a loop needs in bytes, where this process can't: on a CPU.
        say: Told what is being done.
        launches: Whether to count each loop's launches, which builds it twice more.
    """

    setting: Setting
    builds: Mapping[str, tuple[str, Build]]
    copy: float
    memory: Callable[[str], int] | None = None
    say: Callable[[str], None] = print
    launches: bool = True
    _standings: dict[str, Standing] = field(default_factory=dict)

    def run(self, rounds: int, until: float) -> list[Standing]:
        """Warms every loop up, then times them; see `rounds.in_turns`.

        A loop that fails before is left out and tells why; the others go on.
        """
        loops = {key: loop for key in self.builds if (loop := self._prepared(key))}
        self.say("timing in turns")
        # Without the first, nothing is left to be measured against.
        first = next(iter(self.builds)) in loops
        speeds = in_turns(loops, self.setting, rounds, until) if first else {}
        precisions = {self.builds[key][0] for key in speeds}
        traffic = {each: count_traffic(self.setting, each) for each in precisions}
        for key, speed in speeds.items():
            floor = traffic[self.builds[key][0]]
            self._standings[key] = replace(
                self._standings[key],
                loop=loops[key].name,
                speed=speed,
                alone=_times(speed, speeds.get(f"ours-{self.builds[key][0]}")),
                floors=self._shares(speed, floor),
            )
        return list(self._standings.values())

    def _prepared(self, key: str) -> Loop | None:
        self.say(f"preparing {key}")
        _, build = self.builds[key]
        try:
            launches = count_launches(build, self.setting) if self.launches else None
            gc.collect()  # what was built to be counted gives its memory back
            loop, memory = warmed_up(build, self.setting)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            self._standings[key] = Standing(key, error=reason)
            self.say(f"{key} failed: {reason}")
            return None
        own: int | None = memory
        if isinstance(loop, SideBySideLoop):
            own = None  # its processes' memory is not this one's
        elif self.setting.device.type != "cuda":
            own = self.memory(key) if self.memory else None
        self._standings[key] = Standing(key, launches=launches, memory=own)
        return loop

    def _shares(self, speed: Speed, traffic: Traffic) -> tuple[float, float]:
        steps = speed.rate / self.setting.recipe.batch_size
        return steps * traffic.unfused / self.copy, steps * traffic.fused / self.copy


def _times(speed: Speed, other: Speed | None) -> float | None:
    if other is None:
        return None
    return statistics.median(a / b for a, b in zip(speed.rates, other.rates, strict=True))


def described(setting: Setting, standings: Sequence[Standing]) -> str:
    """What was trained, and a row for each loop, in Markdown."""
    rounds = max((len(one.speed.rates) for one in standings if one.speed), default=0)
    return (
        f"{setting.genotype}, {setting.size.cells} cells, C = {setting.size.channels}, batches of "
        f"{setting.recipe.batch_size}, {len(setting.data().train):,} images an epoch, medians of "
        f"{rounds} round(s):\n\n{table(HEADER, [_row(one) for one in standings])}"
    )


HEADER = (
    "loop", "images/s", "× reference", "range", "× ours alone", "of the floor",
    "of the fused floor", "calls a step", "kernels a step", "memory",
)  # fmt: skip


def _row(one: Standing) -> list[str]:
    if one.speed is None:
        reason = f"failed, {one.error}" if one.error else "not timed, for the first loop failed"
        return [f"{one.loop}: {reason}", *["–"] * (len(HEADER) - 1)]
    ratios = one.speed.ratios
    shares = [f"{share:.1%}" for share in one.floors or ()] or ["–", "–"]
    launches = one.launches
    counts = [f"{launches.calls:.0f}", f"{launches.kernels:.0f}"] if launches else ["–", "–"]
    return [
        one.loop,
        f"{one.speed.rate:,.0f}",
        f"{one.speed.ratio:.2f}",
        f"{min(ratios):.2f}–{max(ratios):.2f}",
        "–" if one.alone is None else f"{one.alone:.2f}",
        *shares,
        *counts,
        "–" if one.memory is None else f"{one.memory / 2**20:,.0f} MiB",
    ]
