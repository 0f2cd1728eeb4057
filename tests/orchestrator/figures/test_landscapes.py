"""Contours of the loss, maps and surfaces of the gradient's variance: numbers and drawings."""

import math

import numpy as np
import pytest
from small_variances import bowl, survey

from orchestrator.figures import draw, read_choice
from orchestrator.figures.export import find_browser, write_figure
from orchestrator.figures.landscapes import (
    contours_data,
    variances_data,
)
from results_schema.errors import ConfigError, MachineError
from workers.landscape.grid import Grid

KINDS = ("variance_maps", "variance_surfaces")
TRACES = {"variance_maps": "heatmap", "variance_surfaces": "surface"}


def texts(figure):
    return [note["text"] for note in figure.to_dict()["layout"]["annotations"]]


def traces(figure, kind):
    return [trace.to_plotly_json() for trace in figure.data if trace.type == kind]


def contour_fields(figure):
    """Contours that are no cover of the blank."""
    return [t for t in traces(figure, "contour") if t["contours"].get("type") != "constraint"]


def test_panels_keep_the_order_of_the_experiment_and_their_numbers(surveyed, make_member):
    for index in (0, 3, 1):
        surveyed.add(make_member("DARTS", index, width=3.5 - index / 2), loss=lambda a, b: 1 + a,
                     radius=0.1, convex=0.5, roughness=2.0, bounded=True)  # fmt: skip
    data = surveyed.data()
    assert [panel.index for panel in data.panels] == [0, 3, 1]
    first = data.panels[0]
    assert (first.status, first.measured, first.points, first.epoch) == ("done", 25, 25, 600)
    assert (first.radius, first.convex, first.roughness, first.loss) == (0.1, 0.5, 2.0, None)
    assert first.plane.values["loss"][:, 0].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    titles = [text for text in texts(surveyed.figure()) if text.startswith("<b>(")]
    assert titles == ["<b>(a)</b> DARTS 3.5c,3", "<b>(b)</b> C3 2c,3", "<b>(c)</b> C1 3c,3"]


def test_alpha_runs_to_the_right(surveyed, make_member):
    surveyed.add(make_member("DARTS", 0), loss=lambda a, b: 10**a, grid=Grid(3, 5))
    (field,) = contour_fields(surveyed.figure())
    assert list(field["x"]) == [-1, 0, 1]
    assert field["z"].shape == (5, 3)
    assert field["z"][0].tolist() == pytest.approx([-1, 0, 1])


def test_all_panels_share_lines_and_colours(surveyed, make_member):
    surveyed.add(make_member("DARTS", 0))
    surveyed.add(make_member("DARTS", 1), loss=lambda a, b: 5 + 95 * abs(a))
    figure = surveyed.figure()
    one, two = contour_fields(figure)
    for name in ("zmin", "zmax", "contours", "colorscale"):
        assert one[name] == two[name]
    assert one["zmin"] == pytest.approx(math.log10(0.2))
    assert one["zmax"] == pytest.approx(2)
    (bar,) = [
        t["marker"] for t in traces(figure, "scatter") if t.get("marker", {}).get("showscale")
    ]
    assert (bar["cmin"], bar["cmax"]) == (one["zmin"], one["zmax"])
    assert "100" in bar["colorbar"]["ticktext"]
    assert bar["colorbar"]["title"]["text"] == "Test loss (nat)"


def test_what_is_extremely_large_or_not_finite_is_blank(surveyed, make_member):
    wild = {(1.0, 1.0): math.inf, (-1.0, -1.0): math.nan, (1.0, -1.0): 2.5e23}
    surveyed.add(make_member("DARTS", 0))
    surveyed.add(make_member("DARTS", 1), loss=lambda a, b: wild.get((a, b), 0.2))
    figure = surveyed.figure()
    (cover,) = [t for t in traces(figure, "contour") if t["contours"].get("type")]
    assert cover["xaxis"] == "x2"
    assert cover["fillcolor"] == "white"
    high = cover["contours"]["value"]
    assert high == pytest.approx(math.log10(2000))
    assert (cover["z"] > high).sum() == 3
    assert "Blank: loss above 2,000 nat" in " ".join(texts(figure))
    assert "loss inf nat" in contour_fields(figure)[1]["text"][4][4]


def test_a_part_is_drawn_coarsely_and_counted(surveyed, make_member):
    surveyed.add(make_member("DARTS", 0), grid=Grid(9, 9), status=None, done=30)
    surveyed.add(make_member("DARTS", 1), status=None, done=0)
    figure = surveyed.figure()
    (field,) = contour_fields(figure)
    assert field["z"].shape == (5, 5)
    assert {"30 of 81 points", "not measured"} <= set(texts(figure))
    assert "Measured in full: 0 of 2 surfaces." in " ".join(texts(figure))


def test_a_diverged_network_has_no_landscape(surveyed, make_member):
    surveyed.add(make_member("DARTS", 0), status="diverged", done=0)
    figure = surveyed.figure()
    assert "diverged:<br>no landscape" in texts(figure)
    # A panel without a trace would not be drawn at all.
    assert [t["xaxis"] for t in traces(figure, "scatter")] == ["x"]
    assert not traces(figure, "contour")
    assert surveyed.data().scale is None


def test_a_surface_without_a_finite_loss_is_reported(surveyed, make_member):
    surveyed.add(make_member("DARTS", 0))
    surveyed.add(make_member("DARTS", 1), loss=lambda a, b: math.nan)
    assert "blank: no loss<br>within the scale" in texts(surveyed.figure())


def test_each_panel_has_its_own_extent_which_is_noted_and_is_square(surveyed, make_member):
    surveyed.add(make_member("DARTS", 0))
    surveyed.add(make_member("DARTS", 1), grid=Grid(5, 5, 0.2, 0.2))
    surveyed.add(make_member("DARTS", 2))
    figure = surveyed.figure()
    assert "Mind the axes: C1 ±0.2, the others ±1." in " ".join(texts(figure))
    layout = figure.to_dict()["layout"]
    assert layout["xaxis"]["range"] == layout["yaxis"]["range"] == [-1, 1]
    assert layout["xaxis2"]["range"] == layout["yaxis2"]["range"] == [-0.2, 0.2]
    assert layout["yaxis2"]["showticklabels"]
    assert layout["yaxis2"]["scaleanchor"] == "x2"


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
def test_a_point_or_a_row_is_drawn_as_squares(surveyed, make_member, shape):
    surveyed.add(make_member("DARTS", 0), grid=Grid(*shape))
    figure = surveyed.figure()
    assert not traces(figure, "contour")
    [squares] = [
        t for t in traces(figure, "scatter") if t.get("marker", {}).get("symbol") == "square"
    ]
    assert len(squares["x"]) == max(shape)


def test_twelve_panels_stand_four_to_a_row(surveyed, make_member):
    for index in range(12):
        surveyed.add(make_member("DARTS", index))
    layout = surveyed.figure().to_dict()["layout"]
    assert len({layout[f"yaxis{n or ''}"]["domain"][0] for n in (0, *range(2, 13))}) == 3


def test_what_differs_is_in_the_titles_and_what_does_not_below_the_title(surveyed, make_member):
    for named, dataset in (("cifar10", "digits"), ("cifar100", "digit_pairs")):
        member = make_member("DARTS", 2, named_dataset=named, dataset=dataset)
        surveyed.add(member, instances=357, pair=len(surveyed.members))
    shown = texts(surveyed.figure())
    assert "<b>(b)</b> C2 3.5c,3, digit_pairs, pair 1" in shown
    assert (
        "digits in place of cifar10, digit_pairs in place of cifar100; 357 test images; "
        "learning rate 0.025; after 600 epochs"
    ) in " ".join(shown)


def test_markup_and_templates_in_names_are_shown_and_not_obeyed(surveyed, make_member):
    evil = "<a href='x'>%{x}</a>"
    surveyed.add(make_member(evil, 0, variant=evil, named_dataset=evil, trial_id="t"))
    figure = surveyed.figure(evil)
    (field,) = contour_fields(figure)
    hovers = [t["hovertext"][0] for t in traces(figure, "scatter") if "hovertext" in t]
    for text in (*texts(figure), field["hovertemplate"], *hovers):
        assert "<a" not in text
    assert field["hovertemplate"].count("%{x}") == 0
    assert "α %{x:.3g}, β %{y:.3g}" in field["hovertemplate"]


def test_without_surfaces_the_error_says_how_to_fix_it(surveyed, make_member):
    surveyed.add(make_member("DARTS", 0))
    results = surveyed.results()
    surfaces, points = results.surfaces("fig6"), results.points("fig6")
    with pytest.raises(ConfigError, match=r"no surface of kind contour(?s:.*)landscape: {contour"):
        contours_data(surfaces.iloc[:0], points)
    with pytest.raises(ConfigError, match="lack extent"):
        contours_data(surfaces.drop(columns="extent"), points)


def test_a_picture_comes_out(surveyed, make_member):
    try:
        find_browser()
    except MachineError as error:
        pytest.skip(f"{error.what}: the pictures of figures are not tested")
    surveyed.add(make_member("DARTS", 0))
    files = {}
    assert write_figure(surveyed.figure(), files.__setitem__, ("png",)) == []
    assert files["png"].startswith(b"\x89PNG\r\n\x1a\n")


@pytest.fixture
def members(make_member):
    return [make_member("DARTS", i, width=w) for i, w in enumerate((3.5, 2.0, 2.5, 2.0))]


def plot(kind, tables, title="Variance", **options):
    return draw(read_choice({"kind": kind, **options}), tables.__getitem__, title)


def variance_fields(figure, kind):
    return [t.to_plotly_json() for t in figure.data if t.type == TRACES[kind]]


def test_the_root_or_the_scaled_variance_is_shown(members):
    tables = survey(members)
    surfaces, points = tables["surfaces"], tables["points"]
    data = variances_data(surfaces, points)
    assert data.panels[0].plane.values["shown"].min() == pytest.approx(2)
    assert data.panels[0].plane.values["shown"].max() == pytest.approx(20)
    data = variances_data(surfaces, points, quantity="variance")
    assert data.panels[0].plane.values["shown"].max() == pytest.approx(4e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_panels_share_a_logarithmic_scale(members, kind):
    found = variance_fields(plot(kind, survey(members)), kind)
    assert len(found) == 4
    low, high = ("zmin", "zmax") if kind == "variance_maps" else ("cmin", "cmax")
    for field in found:
        assert (field[low], field[high]) == pytest.approx((math.log10(2), math.log10(20)))
    assert found[0]["z"].max() == pytest.approx(math.log10(20))
    assert found[0]["z"][2, 2] == pytest.approx(math.log10(2))


def test_alpha_of_variances_runs_to_the_right(members):
    tables = survey(members[:1], lambda a, b: 10 ** (2 * a), grid=Grid(3, 5))
    for kind in KINDS:
        (field,) = variance_fields(plot(kind, tables), kind)
        assert list(field["x"]) == [-1, 0, 1]
        assert field["z"].shape == (5, 3)
        assert field["z"][0].tolist() == pytest.approx([-1, 0, 1])


def test_surfaces_share_the_range_of_their_vertical_axis(members):
    layout = plot("variance_surfaces", survey(members)).to_dict()["layout"]
    ranges = {tuple(layout[f"scene{n}"]["zaxis"]["range"]) for n in ("", 2, 3, 4)}
    assert len(ranges) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_papers_factor_is_reported_where_g_is_shown(members, kind):
    figure = plot(kind, survey(members), quantity="variance")
    assert "g × 10⁻⁵" in str(figure.to_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_beyond_the_scale_or_no_number_is_blank_and_reported(members, kind):
    wild = {(1.0, 1.0): math.inf, (-1.0, -1.0): math.nan, (1.0, -1.0): 5e51, (-1.0, 1.0): -1.0}
    figure = plot(kind, survey(members, lambda a, b: wild.get((a, b), bowl(a, b))))
    for field in variance_fields(figure, kind):
        assert np.isnan(field["z"]).sum() == 4
    assert any("Blank: above" in text for text in texts(figure))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5)])
def test_a_plane_of_a_point_or_a_row_breaks_nothing(members, kind, shape):
    assert plot(kind, survey(members, grid=Grid(*shape))).layout.height > 100


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("changes", "shown"),
    [({"status": None, "done": 0}, "not measured"),
     ({"status": "diverged", "done": 0}, "diverged:<br>no landscape"),
     ({"status": None, "done": 9, "grid": Grid(9, 9)}, "9 of 81 points"),
     ({"variance": lambda a, b: math.nan}, "blank: no variance<br>within the scale")],
)  # fmt: skip
def test_what_a_panel_lacks_is_reported_in_it(members, kind, changes, shown):
    assert texts(plot(kind, survey(members, **changes))).count(shown) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_hovering_shows_the_trial_and_names_are_not_obeyed(make_member, kind):
    evil = "<img src=x>%{x}"
    member = make_member(evil, 0, variant=evil, trial_id="the-trial")
    figure = plot(kind, survey([member]), title=evil)
    (field,) = variance_fields(figure, kind)
    assert "the-trial" in field["hovertemplate"]
    for text in (*texts(figure), field["hovertemplate"]):
        assert "<img" not in text
    assert field["hovertemplate"].count("%{x}") == 0


@pytest.mark.parametrize("kind", KINDS)
def test_without_variances_the_error_says_how_to_fix_it(members, kind):
    tables = survey(members)
    tables["surfaces"] = tables["surfaces"].assign(kind="contour")
    with pytest.raises(ConfigError, match=r"landscape: {gradient_variance"):
        plot(kind, tables)


@pytest.mark.parametrize("kind", KINDS)
def test_widths_stand_in_columns(members, kind):
    figure = plot(kind, survey(members), columns="width")
    titles = [text for text in texts(figure) if text.startswith("<b>(")]
    assert titles == [
        "<b>(a)</b> C1 2c,3", "<b>(b)</b> C2 2.5c,3", "<b>(c)</b> DARTS 3.5c,3",
        "<b>(d)</b> C3 2c,3",
    ]  # fmt: skip
