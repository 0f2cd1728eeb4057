"""The words around curves over epochs: titles, axes, subtitle, note and hover."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.figures.convergence_curves import Convergence, Curve, Panel
from orchestrator.figures.members import name_datasets
from orchestrator.figures.style import escape, escape_template

QUANTITIES = {
    "test_loss": "Test loss (nat)",
    "test_accuracy": "Test accuracy (%)",
    "train_loss": "Training loss (nat)",
    "train_accuracy": "Training accuracy (%)",
}
"""Titles of the y axis."""


def panel_titles(panels: Sequence[Panel]) -> list[str]:
    """What tells each panel from the others."""
    tells = {
        "base": lambda panel: panel.base,
        "dataset": lambda panel: panel.dataset,
        "learning_rate": lambda panel: f"rate {panel.learning_rate:g}",
        "group": lambda panel: _span(panel.group),
    }
    told = [name for name in tells if len({getattr(panel, name) for panel in panels}) > 1]
    several = len({panel.quantity for panel in panels}) > 1
    titles = []
    for panel in panels:
        said = [tells[name](panel) for name in told] or ([] if several else [panel.base])
        if several:
            quantity = QUANTITIES[panel.quantity].partition(" (")[0].lower()
            said = [f"{', '.join(said)}: {quantity}" if said else quantity.capitalize()]
        titles.append(", ".join(said))
    return titles


def subtitle(data: Convergence) -> str:
    """The data sets, stand-ins named as such, and what all panels have in common."""
    said = [name_datasets((panel.named_dataset, panel.dataset) for panel in data.panels)]
    bases = list(dict.fromkeys(panel.base for panel in data.panels))
    rates = {panel.learning_rate for panel in data.panels}
    if len(bases) == 1:
        said.append(f"{bases[0]} and its variants")
    if len(rates) == 1:
        said.append(f"learning rate {rates.pop():g}")
    return "; ".join(said)


def note(data: Convergence, *, raw: bool, unnamed: bool) -> str:
    """What a reader must know to trust the picture.

    Args:
        data: The numbers.
        raw: Whether thin curves of single epochs are drawn.
        unnamed: Whether curves are left without a name for want of room.
    """
    said = []
    kind = f"exponential mean over {data.span:g} epochs" if data.span > 1 else "every epoch"
    if data.most_seeds > 1:
        said.append(
            f"Curves: mean over up to {data.most_seeds} seeds ({kind}); bands: least and largest."
        )
    elif data.span > 1:
        thin = "; thin: every epoch." if raw else "; single epochs: too many to be drawn."
        said.append(f"Thick: {kind}{thin}")
    if unnamed:
        said.append("Not all curves are named for want of room; the mouse names them.")
    tracks = data.tracks
    diverged = sum(track.status == "diverged" for track in tracks)
    bare = sum(not track.last for track in tracks if track.status != "diverged")
    running = sum(not track.status and track.last > 0 for track in tracks)
    for count, words in (
        (diverged, "Diverged (red cross" + ", in no mean curve" * (data.most_seeds > 1) + ")"),
        (running, "Not ended"),
        (bare, "No epoch yet, or failed"),
    ):
        if count:
            said.append(f"{words}: {count} of {len(tracks)} trials.")
    return " ".join([*said, *_beyond(data)])


def hover(panel: Panel, curve: Curve, ids: Sequence[str], text: str) -> str:
    """plotly's template for a curve; `text` tells of the place under the mouse."""
    few = [*ids[:3], f"and {len(ids) - 3} more"] if len(ids) > 4 else list(ids)
    names = [escape_template(name) for name in (curve.variant, *few)]
    rate = f"{panel.dataset}, rate {panel.learning_rate:g}"
    size = f"index {curve.index}, width {curve.width:g}c, depth {curve.depth}"
    lines = [f"<b>{names[0]}</b>", size, escape_template(rate), text, *names[1:]]
    return "<br>".join(lines) + "<extra></extra>"


def value(quantity: str) -> str:
    """Epoch and y of plotly's template."""
    if quantity.endswith("accuracy"):
        return "epoch %{x}: %{y:.2f} %"
    return "epoch %{x}: %{y:.4g} nat"


def end_name(panel: Panel, curve: Curve, *, long: bool) -> str:
    """What stands at the end of a curve, escaped."""
    name = f"C{curve.index}" if curve.index else panel.base
    name = name if len(name) <= 11 else f"{name[:10]}…"
    return escape(f"{name} {curve.width:g}c,{curve.depth}" if long and curve.index else name)


def _beyond(data: Convergence) -> list[str]:
    """What the ranges of the axes leave out."""
    said: list[str] = []
    for (quantity, dataset), (low, high) in data.ranges.items():
        tracks = [t for p in data.panels if p.scale == (quantity, dataset) for t in p.tracks]
        out = [t for t in tracks if ((t.values < low) | (t.values > high)).any()]
        if not out:
            continue
        numbers = [float(v) for t in out for v in t.values if v < low or v > high]
        ends = [f"down to {min(numbers):.3g}"] if min(numbers) < low else []
        ends += [f"up to {max(numbers):.3g}"] if max(numbers) > high else []
        word, _, unit = QUANTITIES[quantity].removesuffix(")").partition(" (")
        count = len({t.trial_id for t in out})
        trials = f"{count} trial{'s' if count > 1 else ''}"
        said.append(f"{word} on {dataset}, {trials}: {' and '.join(ends)} {unit}")
    return [f"Cut off by the range of the axis: {'; '.join(said)}."] if said else []


def _span(group: tuple[int, int] | None) -> str:
    if group is None:
        return "base"
    first, last = group
    return f"C{first}" if first == last else f"C{first}–C{last}"
