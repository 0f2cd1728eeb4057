"""The page of each kind in a browser: drawn, silent, and hovering shows whose number it is."""

import asyncio
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from figure_parts import EVIL, check_harmless, plot, texts
from small_theory import measured_frames
from small_variances import survey
from windows import window

from orchestrator.figures import FIGURE_KINDS
from orchestrator.figures.export import find_browser, to_page
from results_schema.errors import ConfigError, MachineError
from workers.cells.bases import named

TRIAL = "the-trial-s0"
TITLE = "A title of <b>all</b>"

LOOK = """
(async () => {
  const figure = document.getElementById("figure");
  for (let i = 0; i < 100 && !(figure && figure._fullData); i++)
    await new Promise(done => setTimeout(done, 50));
  await new Promise(done => setTimeout(done, 300));
  const shown = [];
  figure._fullData.forEach((trace, number) => {
    if (trace.type === "surface" || shown.length > 5) return;
    const at = trace.type === "scatter"
      ? [{curveNumber: number, pointNumber: 0}] : {xval: 0.5, yval: 0.5};
    try { Plotly.Fx.hover(figure, at, trace.xaxis + trace.yaxis); } catch (error) { return; }
    shown.push(document.querySelector(".hoverlayer").textContent);
  });
  return JSON.stringify({
    shown, title: document.title,
    text: document.querySelector(".infolayer").textContent,
    drawn: document.querySelectorAll(".trace path, .contour path, .hm image, .gl-container canvas")
      .length,
  });
})()
"""


def tables_of(member: dict[str, Any]) -> dict[str, dict[str, pd.DataFrame]]:
    """The tables of one member, by kind of figure."""
    epochs = pd.DataFrame([{**member, "epoch": e, "test_loss": 1 / e} for e in range(1, 9)])
    result = {"status": "done", "test_accuracy": 0.9, "parameters": 10}
    cell = member | {"genotype": json.dumps(named("DARTS").to_json())}
    found = survey([member])
    contours = {k: t.assign(kind="contour") for k, t in found.items()}
    common = {"trials": pd.DataFrame([member | result]), "metrics": epochs,
              "cells": pd.DataFrame([cell])}  # fmt: skip
    special = {"contours": contours, "theorem_bounds": measured_frames([member])}
    return {kind: common | special.get(kind, found) for kind in FIGURE_KINDS}


@pytest.fixture
def tables(make_member):
    return tables_of(make_member("DARTS", 0, trial_id=TRIAL))


@pytest.mark.parametrize("kind", [*FIGURE_KINDS])
def test_names_are_shown_as_text(kind, make_member):
    member = make_member(EVIL, 0, variant=EVIL, trial_id=EVIL, named_dataset=EVIL)
    figure = plot(kind, tables_of(member)[kind], EVIL)
    check_harmless(figure, named=kind not in ("topologies", "theory_cells", "trend"))


@pytest.mark.parametrize("kind", ["accuracy_by_index", "convergence", "contours", "topologies"])
@pytest.mark.parametrize("fault", ["gone", "empty", "null"])
def test_a_table_that_lacks_something_is_an_error(tables, kind, fault):
    name = FIGURE_KINDS[kind].tables[0]
    whole = tables[kind][name]
    broken = {
        "gone": whole.drop(columns="base"),
        "empty": whole.iloc[:0],
        "null": whole.assign(base=None),
    }[fault]
    message = "to show" if fault == "empty" else f"of {kind} lack base"
    with pytest.raises(ConfigError, match=message):
        plot(kind, tables[kind] | {name: broken})


def letters(value: Any) -> Iterator[float]:
    """Sizes of all letters of a figure, in pixels."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key.endswith("font") and isinstance(inner, dict):
                yield from [inner["size"]] if "size" in inner else []
            elif key.endswith("font_size"):
                yield inner
            yield from letters(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from letters(inner)


@pytest.mark.parametrize("size", ["column", "page"])
@pytest.mark.parametrize("kind", FIGURE_KINDS)
def test_every_kind_fits_a_paper_in_two_columns_with_letters_of_7_points(kind, size, tables):
    figure = plot(kind, tables[kind], TITLE, size=size, titled=False)
    content = figure.to_plotly_json()
    points = {"column": 252, "page": 514.3}[size] / figure.layout.width
    assert points * min(letters(content["layout"])) >= 6.95
    assert points * min(letters(list(content["data"])), default=math.inf) >= 6.95
    assert points * figure.layout.template.layout.font.size == pytest.approx(10, rel=0.01)
    assert not any("A title" in text for text in texts(figure))
    larger = plot(kind, tables[kind], TITLE, size=size, font_size=12)
    assert larger.layout.width == pytest.approx(figure.layout.width * 10 / 12, abs=1)


@pytest.mark.browser
@pytest.mark.long
@pytest.mark.timeout(400)
def test_every_kind_is_drawn_without_an_error_and_shows_it_by_hovering(tables, tmp_path):
    try:
        find_browser()
    except MachineError as error:
        pytest.skip(f"{error.what}: pages are not opened")
    (tmp_path / "pages").mkdir()
    for kind in FIGURE_KINDS:
        page = to_page(plot(kind, tables[kind], TITLE))
        (tmp_path / "pages" / f"{kind}.html").write_text(page)
    for kind, page in asyncio.run(look(tmp_path / "pages")).items():
        # Drawing by software is slow, of which the browser warns.
        slow = re.compile("willReadFrequently|Performance")
        problems = [one for one in page["problems"] if not slow.search(one)]
        assert problems == [], kind
        assert page["title"] == TITLE
        assert TITLE in page["text"]
        assert page["drawn"] > 0, kind
        # A cell belongs to no trial; the mouse on a surface needs a real pointer.
        if kind not in ("topologies", "theory_cells", "trend", "variance_surfaces"):
            assert TRIAL in " ".join(page["shown"]), kind


async def look(folder):
    found = {}
    for kind in FIGURE_KINDS:
        async with window(folder.as_uri() + "/", f"{kind}.html") as page:
            await page.until("document.readyState == 'complete'")
            found[kind] = json.loads(await page.call(LOOK)) | {"problems": page.complaints}
    return found
