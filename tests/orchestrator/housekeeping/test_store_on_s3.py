"""The command line on a store in a bucket."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from s3_server import SECRET, make_bucket, s3_server
from small_trials import few_digits
from sweeps import write_experiment

from orchestrator.cli.main import cli
from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import record
from orchestrator.execution.preflight import check_place
from results_schema.s3.bucket import Bucket
from results_schema.store import open_store
from workers.training.trial import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """An experiment of one trial, and the bucket's URL that it was trained into."""
    path = write_experiment(tmp_path_factory.mktemp("s3"), epochs=1, seeds="0")
    loaded = load_experiment(path)
    with s3_server(), few_digits():
        url = f"{make_bucket('sweep')}/results"
        store = open_store(url)
        record(loaded, store)
        for member in loaded.members():
            assert train(member.spec, store, device="cpu").status == "done"
        yield path, url


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("plan", "{experiment}"), "1 of 1 trials are reused"),
        (("status",), "1 done"),
        (("logs", "digits"), "done: trained 1 epochs"),
        (("query", "SELECT count(*) AS n FROM metrics"), "1 row"),
        (("export", "small", "--to", "{folder}"), "small-metrics.parquet: 1 rows"),
        (("gc", "--yes"), "nothing to remove"),
        (("report", "small"), "report: s3://sweep/results/reports/small/index.html"),
        (("launch", "{experiment}", "--device", "cpu"), "nothing to train"),
    ],
)
def test_every_command_takes_a_bucket(
    trained: tuple[Path, str], tmp_path: Path, words: tuple[str, ...], said: str
):
    experiment, url = trained
    arguments = [word.format(experiment=experiment, folder=tmp_path / "out") for word in words]
    ran = CliRunner().invoke(cli, [*arguments, "--store", url])
    assert ran.exit_code == 0, ran.output
    assert said in ran.output
    assert SECRET not in ran.output


def test_a_bucket_that_will_do_is_told_from_one_that_will_not(
    trained: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
):
    _, url = trained
    assert check_place(url).verdict == "ok"
    assert "NoSuchBucket" in check_place("s3://not-there/results").found
    monkeypatch.setattr(Bucket, "create", lambda self, name, data: self.put(name, data) or True)
    assert "ignores If-None-Match" in check_place(url).found
