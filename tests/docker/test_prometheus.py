"""Prometheus takes the configurations of the project, and asks the ports that Ray has."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus import documented, missing
from ruamel.yaml import YAML


def test_every_node_is_asked_where_compose_has_it_answer(compose: dict[str, Any], docker: Path):
    config = YAML(typ="safe", pure=True).load(docker / "prometheus/prometheus.yml")
    nodes, head = config["scrape_configs"]
    [found] = nodes["dns_sd_configs"]
    services = {name for name in compose["services"] if name in found["names"]}
    assert services == set(found["names"]) == {"head", "worker", "cpu-worker"}
    for name in services:
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
