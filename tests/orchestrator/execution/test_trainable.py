"""What a worker runs: an item of a launch, if it runs the same code as the launch."""

from __future__ import annotations

import ast
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import small_programs
from items import sent
from small_trials import EPOCHS, few_digits, small_spec

from orchestrator.execution import trainable
from orchestrator.execution.jobs import pack_code
from orchestrator.execution.trainable import (
    WORKER_MODULES,
    NamedItem,
    code_digest,
    measure_packs,
    own_versions,
    train_item,
    version_mismatch,
)
from results_schema import layout, plugins
from results_schema.errors import MachineError
from results_schema.program import widen
from results_schema.store import LocalStore
from results_schema.surface import SurfaceSpec
from workers.training.attempt import Outcome

ROOT = Path(__file__).parents[3]


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a worker reports to Tune."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr("orchestrator.execution.trainable.tune.report", found.append)
    return found


@pytest.fixture(autouse=True)
def _present(store: LocalStore) -> None:
    store.put(layout.launch("now"), b"")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "it does not see the store\n  every node must reach"),
        # It does not even look for the store.
        ({"versions": own_versions() | {"torch": "0.1"}, "store": "gone://away"}, "torch 0.1"),
    ],
)
def test_an_unfit_node_trains_nothing_and_reports_why(tmp_path, reports, changes, told):
    elsewhere = tmp_path / "elsewhere"
    pack = [small_spec(), small_spec(rate=0.2)]
    train_item(sent(str(elsewhere), *pack, **changes))
    assert [one["item"] for one in reports] == [spec.trial_id for spec in pack]
    assert {(one["status"], one["kind"]) for one in reports} == {("failed", "unfit")}
    assert all(told in one["reason"] for one in reports)
    assert not elsewhere.exists()


@pytest.mark.usefixtures("own_plugins")
def test_a_worker_loads_the_launchs_plugins_and_refuses_others(store, reports, tmp_path):
    file = tmp_path / "my_ops.py"
    file.write_text("import nas_sweep\nnas_sweep.operation('mix_conv')(int)\n")
    sent_plugin = plugins.load_file(file).sent()
    plugins.LOADED.clear()  # as in a process of another machine
    plugins.registry("operation").withdraw("my_ops.py")
    spec, reasons = small_spec(), []
    other = sent_plugin | {"digest": "0" * 10}
    gone = sent_plugin | {"path": str(tmp_path / "gone/my_ops.py")}
    package = {"name": "my_ops", "digest": "0" * 10, "path": "my_ops"}
    for one in (gone, other, package):
        train_item(sent(store.location, spec, plugins=[one]))
        assert (reports[-1]["status"], reports[-1]["kind"]) == ("failed", "unfit")
        reasons.append(reports[-1]["reason"])
    assert "there is no plug-in" in reasons[0]
    assert f"has digest {sent_plugin['digest']} here, and 0000000000 in this launch" in reasons[1]
    assert all("--ship-code" in one for one in reasons[:2])
    assert "install the same package there" in reasons[2]
    with few_digits():
        train_item(sent(store.location, spec, plugins=[sent_plugin]))
    assert reports[-1]["status"] == "done"
    assert plugins.registry("operation")["mix_conv"].origin == "my_ops.py"


def test_a_worker_runs_the_launchs_program_and_refuses_another(
    store, reports, tmp_path, monkeypatch
):
    source, spec = small_programs.write(tmp_path / "lab"), small_programs.walk()
    widen(store, small_programs.METRICS)
    other = source.sent() | {"digest": "0" * 10}
    gone = source.sent() | {"root": str(tmp_path / "gone")}
    for one, told in ((other, "and 0000000000 in this launch"), (gone, "there is no program")):
        train_item(sent(store.location, spec, programs=[one]))
        assert (reports[-1]["status"], reports[-1]["kind"]) == ("failed", "unfit")
        assert told in reports[-1]["reason"]
        assert "--ship-code" in reports[-1]["reason"]
    assert store.list(layout.METRICS) == [layout.schema(layout.METRICS)]
    # What was shipped with the code goes before what is there.
    monkeypatch.setattr(trainable, "PROGRAMS", str(tmp_path / "shipped"))
    shutil.copytree(source.root, tmp_path / "shipped" / source.digest)
    train_item(sent(store.location, spec, programs=[gone]))
    assert (reports[-1]["status"], reports[-1]["epoch"]) == ("done", 6)
    assert [one["trained"] for one in reports if "trained" in one] == [1] * 6


def test_epochs_are_reported_as_often_as_is_asked_the_last_with_the_outcome(store, reports):
    spec = small_spec()
    with few_digits():
        train_item(sent(store.location, spec))
        assert [one["epoch"] for one in reports] == [*range(1, EPOCHS + 1)]
        assert {one["trained"] for one in reports} == {1}
        assert all(one["images_per_second"] > 0 < one["peak_memory"] for one in reports)
        assert (reports[-1]["item"], reports[-1]["status"]) == (spec.trial_id, "done")
        train_item(sent(store.location, spec))
        assert (reports[-1]["status"], "epoch" in reports[-1]) == ("done", False)
        reports.clear()
        train_item(sent(store.location, small_spec(rate=0.2), report_every=1e9))
    first, last = reports
    assert (first["epoch"], first["trained"], "status" in first) == (1, 1, False)
    assert (last["epoch"], last["trained"], last["status"]) == (EPOCHS, EPOCHS - 1, "done")


def test_points_are_reported_now_and_then_and_the_last_one_at_once(store, reports, monkeypatch):
    given: dict[str, Any] = {}

    def survey(surface: SurfaceSpec, *_: Any, on_points: Any, **more: Any) -> Outcome:
        given.update(more, surface=surface, asked=more["ask"]())
        for done in (11, 12, 13):  # ten were measured by another launch
            on_points(done, 13)
        return Outcome("done", "")

    now = iter([5.0, 5.5])
    monkeypatch.setattr("workers.landscape.survey.survey", survey)
    monkeypatch.setattr("orchestrator.execution.trainable.time.monotonic", lambda: next(now))
    surface = SurfaceSpec(small_spec(), 1, "contour")
    config = sent(store.location, small_spec(), report_every=1.0, gpus_per_surface=0.5)
    train_item(config | {"names": [surface.surface_id], "specs": [surface.to_json()]})
    assert {one["item"] for one in reports} == {surface.surface_id}
    assert [(one["points"], one["measured"]) for one in reports[:-1]] == [(11, 1), (13, 2)]
    assert reports[-1]["status"] == "done"
    assert given["surface"] == surface
    assert (given["device"], given["deterministic"], given["token"]) == ("cpu", False, "t")
    assert (given["gpu_share"], given["asked"]) == (0.5, "")


def test_a_pack_is_trained_as_the_launch_says(store, reports, monkeypatch):
    given: dict[str, Any] = {}

    def train_pack(specs: Any, *_: Any, **more: Any) -> None:
        given.update(more, specs=specs)

    monkeypatch.setattr("workers.training.packing.train_pack", train_pack)
    pack = [small_spec(), small_spec(rate=0.2)]
    train_item(
        sent(
            *(store.location, *pack),
            checkpoint_every=7.0,
            checkpoint_at=[2],
            gpus_per_trial=0.5,
            deterministic=True,
        )
    )
    assert given["specs"] == pack
    assert (given["checkpointing"].every, given["checkpointing"].at) == (7.0, {2})
    assert (given["deterministic"], given["gpu_share"], given["token"]) == (True, 0.5, "t")
    ask = given["ask"]
    assert ask(pack[0]) == ""
    store.put(layout.cancel(pack[0].trial_id), b"by ada on h\x1b[2K")
    assert ask(pack[0]) == f"{pack[0].trial_id} is cancelled (by ada on h[2K)"
    assert ask(pack[1]) == ""
    store.put(layout.stop("now"), b"x" * 1000)
    assert ask(pack[1]) == "its launch stops"


def test_packs_are_measured_only_where_the_launchs_plugins_are(tmp_path, monkeypatch):
    measured = "workers.training.packing.measure_pack_sizes"
    monkeypatch.setattr(measured, lambda spec, **options: (spec, options))
    spec, gone = small_spec(), {"name": "x.py", "digest": "0", "path": str(tmp_path / "x.py")}
    assert measure_packs(spec, plugins=[], most=4) == (spec, {"most": 4})
    with pytest.raises(MachineError, match="there is no plug-in"):
        measure_packs(spec, plugins=[gone], most=4)


def test_a_process_that_does_one_item_is_named_by_it():
    named = object.__new__(NamedItem)
    named.config = {"names": ["a", "b"]}
    # Ray's dashboard shows an actor's repr; `test_monitoring` looks there.
    assert repr(named) == "a, b"


@pytest.mark.parametrize(
    ("name", "word"), [("python", "Python"), ("ray", "Ray"), ("torch", "torch")]
)
def test_what_differs_is_named_of_both_with_a_fix(name: str, word: str):
    here = own_versions()
    told = version_mismatch(here | {name: "0.1"})
    assert f"it has {word} {here[name]}, and this launch has {word} 0.1" in told
    assert told.startswith("node ")
    assert "\n  install the same on every node" in told
    assert "--ship-code" not in told, "which would not help"
    both = version_mismatch(here | {name: "0.1", "code": "5e" * 5})
    assert ("code 5e5e5e5e5e" in both, "--ship-code" in both) == (True, False)


def test_other_code_of_the_same_release_is_named_and_can_be_shipped():
    here = own_versions()
    assert version_mismatch(here) == ""
    assert version_mismatch(here | {"commit": "1234567890", "release": "7.0"}) == ""
    told = version_mismatch(here | {"code": "5e" * 5, "commit": "1234567890"})
    assert f"code {here['code']})" in told
    assert f"nas-sweep {here['release']} (commit 1234567890, code 5e5e5e5e5e)" in told
    assert "--ship-code" in told
    told = version_mismatch(here | {"code": "5e" * 5, "commit": ""})
    assert f"nas-sweep {here['release']} (code 5e5e5e5e5e)" in told


def test_a_digest_is_of_the_code_that_workers_run_wherever_it_is(tmp_path: Path):
    pack_code(tmp_path)
    whole = code_digest(tmp_path)
    assert whole == own_versions()["code"]
    for place in ("orchestrator/other.py", "results/data.py", "workers/.hidden.py"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        os.mkfifo(tmp_path / place)  # to read it would wait for ever
    for file in ("orchestrator/report/write.py", "workers/notes.txt"):
        with (tmp_path / file).open("a") as code:
            code.write("# another\n")
    assert code_digest(tmp_path) == whole
    seen = {whole}
    for file in ("workers/draws.py", *WORKER_MODULES):
        with (tmp_path / file).open("a") as code:
            code.write("# another\n")
        seen.add(code_digest(tmp_path))
    assert len(seen) == 3


def test_a_worker_imports_nothing_else_of_the_orchestrator():
    found, waiting = set(), ["orchestrator.execution.trainable"]
    while waiting:
        file = waiting.pop().replace(".", "/") + ".py"
        found.add(file)
        for node in ast.walk(ast.parse((ROOT / file).read_text())):
            if isinstance(node, ast.ImportFrom):
                named = {node.module or "", *(f"{node.module}.{a.name}" for a in node.names)}
                modules = {one for one in named if one.startswith("orchestrator.")}
                paths = {one.replace(".", "/") + ".py": one for one in modules}
                waiting += [
                    one
                    for path, one in paths.items()
                    if path not in found and (ROOT / path).exists()
                ]
    assert found == set(WORKER_MODULES)
