"""Plug-ins: entering, loading once, and what a user sees of a faulty one."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from results_schema import plugins
from results_schema.errors import ConfigError, SpecError


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "REGISTRIES", {})
    monkeypatch.setattr(plugins, "LOADED", {})


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    file = folder / name
    file.write_text("from results_schema.plugins import registry\n" + text)
    return file


def test_a_plugin_enters_and_is_loaded_once(tmp_path: Path) -> None:
    file = write(tmp_path, "registry('operation').enter('mix', 'math:sqrt', 3)")
    assert plugins.load_file(file) == plugins.load_file(file)
    entry = plugins.registry("operation")["mix"]
    assert (entry.version, entry.origin, entry.resolve()(4)) == (3, "mine.py", 2)


def test_a_decorator_enters_what_a_plugin_decorates_alone(tmp_path: Path) -> None:
    decorated = plugins.registry("operation").decorator("mix", 1)(int)
    assert decorated is int
    assert not plugins.registry("operation")
    plugins.load_file(write(tmp_path, "registry('operation').decorator('mix', 2, cost=3)(int)"))
    assert plugins.registry("operation")["mix"].about == {"cost": 3}


def test_an_unknown_entry_is_an_error_that_names_a_neighbour() -> None:
    plugins.registry("operation").enter("mix_conv", int)
    with pytest.raises(SpecError, match="mix_conv"):
        plugins.registry("operation")["mix_con"]
    assert "mix_con" not in plugins.registry("operation")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("import no_such_module_at_all", 2),
        ("\n1 / 0", 3),
        ("def f(:\n", 2),
        ("raise SystemExit(3)", 2),
        ("registry('operation').enter('no name', int)", 2),
        ("registry('operation').enter('a', int, version=0)", 2),
        ("registry('operation').enter('a', int)\nregistry('operation').enter('a', int)", 3),
    ],
)
def test_a_faulty_plugin_leaves_nothing_behind(tmp_path: Path, text: str, line: int) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        plugins.load_file(file)
    assert caught.value.where == f"{file}:{line}"
    assert not plugins.registry("operation")
    assert not plugins.LOADED


def test_two_plugins_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    plugins.load_file(write(tmp_path, "A = 1"))
    with pytest.raises(ConfigError, match="another plug-in of this name"):
        plugins.load_file(write(tmp_path / "other", "A = 2"))


def test_a_name_that_another_plugin_has_is_refused(tmp_path: Path) -> None:
    enter = "registry('operation').enter('mix', int)"
    plugins.load_file(write(tmp_path, enter, "one.py"))
    with pytest.raises(ConfigError, match="is there already, from one"):
        plugins.load_file(write(tmp_path, enter, "two.py"))
    assert plugins.registry("operation")["mix"].origin == "one.py"


def test_a_missing_file_and_an_unknown_entry_point(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no plug-in"):
        plugins.load_file(tmp_path / "gone.py")
    with pytest.raises(ConfigError, match="no installed package offers"):
        plugins.load_installed("gone")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package that offers a plug-in under the name rings."""
    package = tmp_path / "site/my_rings"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("SIZE = 3")
    enter = "from my_rings.helper import SIZE\nregistry('operation').enter('ring', SIZE)"
    write(package, enter, "entries.py")
    about = tmp_path / "site/my_rings-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-rings\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text("[nas_sweep.plugins]\nrings = my_rings.entries\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield package
    for name in [one for one in sys.modules if one.startswith("my_rings")]:
        del sys.modules[name]


def test_an_installed_package_offers_a_plugin(package: Path) -> None:
    plugin = plugins.load("rings")
    assert plugins.installed() == ["rings"]
    assert (plugin.name, plugin.release) == ("rings", "my-rings 1.2")
    assert plugins.registry("operation")["ring"].origin == "rings"
    assert plugins.load("rings") == plugin
    with pytest.raises(ConfigError, match="did you mean rings"):
        plugins.load("ring")
    plugins.LOADED.clear()
    plugins.registry("operation").withdraw("rings")
    (package / "helper.py").write_text("SIZE = 4")  # another module of the package
    with pytest.raises(ConfigError, match=f"digest .* here, and {plugin.digest} in this launch"):
        plugins.load_as_sent(plugin.sent(), package)


def test_an_installed_plugin_that_fails_is_one_error(package: Path) -> None:
    (package / "entries.py").write_text("\nimport nothing_of_this_name\n")
    with pytest.raises(ConfigError, match="the plug-in fails: ModuleNotFound") as caught:
        plugins.load("rings")
    assert caught.value.where.startswith("plug-in rings of my-rings 1.2")
    assert not plugins.LOADED


def test_a_file_that_came_with_the_code_wins_over_one_at_the_launchs_path(tmp_path: Path) -> None:
    sent = plugins.load_file(write(tmp_path, "A = 1")).sent()
    plugins.LOADED.clear()
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    write(shipped, "A = 1")
    (tmp_path / "mine.py").write_text("A = 2")  # another one that is there
    plugins.load_as_sent(sent, shipped)
    assert plugins.LOADED["mine.py"].path == shipped / "mine.py"
