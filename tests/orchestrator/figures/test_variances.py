"""Maps and surfaces of the gradient's variance: numbers, and what is drawn of them."""

import math

import numpy as np
import pytest
from small_variances import bowl, survey

from orchestrator.figures import draw, read_choice
from orchestrator.figures.variance_maps import variance_maps_data
from orchestrator.figures.variance_surfaces import variance_surfaces_data
from results_schema.errors import ConfigError
from workers.landscape.grid import Grid

KINDS = ("variance_maps", "variance_surfaces")
TRACES = {"variance_maps": "heatmap", "variance_surfaces": "surface"}


@pytest.fixture
def members(make_member):
    return [make_member("DARTS", i, width=w) for i, w in enumerate((3.5, 2.0, 2.5, 2.0))]


def plot(kind, tables, title="Variance", **options):
    return draw(read_choice({"kind": kind, **options}), tables.__getitem__, title)


def words(figure):
    return [note["text"] for note in figure.to_dict()["layout"]["annotations"]]


def fields(figure, kind):
    return [t.to_plotly_json() for t in figure.data if t.type == TRACES[kind]]


def test_the_root_or_the_scaled_variance_is_shown(members):
    tables = survey(members)
    surfaces, points = tables["surfaces"], tables["points"]
    for read in (variance_maps_data, variance_surfaces_data):
        data = read(surfaces, points)
        assert data.panels[0].plane.values["shown"].min() == pytest.approx(2)
        assert data.panels[0].plane.values["shown"].max() == pytest.approx(20)
    data = variance_maps_data(surfaces, points, quantity="variance")
    assert data.panels[0].plane.values["shown"].max() == pytest.approx(4e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_panels_share_a_logarithmic_scale(members, kind):
    found = fields(plot(kind, survey(members)), kind)
    assert len(found) == 4
    low, high = ("zmin", "zmax") if kind == "variance_maps" else ("cmin", "cmax")
    for field in found:
        assert (field[low], field[high]) == pytest.approx((math.log10(2), math.log10(20)))
    assert found[0]["z"].max() == pytest.approx(math.log10(20))
    assert found[0]["z"][2, 2] == pytest.approx(math.log10(2))


def test_alpha_runs_to_the_right(members):
    tables = survey(members[:1], lambda a, b: 10 ** (2 * a), grid=Grid(3, 5))
    for kind in KINDS:
        (field,) = fields(plot(kind, tables), kind)
        assert list(field["x"]) == [-1, 0, 1]
        assert field["z"].shape == (5, 3)
        assert field["z"][0].tolist() == pytest.approx([-1, 0, 1])


def test_surfaces_share_the_range_of_their_vertical_axis(members):
    layout = plot("variance_surfaces", survey(members)).to_dict()["layout"]
    ranges = {tuple(layout[f"scene{n}"]["zaxis"]["range"]) for n in ("", 2, 3, 4)}
    assert len(ranges) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_papers_factor_is_told_where_g_is_shown(members, kind):
    figure = plot(kind, survey(members), quantity="variance")
    assert "g × 10⁻⁵" in str(figure.to_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_beyond_the_scale_or_no_number_is_blank_and_told(members, kind):
    wild = {(1.0, 1.0): math.inf, (-1.0, -1.0): math.nan, (1.0, -1.0): 5e51, (-1.0, 1.0): -1.0}
    figure = plot(kind, survey(members, lambda a, b: wild.get((a, b), bowl(a, b))))
    for field in fields(figure, kind):
        assert np.isnan(field["z"]).sum() == 4
    assert any("Blank: above" in text for text in words(figure))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5)])
def test_a_point_or_a_row_breaks_nothing(members, kind, shape):
    assert plot(kind, survey(members, grid=Grid(*shape))).layout.height > 100


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("told", "said"),
    [({"status": None, "done": 0}, "not measured"),
     ({"status": "diverged", "done": 0}, "diverged:<br>no landscape"),
     ({"status": None, "done": 9, "grid": Grid(9, 9)}, "9 of 81 points"),
     ({"variance": lambda a, b: math.nan}, "blank: no variance<br>within the scale")],
)  # fmt: skip
def test_what_a_panel_lacks_is_told_in_it(members, kind, told, said):
    assert words(plot(kind, survey(members, **told))).count(said) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_the_mouse_tells_the_trial_and_names_are_not_obeyed(make_member, kind):
    evil = "<img src=x>%{x}"
    member = make_member(evil, 0, variant=evil, trial_id="the-trial")
    figure = plot(kind, survey([member]), title=evil)
    (field,) = fields(figure, kind)
    assert "the-trial" in field["hovertemplate"]
    for text in (*words(figure), field["hovertemplate"]):
        assert "<img" not in text
    assert field["hovertemplate"].count("%{x}") == 0


@pytest.mark.parametrize("kind", KINDS)
def test_without_surfaces_the_error_says_how_to_mend_it(members, kind):
    tables = survey(members)
    tables["surfaces"] = tables["surfaces"].assign(kind="contour")
    with pytest.raises(ConfigError, match=r"landscape: {gradient_variance"):
        plot(kind, tables)


@pytest.mark.parametrize("kind", KINDS)
def test_widths_stand_in_columns(members, kind):
    figure = plot(kind, survey(members), columns="width")
    titles = [text for text in words(figure) if text.startswith("<b>(")]
    assert titles == [
        "<b>(a)</b> C1 2c,3", "<b>(b)</b> C2 2.5c,3", "<b>(c)</b> DARTS 3.5c,3",
        "<b>(d)</b> C3 2c,3",
    ]  # fmt: skip
