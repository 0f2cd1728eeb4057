"""The numbers of Figures 7, 8 and 21 to 24: the gradient's variance on a plane through weights.

g(α, β) is the variance of the gradient over instances; Figures 7 and 8 show its root (Section
4.2.2), Figures 21 to 24 g itself, times 10⁻⁵ (Appendix B.4). Both span many powers of ten, so all
panels share one logarithmic scale.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from orchestrator.figures import contour_words
from orchestrator.figures.log_scales import MOST_FOLD, LogScale, shared_scale, tell
from orchestrator.figures.planes import Plane
from orchestrator.figures.style import escape_template
from orchestrator.figures.surface_panels import Panel, read_panels

SYMBOLS = {"std": "√g", "variance": "g × 10⁻⁵"}
AXES = {"std": "Root of gradient variance √g", "variance": "Gradient variance g × 10⁻⁵"}
"""What is shown, in short and with its name, by quantity."""

FACTORS = {"std": 1.0, "variance": 1e-5}
"""What the numbers are multiplied by, by quantity."""


@dataclass(frozen=True)
class Variances:
    """The panels in the experiment's order.

    Attributes:
        panels: One per member and surface; their planes hold `shown` and `variance`.
        scale: Of all that is shown; None while there is nothing finite.
        quantity: "std" for √g, "variance" for g × 10⁻⁵.
    """

    panels: tuple[Panel, ...]
    scale: LogScale | None
    quantity: str


def read_variances(
    figure: str, surfaces: pd.DataFrame, points: pd.DataFrame, quantity: str
) -> Variances:
    """The numbers of a figure.

    Args:
        figure: Its kind, for messages.
        surfaces: As `Results.surfaces(experiment)` returns them.
        points: As `Results.points(experiment)` returns them.
        quantity: "std" or "variance".

    Raises:
        ConfigError: There is no such surface, or a column is lacking or has empty places.
    """
    panels = read_panels(figure, "gradient_variance", surfaces, points, ("variance",))
    panels = tuple(replace(panel, plane=_shown(panel.plane, quantity)) for panel in panels)
    scale = shared_scale(panel.plane.values["shown"] for panel in panels)
    return Variances(panels, scale, quantity)


def heights(panel: Panel, scale: LogScale) -> np.ndarray:
    """log₁₀ of what a panel shows, float64 [betas, alphas]; NaN where beyond the scale."""
    shown = panel.plane.values["shown"].T
    inside = np.isfinite(shown) & (shown <= scale.high * (1 + 1e-9))
    return np.log10(np.maximum(np.where(inside, shown, np.nan), scale.low))


def note(data: Variances) -> str:
    """What a reader must know to trust the picture."""
    said = ["g: variance of the gradient over instances, summed over parameters. Logarithmic."]
    if data.scale and data.scale.cut:
        said.append(
            f"Blank: above {tell(data.scale.high)} ({MOST_FOLD:,.0f} times the least of a median "
            "panel, rounded up) or not finite."
        )
    elif data.scale:
        said.append("Blank: not finite.")
    return " ".join([*said, *contour_words.warnings(data.panels)])


def hover(panel: Panel) -> str:
    """plotly's template for a point, whose text is that of `texts`."""
    names = [escape_template(name) for name in (panel.variant, panel.trial_id)]
    place = "α %{x:.3g}, β %{y:.3g}"
    return f"<b>{names[0]}</b><br>{names[1]}<br>{place}<br>%{{text}}<extra></extra>"


def texts(panel: Panel) -> list[list[str]]:
    """Variance and its root at each point, a list per beta."""
    variances = panel.plane.values["variance"].T
    return [[f"g {g:.4g}<br>√g {np.sqrt(g):.4g}" for g in row] for row in variances]


def _shown(plane: Plane, quantity: str) -> Plane:
    variance = plane.values["variance"]
    # A variance is never below 0; what is told to be is no number to draw.
    sound = np.where(variance >= 0, variance, np.nan)
    shown = np.sqrt(sound) if quantity == "std" else FACTORS[quantity] * sound
    return Plane(plane.alphas, plane.betas, {"variance": sound, "shown": shown})
