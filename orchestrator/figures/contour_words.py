"""The words around contours: titles of panels, what stands in them, subtitle, note and hover."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from orchestrator.figures.log_scales import MOST_FOLD, LogScale
from orchestrator.figures.style import escape, escape_template
from orchestrator.figures.surface_panels import Panel
from orchestrator.figures.words import name_datasets


def panel_titles(panels: Sequence[Panel]) -> list[str]:
    """Each panel's cell with its width and depth, and whatever else tells it from others."""
    tells = {
        "dataset": lambda panel: panel.dataset,
        "learning_rate": lambda panel: f"rate {panel.learning_rate:g}",
        "seed": lambda panel: f"seed {panel.seed}",
        "epoch": lambda panel: f"epoch {panel.epoch}",
        "surface_seed": lambda panel: f"directions {panel.surface_seed}",
        "pair": lambda panel: f"pair {panel.pair}",
    }
    told = [name for name in tells if len(_values(panels, name)) > 1]
    titles: list[str] = []
    for panel in panels:
        cell = cell_name(panel, panels)
        more = [tells[name](panel) for name in told if getattr(panel, name) is not None]
        titles.append(", ".join([f"{cell} {panel.width:g}c,{panel.depth}", *more]))
    return titles


def cell_name(panel: Panel, panels: Sequence[Panel]) -> str:
    """The base or the number of a variant, behind its base where there are several."""
    cell = f"C{panel.index}" if panel.index else panel.base
    several = panel.index and len({panel.base for panel in panels}) > 1
    return f"{panel.base} {cell}" if several else cell


def subtitle(panels: Sequence[Panel]) -> str:
    """The data sets, stand-ins named as such, and what all panels have in common."""
    said = [name_datasets((panel.named_dataset, panel.dataset) for panel in panels)]
    splits = " and ".join(
        f"{instances:,} {split} images"
        for split, instances in dict.fromkeys((p.split, p.instances) for p in panels)
        if instances is not None
    )
    said += [splits] if splits else []
    for name, words in (("learning_rate", "learning rate {:g}"), ("epoch", "after {} epochs")):
        values = _values(panels, name)
        said += [words.format(values[0])] if len(values) == 1 else []
    return "; ".join(said).replace("after 1 epochs", "after 1 epoch")


def loss_word(panels: Sequence[Panel]) -> str:
    """Which images the loss is of."""
    return {"test": "Test", "train": "Training"}.get(
        " ".join(sorted({panel.split for panel in panels if panel.split})), "Mean"
    )


def note(panels: Sequence[Panel], scale: LogScale | None) -> str:
    """What a reader must know to trust the picture."""
    said: list[str] = []
    if scale:
        said.append(f"White cross: the trained network. Lines: {10**scale.step:.3g}-fold apart.")
    if scale and scale.cut:
        said.append(
            f"Blank: loss above {scale.high:,g} nat ({MOST_FOLD:,.0f} times the least of a median "
            "panel, rounded up) or not finite."
        )
    elif scale:
        said.append("Blank: loss not finite.")
    return " ".join([*said, *warnings(panels)])


def warnings(panels: Sequence[Panel]) -> list[str]:
    """Why panels can't be compared at a glance: how far they reach, what is not measured."""
    said: list[str] = []
    measured = [panel for panel in panels if panel.measured]
    reaches = Counter(panel.extent for panel in measured)
    if len(reaches) > 1:
        usual = max(reaches, key=reaches.__getitem__)
        odd = {cell_name(p, panels): p.extent for p in measured if p.extent != usual}
        told = ", ".join(f"{cell} ±{extent:g}" for cell, extent in odd.items())
        said.append(f"Mind the axes: {told}, the others ±{usual:g}.")
    ended = sum(panel.status == "done" for panel in panels)
    if ended < len(panels):
        said.append(f"Measured in full: {ended} of {len(panels)} surfaces.")
    return said


def shortfall(panel: Panel, drawn: bool, shown: str = "loss") -> str:
    """What a panel lacks, in a line or two; empty for a complete one.

    Args:
        panel: The panel.
        drawn: Whether it shows at least one point.
        shown: The quantity in a word.
    """
    if panel.status == "diverged":
        return "diverged:<br>no landscape"
    if not panel.measured:
        return "not measured"
    if panel.status != "done" or panel.measured != panel.points:
        total = "" if panel.points is None else f" of {panel.points:,}"
        return f"{panel.measured:,}{total} points"
    return "" if drawn else f"blank: no {shown}<br>within the scale"


def hover_centre(panel: Panel) -> str:
    """What is known of the surface as a whole."""
    said = [f"<b>{escape(panel.variant)}</b>", escape(panel.trial_id)]
    if panel.loss is not None:
        said.append(f"loss at the centre {panel.loss:.4g} nat")
    if panel.radius is not None:
        beyond = "" if panel.bounded else "beyond "
        said.append(f"twofold loss at radius {beyond}{panel.radius:.3g}")
    if panel.convex is not None:
        said.append(f"near-convex region {100 * panel.convex:.1f} %")
    if panel.roughness is not None:
        said.append(f"roughness {panel.roughness:.3g} decades per unit²")
    return "<br>".join(said)


def hover_points(panel: Panel) -> str:
    """plotly's template for a point, whose text is that of `point_texts`."""
    names = [escape_template(name) for name in (panel.variant, panel.trial_id)]
    place = "α %{x:.3g}, β %{y:.3g}"
    return f"<b>{names[0]}</b><br>{names[1]}<br>{place}<br>%{{text}}<extra></extra>"


def point_texts(panel: Panel) -> list[list[str]]:
    """Loss and accuracy of each point, a list per beta."""
    losses, shares = panel.plane.values["loss"].T, panel.plane.values["accuracy"].T
    return [
        [
            f"loss {loss:.4g} nat<br>accuracy {100 * share:.2f} %"
            for loss, share in zip(*both, strict=True)
        ]
        for both in zip(losses, shares, strict=True)
    ]


def _values(panels: Iterable[Panel], name: str) -> list[object]:
    """The different values that panels tell."""
    values = dict.fromkeys(getattr(panel, name) for panel in panels)
    return [value for value in values if value is not None]
