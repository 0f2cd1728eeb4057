"""The comparison of loops as a command, at a tiny size on a CPU."""

from pathlib import Path

import pytest

from benchmarks import training
from benchmarks.gpu_check import Scale
from benchmarks.loops import builders

TINY = (
    *("--device", "cpu", "--images", "8", "--size", "8", "--batch", "4", "--rounds", "1"),
    *("--cells", "3", "--channels", "2"),
)


def test_the_table_is_put_into_the_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    document = tmp_path / "speed.md"
    document.write_text("<!-- begin training cpu -->\n<!-- end training cpu -->\n")
    assert training.main([*TINY, "--dry", "--packs", "2", "--write", str(document)]) == 0
    printed = capsys.readouterr().out
    assert "2 networks in one process" in printed
    assert printed.strip() in document.read_text()


def test_every_loop_is_compared_with_the_reference_with_ours_and_with_the_floors():
    setting = Scale("cpu", dry=True).setting(2)
    reference, fair, ours = training.compare(setting, builders(["fp32"]), copy=1e9, rounds=1)
    assert reference.speed
    assert reference.speed.ratios == [1.0]
    for loop in (fair, ours):
        assert loop.speed
        [rate], [ratio] = loop.speed.rates, loop.speed.ratios
        assert ratio == pytest.approx(rate / reference.speed.rates[0])
    assert ours.alone == 1.0
    assert ours.floors
    assert 0 < ours.floors[1] < ours.floors[0]


def test_a_loop_that_cannot_be_built_is_skipped_and_reported(capsys: pytest.CaptureFixture[str]):
    assert training.main([*TINY, "--dry", "--precision", "tf32"]) == 1
    printed = capsys.readouterr().out
    assert "ours-tf32: failed, MachineError: a CPU has no tf32" in printed
    assert "reference: torchvision" in printed


def test_wrong_usage_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]):
    assert training.main([*TINY, "--dry", "--channels", "3"]) == 2
    assert "use an even number" in capsys.readouterr().err
