"""The notebook of the documentation: every cell runs on a store of today's release."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from small_trials import few_digits
from sweeps import undisturbed, write_experiment

from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import record

TOUR = Path(__file__).parents[1] / "docs/tour.ipynb"


@pytest.mark.docs
@pytest.mark.timeout(500)
def test_the_tour_runs_from_its_own_folder_and_shows_tables_a_figure_a_claim_and_a_study(
    tmp_path, monkeypatch
):
    experiment = write_experiment(
        tmp_path, name="fig3", epochs=2, variants="main_text", rates="0.025, 0.25", seeds="0, 1"
    )
    with few_digits():
        store = undisturbed(experiment, tmp_path / "results")
    record(load_experiment(experiment), store)
    monkeypatch.delenv("NAS_SWEEP_STORE", raising=False)
    assert store.root == tmp_path / "results"
    (tmp_path / "docs").mkdir()
    place = {"metadata": {"path": str(tmp_path / "docs")}}
    notebook = nbformat.read(TOUR, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=place).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    kinds = {kind for output in shown for kind in output.get("data", ())}
    assert {"text/html", "application/vnd.plotly.v1+json"} <= kinds
    texts = [output.get("data", {}).get("text/plain") for output in shown]
    tables = [str(text) for text in texts if text]
    assert any("wider-faster" in table for table in tables)
    assert re.search(r"weight_decay\s.*0\.01\s", tables[-1], re.DOTALL)
    assert tables[-2] == "0", "the study ended well"


def test_its_stored_outputs_hold_no_error_and_no_place_of_a_machine():
    notebook = nbformat.read(TOUR, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    code = [cell for cell in notebook.cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] for cell in code), "readers see results without running it"
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert not re.search(r"[\"' ]/(home|root|tmp|work|Users)/", TOUR.read_text("utf-8"))
