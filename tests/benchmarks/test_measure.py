"""Rounds of timing, tables in Markdown, and the places in documents that they are put into."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from clocks import Clock

from benchmarks import measure
from benchmarks.loops import Loop, Setting
from benchmarks.measure import table, time_loops, time_rounds, write
from results_schema.errors import ConfigError

SETTING = Setting(torch.device("cpu"), dataset="synthetic_10x1x8_2")
DOCUMENT = "# Speed\n\nBefore.\n\n<!-- begin a b -->\nold | table\n<!-- end a b -->\n\nAfter.\n"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that epochs are timed by."""
    clock = Clock()
    monkeypatch.setattr(measure, "time", SimpleNamespace(perf_counter=clock))
    return clock


class Lasting(Loop):
    """A loop that takes a given time."""

    def __init__(self, name: str, seconds: float, networks: int, clock: Clock) -> None:
        self.name, self.seconds, self.networks, self.clock = name, seconds, networks, clock

    def epoch(self, number: int, lr: float) -> float:
        EPOCHS.append(f"{self.name}{number}")
        self.clock.now += self.seconds
        return 0.0


EPOCHS: list[str] = []


@pytest.fixture
def loops(clock: Clock) -> dict[str, Loop]:
    EPOCHS.clear()
    return {"a": Lasting("a", 0.04, 1, clock), "b": Lasting("b", 0.02, 3, clock)}


def test_loops_alternate_and_packs_count_all_their_images(loops):
    speeds = time_loops(loops, SETTING, 3, 60)
    assert EPOCHS == ["a2", "b2", "b3", "a3", "a4", "b4"]
    assert speeds["a"].ratios == [1, 1, 1]
    assert speeds["a"].rate == pytest.approx(10 / 0.04)
    assert speeds["b"].ratio == pytest.approx(6)


def test_one_round_is_run_however_late_it_is_and_no_second_that_would_end_too_late(loops):
    assert len(time_loops(loops, SETTING, 3, 0.11)["b"].rates) == 1
    assert len(time_loops(loops, SETTING, 3, 0.0)["a"].rates) == 1


def test_rounds_of_warm_up_are_not_counted(clock: Clock):
    seconds = iter([5.0, 1.0, 2.0])

    def run() -> None:
        clock.now += next(seconds)

    times = time_rounds({"run": run}, torch.device("cpu"), 2, warmup=1)
    assert times["run"] == pytest.approx([1.0, 2.0])


def test_a_cell_cannot_break_the_table():
    made = table(("loop", "images/s"), [["a|b\nc", "1"]])
    assert made.splitlines() == ["| loop | images/s |", "| --- | ---: |", "| a\\|b c | 1 |"]


def test_only_what_stands_between_the_comments_is_replaced(tmp_path: Path):
    path = tmp_path / "speed.md"
    path.write_text(DOCUMENT)
    text = r"\1 and \g<0>"
    write(path, "a b", text)
    assert path.read_text() == DOCUMENT.replace("\nold | table\n", f"\n\n{text}\n\n")


@pytest.mark.parametrize("document", ["", "<!-- end a b --><!-- begin a b -->", DOCUMENT * 2])
def test_a_document_without_the_one_place_is_left_alone(tmp_path: Path, document: str):
    path = tmp_path / "speed.md"
    path.write_text(document)
    with pytest.raises(ConfigError, match=r"speed\.md") as caught:
        write(path, "a b", "text")
    assert "<!-- begin a b -->" in caught.value.fix
    assert path.read_text() == document
    with pytest.raises(ConfigError, match="nowhere"):
        write(tmp_path / "nowhere.md", "a", "text")
