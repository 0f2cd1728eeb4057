"""The pages on which Ray's nodes serve their metrics, as Prometheus finds and reads them."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families


def discovery(head: Path) -> Path:
    """The list of these pages that a head with this folder keeps."""
    return head / "prom_metrics_service_discovery.json"


def served(head: Path, beginning: str) -> dict[str, Metric]:
    """The metrics of all nodes whose names begin so; a total is named without `_total`.

    Nothing while a node is listed that does not answer: Ray lists its agent before that has opened
    its port.
    """
    found: dict[str, Metric] = {}
    try:
        listed = json.loads(discovery(head).read_text())
        addresses = {address for group in listed for address in group["targets"]}
        pages = [_page(address) for address in addresses]
    except (FileNotFoundError, URLError):
        return {}
    for page in pages:
        for metric in text_string_to_metric_families(page):
            if not metric.name.startswith(beginning):
                continue
            if metric.name in found:
                found[metric.name].samples += metric.samples
            else:
                found[metric.name] = metric
    return found


def _page(address: str) -> str:
    with urlopen(f"http://{address}/metrics", timeout=10) as page:
        return page.read().decode()
