"""`python -m workers.train --store s3://…`: killed at any moment, it ends like one in a folder."""

import os
import random
import subprocess
import sys
from pathlib import Path

import endless_epochs
import pytest
from s3_server import make_bucket, s3_server
from small_trials import assert_same, small_spec
from sweeps import wait_for

from results_schema import layout, tables
from results_schema.store import Store, attach_store, open_store
from workers.training.trial import train

EPOCHS = 4


def trained_epochs(store: Store, trial_id: str) -> int:
    key = layout.metrics(trial_id)
    return len(tables.from_parquet(store.get(key), tables.METRICS, key)) if store.has(key) else 0


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_worker_that_is_killed_goes_on_and_ends_as_in_a_folder(tmp_path: Path):
    spec, draws = small_spec(epochs=EPOCHS, batch_size=480), random.Random(0)
    (tmp_path / "trial.json").write_text(spec.to_json())
    whole = open_store(tmp_path / "whole")
    assert train(spec, whole, device="cpu").status == "done"
    with s3_server():
        url = f"{make_bucket('sweep')}/results"
        store = attach_store(url)
        options = [str(tmp_path / "trial.json"), "--store", url, "--device", "cpu"]
        options += ["--checkpoint-every", "0"]
        command = [sys.executable, "-m", "workers.train", *options]
        disturbed = [sys.executable, endless_epochs.__file__, *options]
        for kill in range(2):
            # No epoch ends after those that are waited for, or it might end before it is killed.
            endless = {**os.environ, endless_epochs.VARIABLE: str(kill + 2)}
            with subprocess.Popen(disturbed, stdout=subprocess.DEVNULL, env=endless) as worker:
                wait_for(lambda kill=kill: trained_epochs(store, spec.trial_id) > kill)
                assert store.leases.held()
                wait_for(lambda: draws.random() < 0.1)
                worker.kill()
        assert not store.has(layout.trial(spec.trial_id))
        ended = subprocess.run(command, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        assert f"training {spec.trial_id} into {url}" in ended.stdout
        assert_same(store, whole, spec)
        assert store.leases.held() == {}
        again = subprocess.run(command, capture_output=True, text=True)
        assert "it had ended before" in again.stdout
