"""The comparison of loops as a command, at a tiny size on a CPU."""

import json
from pathlib import Path

import pytest

from benchmarks import training

TINY = (
    *("--device", "cpu", "--images", "8", "--size", "8", "--batch", "4", "--rounds", "1"),
    *("--cells", "3", "--channels", "2"),
)


def test_the_table_is_put_into_the_document_and_its_numbers_into_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    document, numbers = tmp_path / "speed.md", tmp_path / "speed.json"
    document.write_text("<!-- begin training cpu -->\n<!-- end training cpu -->\n")
    words = ["--dry", "--packs", "2", "--json", str(numbers), "--write", str(document)]
    assert training.main([*TINY, *words]) == 0
    found = json.loads(numbers.read_text())
    reference, fair, ours, packed = found["loops"]
    assert reference["speed"]["ratios"] == [1.0]
    for loop in (fair, ours, packed):
        [rate], [ratio] = loop["speed"]["rates"], loop["speed"]["ratios"]
        assert ratio == pytest.approx(rate / reference["speed"]["rates"][0])
    assert ours["alone"] == 1.0
    unfused, fused = ours["floors"]
    assert 0 < fused < unfused
    printed = capsys.readouterr().out
    assert "2 networks in one process" in printed
    assert printed.strip() in document.read_text()


def test_a_loop_that_cannot_be_built_is_left_out_and_told(capsys: pytest.CaptureFixture[str]):
    assert training.main([*TINY, "--dry", "--precision", "tf32"]) == 1
    printed = capsys.readouterr().out
    assert "ours-tf32: failed, MachineError: a CPU has no tf32" in printed
    assert "reference: torchvision" in printed


def test_a_wrong_cell_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]):
    assert training.main([*TINY, "--genotype", "DART"]) == 2
    assert "DARTS" in capsys.readouterr().err
