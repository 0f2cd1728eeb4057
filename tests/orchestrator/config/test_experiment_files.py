"""Files of experiments, named one by one or by their folder."""

import pytest

from orchestrator.config.experiment_files import find_files
from results_schema.errors import ConfigError


def test_a_folder_stands_for_its_files_by_number_without_those_below(tmp_path):
    (tmp_path / "profiles").mkdir()
    for name in ("fig10.yaml", "fig2.yaml", "a.yml", "notes.md", "profiles/laptop.yaml"):
        (tmp_path / name).touch()
    found = find_files([str(tmp_path)])
    assert [path.name for path in found] == ["a.yml", "fig2.yaml", "fig10.yaml"]


def test_a_file_named_twice_is_one(tmp_path):
    (tmp_path / "one.yaml").touch()
    assert len(find_files([str(tmp_path / "one.yaml"), str(tmp_path)])) == 1


def test_a_missing_file_is_left_for_its_reader_to_tell(tmp_path):
    assert find_files([str(tmp_path / "none.yaml")]) == [tmp_path / "none.yaml"]


def test_an_empty_folder_is_told(tmp_path):
    with pytest.raises(ConfigError, match="no experiment"):
        find_files([str(tmp_path)])
