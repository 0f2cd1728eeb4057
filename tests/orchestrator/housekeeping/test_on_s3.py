"""What looks after a store, and what is made of one, on a store in a bucket."""

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from s3_server import SECRET, make_bucket, s3_server
from small_stores import shown_counts
from small_trials import few_digits
from sweeps import write_experiment

from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import record
from orchestrator.dash import live as live_module
from orchestrator.dash.live import Live
from orchestrator.execution import preflight
from results_schema import layout, tables
from results_schema.errors import StoreError
from results_schema.s3.bucket import Bucket
from results_schema.s3.store import S3Store
from workers.landscape.survey import survey
from workers.training.trial import train

LANDSCAPE = "landscape: {contour: {grid: 3, subset: 20}}\n"
EPOCHS = 2
# The first test waits for all trials and surfaces to be trained and measured.
pytestmark = [pytest.mark.s3, pytest.mark.timeout(300)]
_number = itertools.count()


@dataclass(frozen=True)
class Tended:
    """An experiment of three trials with a surface each, and the bucket that it was run into."""

    experiment: Path
    url: str
    ids: list[str]
    surfaces: list[str]

    @property
    def store(self) -> S3Store:
        return S3Store.at(self.url)

    def objects(self) -> list[str]:
        return [entry.name for entry in self.store.bucket.list("")]

    def fail(self, item: str) -> None:
        """Makes what has ended something that failed."""
        ended = layout.surface if layout.is_surface(item) else layout.trial
        self.store.delete(ended(item))
        told = {"kind": "memory", "message": "out of memory", "at": "2020-04-26T12:00:00+00:00"}
        self.store.put(layout.failure(item), json.dumps(told).encode())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tended]:
    path = write_experiment(tmp_path_factory.mktemp("s3"), epochs=EPOCHS)
    path.write_text(path.read_text() + LANDSCAPE)
    loaded = load_experiment(path)
    with s3_server(), few_digits():
        url = f"{make_bucket('finished')}/results"
        store = S3Store.at(url)
        record(loaded, store)
        for member in loaded.members():
            assert train(member.spec, store, device="cpu").status == "done"
        for surface in loaded.surfaces():
            assert survey(surface, store, device="cpu").status == "done"
        ids = [member.spec.trial_id for member in loaded.members()]
        yield Tended(path, url, ids, [surface.surface_id for surface in loaded.surfaces()])


@pytest.fixture
def tended(finished: Tended) -> Tended:
    """The same in a bucket of the test's own."""
    name, client = f"tended-{next(_number)}", boto3.client("s3")
    make_bucket(name)
    for entry in client.list_objects_v2(Bucket="finished")["Contents"]:
        source = {"Bucket": "finished", "Key": entry["Key"]}
        client.copy_object(Bucket=name, Key=entry["Key"], CopySource=source)
    return Tended(finished.experiment, f"s3://{name}/results", finished.ids, finished.surfaces)


COMMANDS = [
    ("status", "surfaces    3     3"),
    ("landscape {experiment} --device cpu", "every surface is finished"),
    ("logs {surface}", "done: measured 9 points"),
    ("logs {trial} --follow", "done: trained 2 epochs"),
    ("claims small", "not testable"),
    ("export small --to {folder} --format numpy", "small-surfaces.npz"),
    ("export small --to {folder}", "small-metrics.parquet: 6 rows"),
    ("plan {experiment}", "3 of 3 trials reused"),
    ("gc --yes", "nothing to remove"),
    ("report small", "report: s3://finished/results/reports/small/index.html"),
    ("launch {experiment} --device cpu", "nothing to train"),
]


@pytest.mark.parametrize(("command", "shown"), COMMANDS)
def test_every_command_takes_a_bucket(run, finished: Tended, tmp_path: Path, command, shown):
    names = {"experiment": finished.experiment, "folder": tmp_path / "out"}
    names |= {"surface": finished.surfaces[0], "trial": finished.ids[0]}
    words = command.format(**names).split()
    code, output, errors = run(*words, "--store", finished.url)
    assert code == 0, errors
    assert shown in output
    assert SECRET not in output + errors


def test_empty_blocks_and_halves_are_collected_and_the_rest_is_as_before(
    run, tended: Tended, monkeypatch: pytest.MonkeyPatch
):
    store = tended.store
    store.put(layout.tensors(tended.ids[0], 1), b"half")
    store.put(layout.failure(tended.ids[1]), b"{}")
    store.delete(layout.failure(tended.ids[1]))
    before = {key: store.get(key) for folder in layout.LEASED for key in store.list(folder)}
    empty = [e.name for e in store.bucket.list("") if e.size == 0]
    assert any(name.startswith("blocks/failures/") for name in empty)
    assert any(name.startswith(layout.LEASES) for name in empty), "of the leases that ended"
    code, output, _ = run("gc", "--store", tended.url, "--yes")
    assert "halves of checkpoints: 1 file of 1 trial, 4 bytes" in output
    assert "passed blocks" not in output, "someone may still be in the middle of a write"
    monkeypatch.setattr("orchestrator.housekeeping.gc.OLD", 0.0)
    code, output, _ = run("gc", "--store", tended.url, "--yes")
    assert code == 0
    assert re.search(r"passed blocks: \d+ files, ", output)
    left = [e.name for e in tended.store.bucket.list("") if e.size == 0]
    assert [name for name in left if name.startswith(("blocks/", layout.LEASES))] == []
    after = {k: tended.store.get(k) for f in layout.LEASED for k in tended.store.list(f)}
    assert after == {k: v for k, v in before.items() if k != layout.tensors(tended.ids[0], 1)}
    # Numbers may begin anew now.
    lease = tended.store.leases.take(tended.ids[0])
    assert lease
    lease.release()


def test_data_sets_that_no_experiment_names_are_collected(run, tended: Tended):
    store, name = tended.store, "flowers-0123456789"
    for key in (layout.dataset(name), layout.dataset_arrays(name)):
        store.put(key, b"data")
    lease = store.leases.take(layout.dataset_lease(name))  # as a launch that writes it
    assert lease
    words = ("gc", "--store", tended.url, "--unnamed", "--yes")
    assert "nothing to remove" in run(*words)[1]
    lease.release()
    assert "data sets that no experiment names: 2 files, 8 bytes" in run(*words)[1]
    assert store.list(layout.DATASETS) == []


def test_the_doctor_looks_at_a_bucket(run, finished: Tended, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(preflight, "DATASETS", {"digits": preflight.DATASETS["digits"]})
    for slow in ("ray", "browser", "gpu"):
        monkeypatch.setattr(preflight, f"check_{slow}", lambda: "")
    code, output, _ = run("doctor", "--store", finished.url)
    assert code == 0, output
    assert f"store: {finished.url} can be written, by one worker alone" in output
    code, output, _ = run("doctor", "--store", "s3://not-there/results")
    assert code == 3
    assert "NoSuchBucket" in output
    assert SECRET not in output
    monkeypatch.setattr(Bucket, "create", lambda self, name, data: self.put(name, data) or True)
    with pytest.raises(StoreError, match="ignores If-None-Match"):
        preflight.check_place(finished.url, 1)


def test_what_failed_is_reported_cancelled_and_put_back(run, tended: Tended):
    failed, cancelled, ended = tended.ids
    tended.fail(failed)
    tended.store.delete(layout.trial(cancelled))
    assert run("cancel", cancelled, "--store", tended.url)[0] == 0
    _, output, _ = run("status", "--store", tended.url)
    assert shown_counts(output) == {"done": 1, "failed": 1, "cancelled": 1}
    assert f"{tended.url}/blocks/logs/{failed}.log/" in output
    assert run("retry", "small", ended, "--store", tended.url, "--yes")[0] == 0
    assert tended.store.list(layout.FAILURES) == []
    left = (*tended.store.list(layout.checkpoints(ended)), *tended.objects())
    gone = tuple(
        f"{folder}{ended}" for folder in ("checkpoints/", "metrics/", "trials/", "points/")
    )
    assert [name for name in left if name.startswith(gone)] == []


def test_a_live_page_follows_a_bucket(tended: Tended, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live_module, "BUCKET_SECONDS", 0.0)
    live = Live(tended.store)
    first = live.refresh()
    assert live.counts("small") == {"done": 3}
    assert [row["epoch"] for row in live.rows("small")] == [EPOCHS] * 3
    assert live.refresh() == first
    key = layout.metrics(tended.ids[0])
    rows = tables.from_parquet(tended.store.get(key), tables.METRICS, key).to_pylist()
    more = [*rows, rows[-1] | {"epoch": EPOCHS + 1, "test_accuracy": 0.4321}]
    tended.store.put(key, tables.to_parquet(more, tables.METRICS))
    assert live.refresh() == first + 1
    [news] = live.changed_rows("small", first) or []
    assert (news["trial_id"], news["test_accuracy"]) == (tended.ids[0], 0.4321)
    monkeypatch.setattr(live_module, "BUCKET_SECONDS", 3600.0)
    tended.fail(tended.ids[1])
    assert live.refresh() == first + 1, "it is not asked at every glance"
