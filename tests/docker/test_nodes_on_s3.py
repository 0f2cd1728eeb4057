"""Two hosts that share no folder: their store is in a bucket that both reach over the network."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from ray_heads import TOKEN
from s3_server import SECRET, serving
from soundness import LANDSCAPES, TABLES, digest
from sweeps import undisturbed, write_experiment
from two_hosts import S3_PORT, Host, Nodes

from orchestrator.config.experiment import load_experiment
from workers.landscape.survey import survey

SUPPORT = Path(__file__).parents[1] / "support"
LANDSCAPE = """
landscape: {contour: {grid: 5}, gradient_variance: {grid: 2, subset: 20}}
"""

MAKE = "from s3_server import make_bucket; print(make_bucket('sweep'))"
LOOK = """
import json, sys
from soundness import LANDSCAPES, TABLES, digest
from results_schema.results import Results
from results_schema.store import attach_store
store = attach_store(sys.argv[1])
trials = Results(store).trials()
told = {"digest": digest(store, (*TABLES, *LANDSCAPES)), "attempts": trials["attempts"].tolist()}
print(json.dumps(told | {"held": list(store.leases.held())}))
"""


def python(host: Host, environment: dict[str, str], code: str, *words: str) -> str:
    """What a program prints on a host that has what the tests share."""
    paths = os.pathsep.join([str(SUPPORT), str(SUPPORT.parents[1])])
    done = host.run(sys.executable, "-c", code, *words, **environment, PYTHONPATH=paths)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_launch_on_two_hosts_into_a_bucket_gives_the_results_of_one(nodes: Nodes, tmp_path: Path):
    head, environment = nodes.head, nodes.environment
    experiment = write_experiment(tmp_path, epochs=2)
    experiment.write_text(experiment.read_text() + LANDSCAPE)
    with serving(head.address, S3_PORT, head.command()):
        url = f"{python(head, environment, MAKE)}/results"
        done = head.run(
            sys.executable, "-m", "orchestrator.cli", "launch", str(experiment), "--device", "cpu",
            "--address", "head:6379", "--store", url, **environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert TOKEN not in done.stdout + done.stderr
        assert SECRET not in done.stdout + done.stderr
        told = json.loads(python(nodes.worker, environment, LOOK, url))
    alone = undisturbed(experiment, tmp_path / "alone")
    for surface in load_experiment(experiment).surfaces():
        assert survey(surface, alone, device="cpu").status == "done"
    assert told == {
        "digest": digest(alone, (*TABLES, *LANDSCAPES)),
        "attempts": [1, 1, 1],
        "held": [],
    }
