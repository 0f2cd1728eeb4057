"""Files of Grafana and Prometheus: the dashboard is whole, and each finds what it is to ask."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from grafana import FILE, FOLDER, GPU_ONLY, dashboard, expressions, panels
from prometheus import documented, missing
from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES
from ruamel.yaml import YAML

from orchestrator.execution.progress import METRICS, launch_labels

OURS = {f"ray_{metric.name}": metric for metric in METRICS}


def read(path: Path) -> dict[str, Any]:
    return YAML(typ="safe", pure=True).load(path)


def test_panels_differ_are_described_and_do_not_overlap():
    every = dashboard()["panels"]
    for key in ("id", "title"):
        assert len({panel[key] for panel in every}) == len(every)
    for panel in panels():
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert references and len(set(references)) == len(references)
    assert {panel["title"] for panel in panels()} >= GPU_ONLY
    taken: dict[tuple[int, int], str] = {}
    for panel in every:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    assert FILE.read_text() == json.dumps(dashboard(), indent=1) + "\n"


def test_metrics_exist_with_their_labels_and_each_of_ours_is_drawn():
    used = {name for _, one in expressions() for name in re.findall(r"\bray_\w+", one)}
    assert used >= set(OURS)
    assert {name.removeprefix("ray_") for name in used - set(OURS)} <= set(METRICS_GAUGES)
    for title, expression in expressions():
        labels = {"instance", *launch_labels("", [])}
        for name in re.findall(r"\bray_nas_sweep_\w+", expression):
            labels |= set(OURS[name].labels)
        selectors = re.findall(r"\{([^}]*)\}", expression)
        named = {part.split("=")[0].strip() for text in selectors for part in text.split(", ")}
        for names in re.findall(r"by \(([^)]*)\)", expression):
            named |= set(names.split(", "))
        assert named <= labels, title


def test_legends_name_labels_that_their_expressions_keep():
    for target in (target for panel in panels() for target in panel["targets"]):
        assert target["legendFormat"]
        kept = re.findall(r"by \(([^)]*)\)", target["expr"])
        labels = kept[0].split(", ") if kept else ("instance", "GpuIndex")
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= set(labels)


def test_compose_hands_grafana_its_source_and_its_dashboard(compose: dict[str, Any]):
    grafana = compose["services"]["grafana"]
    [inside] = [v.split(":")[1] for v in grafana["volumes"] if v.startswith("./grafana:")]
    assert inside == "/etc/grafana/provisioning"
    [provider] = read(FOLDER / "dashboards/nas-sweep.yaml")["providers"]
    assert provider["options"]["path"] == f"{inside}/{FILE.parent.name}"
    [source] = read(FOLDER / "datasources/prometheus.yaml")["datasources"]
    assert source["type"] == "prometheus" and source["isDefault"]
    assert source["url"] == "http://prometheus:9090"
    assert "ports" not in compose["services"]["prometheus"]


def test_every_node_is_asked_where_compose_has_it_answer(compose: dict[str, Any], docker: Path):
    nodes, head = read(docker / "prometheus/prometheus.yml")["scrape_configs"]
    [found] = nodes["dns_sd_configs"]
    assert set(found["names"]) == {"head", "worker", "cpu-worker"}
    for name in found["names"]:
        assert f"--metrics-export-port={found['port']}" in compose["services"][name]["command"]
    assert {target.split(":")[0] for target in head["static_configs"][0]["targets"]} == {"head"}


def test_prometheus_takes_both_configurations(docker: Path, tmp_path: Path):
    if why := missing():
        pytest.skip(why)
    (tmp_path / "nodes.json").write_text("[]")
    (tmp_path / "documented.yml").write_text(documented(tmp_path / "nodes.json"))
    for config in (docker / "prometheus/prometheus.yml", tmp_path / "documented.yml"):
        done = subprocess.run(
            ["promtool", "check", "config", str(config)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr + done.stdout
