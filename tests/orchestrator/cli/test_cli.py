"""The command line as its user meets it: what it prints, where, and with which exit code."""

import json
import os
import signal
import time
from pathlib import Path

import click
import pytest
import torch
from sweeps import write_experiment

from orchestrator.cli import main as cli
from orchestrator.cli.options import GpuShare
from results_schema import layout, tables
from results_schema.store import open_store
from results_schema.trial import TrialSpec

FIG9 = Path(__file__).parents[3] / "experiments/fig9.yaml"


def test_help_has_a_whole_line_for_every_command_in_its_family(run):
    for name in cli.cli.commands:
        assert run(name, "--help")[1].startswith(f"Usage: nas-sweep {name}")
    _, output, _ = run("--help")
    found, family = {}, ""
    for line in output.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            family = line[:-1]
        elif family in cli.FAMILIES and line.strip():
            found.setdefault(family, []).append(line.split()[0])
            assert len(line) <= 80
            assert not line.endswith("...")
    assert found == {title: [c.name for c in commands] for title, commands in cli.FAMILIES.items()}


def test_what_prints_data_prints_it_as_json_too():
    for command in ("plan", "doctor", "status", "query", "cells", "claims", "theory"):
        [option] = [p for p in cli.cli.commands[command].params if "--format" in p.opts]
        assert isinstance(option.type, click.Choice)
        assert list(option.type.choices)[:2] == ["text", "json"]
        assert set(option.type.choices) <= {"text", "json", "csv", "md", "latex"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("lunch",),
        ("launch", FIG9, "--gpus-per-trial", "1.5"),
        ("launch", FIG9, "--gpus-per-surface", "auto"),
        ("plan", "nowhere.yaml"),
        ("plan", FIG9, "--set", "recipe.epochs=none"),
        ("plan", FIG9, FIG9.parent / "more/../fig9.yaml"),
        ("plan", FIG9, "--spec", "svhn"),
    ],
)
def test_wrong_usage_exits_2_in_plain_words(run, arguments):
    code, output, errors = run(*arguments)
    assert code == 2
    assert not output
    assert errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("text", "share"),
    [("0.5", 0.5), ("1", 1), ("2", 2), ("auto", "auto")]
    + [(text, None) for text in ("0", "-1", "1.5", "2.0001", "nan", "inf", "half")],
)
def test_a_share_is_part_of_a_gpu_or_a_number_of_them(text, share):
    if share is not None:
        assert GpuShare(auto=True).convert(text, None, None) == share
    else:
        with pytest.raises(click.BadParameter, match=text):
            GpuShare(auto=True).convert(text, None, None)


@pytest.mark.parametrize("store", ["s3://bucket/results", "a-file/results"])
def test_an_unfit_store_exits_3(run, tmp_path: Path, monkeypatch, store):
    monkeypatch.chdir(tmp_path)
    Path("a-file").write_text("in the way")
    code, _, errors = run("launch", FIG9, "--profile", "laptop", "--store", store)
    assert code == 3
    assert store.split("/")[0] in errors


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), ["no GPU", "about", "--profile laptop", "--device cpu", "--address"]),
        (("--profile", "fast"), ["no GPU"]),
        (
            ("--device", "cpu", "--set", "precision=tf32"),
            ["tf32, which a CPU does not have"],
        ),
    ],
)
def test_without_a_gpu_nothing_is_launched_that_needs_one(
    run, tmp_path: Path, monkeypatch, options, said
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, _, errors = run("launch", FIG9, *options, "--store", tmp_path / "results")
    assert code == 3
    assert [part for part in said if part not in errors] == []


def test_plan_counts_and_names_trials_and_makes_no_store(run, tmp_path: Path):
    place = tmp_path / "results"
    code, output, _ = run("plan", FIG9, "--store", place)
    assert code == 0
    assert "56 to do: 33,600 epochs" in output
    assert "on 1 GPU" in output
    assert not place.exists()
    experiment = write_experiment(tmp_path, epochs=1)
    ask = ("plan", experiment, "--store", place)
    owed = json.loads(run(*ask, "--format", "json")[1])["owed"]
    assert len(owed) == 3
    open_store(place).put(layout.trial(owed[0]), tables.to_parquet([], tables.TRIALS))
    plan = json.loads(run(*ask, "--format", "json")[1])
    assert (plan["owed"], plan["ended"]) == (owed[1:], owed[:1])
    assert plan["experiments"] == {"small": owed}
    code, output, _ = run(*ask, "--spec", owed[1])
    assert (code, TrialSpec.from_json(output).trial_id) == (0, owed[1])
    code, _, errors = run(*ask, "--spec", "digits")
    assert (code, "3 trials begin with 'digits'" in errors) == (2, True)


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize("moment", ["planning", "drawing"])
def test_a_signal_ends_a_command_with_its_code(run, trained, monkeypatch, signum, code, moment):
    def signalled(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signum)
        time.sleep(10)

    place = {
        "planning": "orchestrator.cli.launch.make_plan",
        "drawing": "orchestrator.report.brief.accuracy_tables",
    }
    monkeypatch.setattr(place[moment], signalled)
    found, _, errors = run("launch", trained.experiment, "--device", "cpu")
    assert (found, "interrupted" in errors, "Traceback" in errors) == (code, True, False)


def test_an_epoch_that_no_trial_reaches_is_warned_about(run, trained):
    _, output, _ = run("launch", trained.experiment, "--checkpoint-at", "2", "--checkpoint-at", "9")
    assert "--checkpoint-at 9 keeps nothing: trials train 2 epochs at most" in output


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--set", "recipe.epochs=1"], 10, "small keeps 3 trials of another recipe.epochs"),
        (["--set", "grid.seed=[0]"], 2, "small loses 2 trials that it has in the store"),
        (["--set", "grid.seed=[0]", "--replace"], 11, ""),
    ],
)
def test_a_launch_that_drops_members_asks_and_none_else(
    run, trained, monkeypatch, options, code, said
):
    monkeypatch.setattr("orchestrator.cli.launch._work", lambda *_, replace: 10 + replace)
    found, output, errors = run("launch", trained.experiment, *options)
    assert (found, said in output + errors) == (code, True), output + errors


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("nas-sweep sta", ["status"]),
        ("nas-sweep status sm", ["small"]),
        ("nas-sweep show small/DARTS/base/s1", ["small/DARTS/base/s1"]),
        ("nas-sweep claims --claim wider-f", ["wider-faster"]),
        ("nas-sweep launch fig9.yaml --profile la", ["laptop"]),
        ("nas-sweep status --store nowhere sm", []),
    ],
)
def test_a_shell_completes_commands_and_what_the_store_has(
    run, trained, monkeypatch, words, completed
):
    monkeypatch.setenv("NAS_SWEEP_STORE", str(trained.store.root))
    monkeypatch.chdir(FIG9.parent)
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    monkeypatch.setenv("_NAS_SWEEP_COMPLETE", "bash_complete")
    assert [line.partition(",")[2] for line in run()[1].split()] == completed
    monkeypatch.delenv("_NAS_SWEEP_COMPLETE")
    assert "small" in run("status")[1], "the variable names the store"
