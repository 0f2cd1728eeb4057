"""Grafana's files: the dashboard is whole, and what provides it finds it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from grafana import FILE, FOLDER, GPU_ONLY, dashboard, expressions, panels
from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES
from ruamel.yaml import YAML

from orchestrator.execution.progress import METRICS, launch_labels

OURS = {f"ray_{metric.name}": metric for metric in METRICS}


def read(path: Path) -> dict[str, Any]:
    return YAML(typ="safe", pure=True).load(path)


def test_panels_are_told_apart_and_say_what_they_show():
    every = dashboard()["panels"]
    ids = [panel["id"] for panel in every]
    titles = [panel["title"] for panel in every]
    assert len(set(ids)) == len(ids) and len(set(titles)) == len(titles)
    for panel in panels():
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert references and len(set(references)) == len(references)
        assert all(target["legendFormat"] for target in panel["targets"])
    assert {panel["title"] for panel in panels()} >= GPU_ONLY


def test_no_panel_lies_on_another():
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                other = taken.setdefault((x, y), panel["title"])
                assert other == panel["title"]


def test_all_metrics_exist_and_each_of_ours_is_drawn():
    used = {name for _, one in expressions() for name in re.findall(r"\bray_\w+", one)}
    assert used >= set(OURS)
    assert {name.removeprefix("ray_") for name in used - set(OURS)} <= set(METRICS_GAUGES)


def test_labels_are_those_of_the_metrics():
    for title, expression in expressions():
        labels = set(launch_labels("", []))
        for name in re.findall(r"\bray_nas_sweep_\w+", expression):
            labels |= set(OURS[name].labels)
        selectors = re.findall(r"\{([^}]*)\}", expression)
        used = {part.split("=")[0].strip() for text in selectors for part in text.split(", ")}
        for names in re.findall(r"by \(([^)]*)\)", expression):
            used |= set(names.split(", "))
        assert used - {"instance"} <= labels, title


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_legends_name_labels_that_their_expressions_keep(panel: dict[str, Any]):
    for target in panel["targets"]:
        kept = re.findall(r"by \(([^)]*)\)", target["expr"])
        for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
            assert label in ("instance", "GpuIndex") if not kept else label in kept[0].split(", ")


def test_compose_hands_grafana_its_source_and_its_dashboard(compose: dict[str, Any]):
    grafana = compose["services"]["grafana"]
    [inside] = [v.split(":")[1] for v in grafana["volumes"] if v.startswith("./grafana:")]
    assert inside == "/etc/grafana/provisioning"
    [provider] = read(FOLDER / "dashboards/nas-sweep.yaml")["providers"]
    assert provider["options"]["path"] == f"{inside}/{FILE.parent.name}"
    [source] = read(FOLDER / "datasources/prometheus.yaml")["datasources"]
    assert source["type"] == "prometheus" and source["isDefault"]
    port = compose["services"]["prometheus"]
    assert source["url"] == "http://prometheus:9090" and "ports" not in port


def test_the_file_is_laid_out_as_json_is():
    assert FILE.read_text() == json.dumps(dashboard(), indent=1) + "\n"
