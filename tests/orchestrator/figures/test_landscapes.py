"""Contours of the loss, maps and surfaces of the gradient's variance: numbers and drawings."""

import math

import numpy as np
import pytest
from figure_parts import plot, texts, titles, traces
from small_variances import bowl, survey

from orchestrator.figures.landscapes import variances_data
from results_schema.errors import ConfigError
from workers.landscape.grid import Grid

KINDS = {"contours": "contour", "variance_maps": "heatmap", "variance_surfaces": "surface"}
"""Traces by kind of figure."""
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def members(make_member):
    return [make_member("DARTS", i, width=w) for i, w in enumerate((3.5, 2.0, 2.5, 2.0))]


def tables_of(kind, members, number=bowl, **options):
    """Tables of surfaces of the kind that a figure shows, whose loss and variance is `number`."""
    tables = survey(members, number, **options)
    if kind == "contours":
        tables["surfaces"] = tables["surfaces"].assign(kind="contour")
    return tables


def fields(figure, kind):
    """The traces of all panels but the covers of what is blank."""
    found = traces(figure, type=KINDS[kind])
    return [t for t in found if (t.get("contours") or {}).get("type") != "constraint"]


def scale_of(figure):
    axis = figure.layout.coloraxis
    return axis.cmin, axis.cmax


def test_a_stored_surface_becomes_a_panel(surveyed, make_member):
    """Read from a store, not from tables made up by a test."""
    for index in (0, 3, 1):
        surveyed.add(make_member("DARTS", index, width=3.5 - index / 2), loss=lambda a, b: 1 + a,
                     radius=0.1, convex=0.5, roughness=2.0, bounded=True)  # fmt: skip
    data = surveyed.data()
    assert [panel.cell.index for panel in data.panels] == [0, 3, 1]
    first = data.panels[0]
    assert (first.status, first.measured, first.points, first.epoch) == ("done", 25, 25, 600)
    assert (first.radius, first.convex, first.roughness, first.loss) == (0.1, 0.5, 2.0, None)
    assert first.plane.values["loss"][:, 0].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    figure = surveyed.figure()
    assert titles(figure) == ["DARTS 3.5c,3", "C3 2c,3", "C1 3c,3"]
    assert figure.layout.coloraxis.colorbar.title.text == "Test loss (nat)"


@pytest.mark.parametrize(("quantity", "ends"), [("std", (2, 20)), ("variance", (4e-5, 4e-3))])
def test_the_root_or_the_scaled_variance_is_shown(members, quantity, ends):
    tables = survey(members)
    data = variances_data(tables["surfaces"], tables["points"], quantity=quantity)
    shown = data.panels[0].plane.values["shown"]
    assert (shown.min(), shown.max()) == pytest.approx(ends)
    figure = plot("variance_maps", tables, quantity=quantity)
    symbol = {"std": "√g", "variance": "g × 10⁻⁵"}[quantity]
    assert symbol in figure.layout.coloraxis.colorbar.title.text


@every_kind
def test_alpha_runs_to_the_right(members, kind):
    tables = tables_of(kind, members[:1], lambda a, b: 10 ** (2 * a), grid=Grid(3, 5))
    (field,) = fields(plot(kind, tables), kind)
    assert list(field["x"]) == [-1, 0, 1]
    assert field["z"].shape == (5, 3)
    step = 2 if kind == "contours" else 1
    assert field["z"][0].tolist() == pytest.approx([-step, 0, step])


@every_kind
def test_panels_share_a_logarithmic_scale(members, kind):
    figure = plot(kind, tables_of(kind, members))
    ends = (4, 400) if kind == "contours" else (2, 20)
    # The low end is rounded down to 1, 2 or 5 times a power of ten.
    low, high = scale_of(figure)
    assert high == pytest.approx(math.log10(ends[1]))
    assert low == pytest.approx(math.log10(2))
    found = fields(figure, kind)
    assert len(found) == 4
    assert {field["coloraxis"] for field in found} == {"coloraxis"}
    assert len({str(field.get("contours")) for field in found}) == 1
    assert found[0]["z"].max() == pytest.approx(math.log10(ends[1]))
    assert found[0]["z"][2, 2] == pytest.approx(math.log10(ends[0]))
    if kind == "variance_surfaces":
        layout = figure.to_dict()["layout"]
        ranges = {tuple(layout[f"scene{n}"]["zaxis"]["range"]) for n in ("", 2, 3, 4)}
        assert ranges == {(low, high)}


@every_kind
def test_what_is_beyond_the_scale_or_no_number_is_blank(members, kind):
    wild = {(1.0, 1.0): math.inf, (-1.0, -1.0): math.nan, (1.0, -1.0): 5e51, (-1.0, 1.0): -1.0}
    tables = tables_of(kind, members[:2], lambda a, b: wild.get((a, b), bowl(a, b)))
    figure = plot(kind, tables)
    assert "rounded up) or not finite." in " ".join(texts(figure))
    _, high = scale_of(figure)
    if kind == "contours":
        covers = traces(figure, type="contour", hoverinfo="skip")
        assert [cover["xaxis"] for cover in covers] == ["x", "x2"]
        assert [cover["contours"]["value"] for cover in covers] == [high, high]
        # A loss below 0 has the colour of the least.
        assert [(cover["z"] > high).sum() for cover in covers] == [3, 3]
        assert "loss inf nat" in fields(figure, kind)[0]["text"][4][4]
    else:
        assert [np.isnan(field["z"]).sum() for field in fields(figure, kind)] == [4, 4]


@every_kind
@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"status": None, "done": 0}, "not measured"),
        ({"status": "diverged", "done": 0}, "diverged:<br>no landscape"),
        ({"status": None, "done": 9, "grid": Grid(9, 9)}, "9 of 81 points"),
        ({"number": lambda a, b: math.nan}, "blank: no {}<br>within the scale"),
    ],
)
def test_what_a_panel_lacks_is_noted_in_it(members, kind, changes, shown):
    figure = plot(kind, tables_of(kind, members, **changes))
    shown = shown.format("loss" if kind == "contours" else "variance")
    assert texts(figure).count(shown) == 4
    complete = 0 if "status" in changes else 4
    noted = f"Measured in full: {complete} of 4 surfaces." in " ".join(texts(figure))
    assert noted == (complete == 0)
    if kind != "variance_surfaces":
        # A panel without a trace would not be drawn at all.
        drawn = {trace["xaxis"] for trace in traces(figure, type="scatter")}
        assert drawn == {"x", "x2", "x3", "x4"}


@every_kind
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
def test_a_point_or_a_row_breaks_nothing(members, kind, shape):
    figure = plot(kind, tables_of(kind, members[:1], grid=Grid(*shape)))
    assert figure.layout.height > 100
    if kind == "contours":
        assert not fields(figure, kind)
        markers = [t for t in traces(figure) if t.get("marker", {}).get("symbol") == "square"]
        assert [len(trace["x"]) for trace in markers] == [max(shape)]


def test_panels_have_their_own_extents_which_are_noted_and_are_square(surveyed, make_member):
    surveyed.add(make_member("DARTS", 0))
    surveyed.add(make_member("DARTS", 1), grid=Grid(5, 5, 0.2))
    surveyed.add(make_member("DARTS", 2))
    figure = surveyed.figure()
    assert "Mind the axes: C1 ±0.2, the others ±1." in " ".join(texts(figure))
    layout = figure.to_dict()["layout"]
    assert layout["xaxis"]["range"] == layout["yaxis"]["range"] == [-1, 1]
    assert layout["xaxis2"]["range"] == layout["yaxis2"]["range"] == [-0.2, 0.2]
    assert layout["yaxis2"]["showticklabels"]
    assert layout["yaxis2"]["scaleanchor"] == "x2"


@every_kind
def test_panels_stand_in_rows_or_in_columns_by_width(make_member, members, kind):
    rows = tables_of(kind, [make_member("DARTS", index) for index in range(9)])
    layout = plot(kind, rows).to_dict()["layout"]
    panels = [layout[name] for name in layout if name.startswith(("yaxis", "scene"))]
    lower = {panel["domain"]["y"][0] if "camera" in panel else panel["domain"][0]
             for panel in panels}  # fmt: skip
    assert (len(panels), len(lower)) == (9, 3)
    figure = plot(kind, tables_of(kind, members), columns="width")
    assert titles(figure) == ["C1 2c,3", "C2 2.5c,3", "DARTS 3.5c,3", "C3 2c,3"]


def test_what_differs_is_in_the_titles_and_what_does_not_below_the_title(surveyed, make_member):
    for named, dataset in (("cifar10", "digits"), ("cifar100", "digit_pairs")):
        member = make_member("DARTS", 2, named_dataset=named, dataset=dataset)
        surveyed.add(member, instances=357, pair=len(surveyed.members))
    figure = surveyed.figure()
    assert titles(figure)[1] == "C2 3.5c,3, digit_pairs, pair 1"
    assert (
        "digits in place of cifar10, digit_pairs in place of cifar100; 357 test images; "
        "learning rate 0.025; after 600 epochs"
    ) in " ".join(texts(figure))


@every_kind
def test_without_surfaces_the_error_says_how_to_fix_it(members, kind):
    tables = tables_of(kind, members)
    tables["surfaces"] = tables["surfaces"].assign(kind="curvature")
    wanted = "contour" if kind == "contours" else "gradient_variance"
    with pytest.raises(ConfigError, match=rf"of kind {wanted}(?s:.*)landscape: {{{wanted}"):
        plot(kind, tables)
