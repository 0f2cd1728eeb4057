"""Every loop that a benchmark compares, by the name that it is asked for with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.loops.fair import FairLoop
from benchmarks.loops.ours import OwnLoop
from benchmarks.loops.packed import PackedLoop, SideBySideLoop, seeded
from benchmarks.loops.reference import ReferenceLoop
from benchmarks.loops.setting import Loop, Setting

Build = Callable[[Setting], Loop]


def builders(
    precisions: Sequence[str], packs: Sequence[int] = (), processes: Sequence[int] = ()
) -> dict[str, tuple[str, Build]]:
    """Each loop's precision and what builds it; the reference loop is first.

    Args:
        precisions: Of the fair loop and of ours.
        packs: How many networks to pack into one process.
        processes: How many to train side by side in processes of their own.
    """
    found: dict[str, tuple[str, Build]] = {"reference": ("fp32", ReferenceLoop)}
    for precision in precisions:
        # An eager loop under torch's own settings has TF32 already.
        if precision != "tf32":
            found[f"fair-{precision}"] = precision, partial(FairLoop, precision=precision)
        found[f"ours-{precision}"] = precision, partial(OwnLoop, precision=precision)
        for networks in packs:
            make = partial(_packed, precision=precision, networks=networks)
            found[f"pack-{networks}-{precision}"] = precision, make
        for networks in processes:
            make = partial(SideBySideLoop, precision=precision, networks=networks)
            found[f"processes-{networks}-{precision}"] = precision, make
    return found


def _packed(setting: Setting, precision: str, networks: int) -> PackedLoop:
    return PackedLoop(seeded(setting, networks), precision)
