"""Writes a figure as a page that needs no network, and as pictures where a browser is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import plotly.io as pio

from orchestrator.figures.browser import Browser
from results_schema.errors import ConfigError, MachineError

if TYPE_CHECKING:
    import plotly.graph_objects as go

FORMATS = ("html", "png", "svg", "pdf")

CONFIG = {
    "displaylogo": False,
    # plotly would offer a button that uploads the figure to a service.
    "showSendToCloud": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
    "toImageButtonOptions": {"scale": 2},
}

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>body {{ margin: 0; }} body > div {{ margin: 0 auto; }}</style>
</head>
<body>
{figure}
</body>
</html>
"""


def write_figure(
    figure: go.Figure,
    write: Callable[[str, bytes], None],
    formats: Sequence[str] = ("html", "png"),
    browser: Browser | None = None,
) -> list[str]:
    """Makes the figure's files in memory and hands each to `write`.

    Args:
        figure: What to write.
        write: Takes a suffix of `FORMATS` and the file's bytes.
        formats: Some of `FORMATS`.
        browser: Draws the pictures of several figures; without one, each call starts its own.

    Returns:
        A line to show if pictures had to be left out, saying why and how to mend it.

    Raises:
        ConfigError: A format is unknown.
    """
    if unknown := [suffix for suffix in formats if suffix not in FORMATS]:
        raise ConfigError(
            f"unknown format of a figure {', '.join(map(repr, unknown))}",
            fix=f"use some of {', '.join(FORMATS)}",
        )
    if "html" in formats:
        write("html", to_page(figure).encode())
    pictures = [suffix for suffix in dict.fromkeys(formats) if suffix != "html"]
    with nullcontext(browser) if browser else Browser() as drawer:
        for done, suffix in enumerate(pictures):
            try:
                data = drawer.render(figure, suffix)
            except MachineError as error:
                skipped = ", ".join(pictures[done:]).upper()
                return [f"{skipped} skipped: {error.what}; {error.fix}"]
            write(suffix, data)
    return []


def check_suffix(path: Path) -> str:
    """The suffix of a figure's file, without its dot.

    Raises:
        ConfigError: It is none of `FORMATS`.
    """
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in FORMATS:
        raise ConfigError(
            f"cannot draw to {str(path)!r}", fix=f"end its name in .{', .'.join(FORMATS)}"
        )
    return suffix


def save_figure(figure: go.Figure, path: Path) -> None:
    """Writes a figure to a file; its suffix says how.

    Raises:
        ConfigError: The suffix is none of `FORMATS`, or the file cannot be written.
        MachineError: There is no browser for a picture.
    """
    if (suffix := check_suffix(path)) == "html":
        data = to_page(figure).encode()
    else:
        with Browser() as browser:
            data = browser.render(figure, suffix)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"cannot write: {error.strerror}", where=str(path)) from error


def to_page(figure: go.Figure, plotly: Literal[True, "directory"] = True) -> str:
    """One HTML file; the same figure gives the same bytes.

    Args:
        figure: What it shows.
        plotly: True for plotly inside it, "directory" for `plotly.min.js` beside it.
    """
    title = figure.to_dict()["layout"].get("meta", "Figure")
    body = pio.to_html(
        figure,
        config=CONFIG,
        include_plotlyjs=cast("Any", plotly),
        full_html=False,
        div_id="figure",
    )
    return PAGE.format(title=escape(str(title)), figure=body)
