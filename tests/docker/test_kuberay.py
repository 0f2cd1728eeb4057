"""The manifests fit the schemas of KubeRay and Kubernetes to the last key, and compose.yaml."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from ruamel.yaml import YAML


def manifest(docker: Path, name: str) -> dict[str, Any]:
    return YAML(typ="safe", pure=True).load(docker / f"kuberay/{name}.yaml")


def closed(schema: Any) -> Any:
    """The schema with every object of known keys closed: Kubernetes drops others without a word."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        parts.setdefault("additionalProperties", False)
    return parts


@pytest.mark.parametrize(("name", "kind"), [("raycluster", "RayCluster"), ("rayjob", "RayJob")])
def test_ray_s_kinds_fit_their_schema(docker: Path, name: str, kind: str):
    found = manifest(docker, name)
    schema = closed(json.loads((docker / f"schemas/{name}.json").read_text()))
    schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    assert (found["apiVersion"], found["kind"]) == ("ray.io/v1", kind)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(found)
    for wrong in ({"authOption": {}}, {"rayVersion": 2.6}, {"entrypoint": ["a"]}):
        assert not validator.is_valid(found | {"spec": found["spec"] | wrong})


@pytest.mark.parametrize("name", ["store", "networkpolicy"])
def test_kubernetes_own_kinds_fit_theirs(docker: Path, name: str):
    kubernetes_validate.validate(manifest(docker, name), "1.34", strict=True)


def pods(docker: Path) -> list[dict[str, Any]]:
    spec = manifest(docker, "raycluster")["spec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_pods_are_locked_down(docker: Path):
    assert manifest(docker, "raycluster")["spec"]["authOptions"] == {"mode": "token"}
    for pod in pods(docker):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        [container] = pod["containers"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert not pod.get("hostNetwork")


def test_names_agree(docker: Path):
    name = manifest(docker, "raycluster")["metadata"]["name"]
    label = {"ray.io/cluster": name}
    policy = manifest(docker, "networkpolicy")["spec"]
    assert policy["podSelector"]["matchLabels"] == label
    assert policy["policyTypes"] == ["Ingress"]
    # All ports to the cluster's own pods alone.
    assert [rule["from"] for rule in policy["ingress"] if "ports" not in rule] == [
        [{"podSelector": {"matchLabels": label}}]
    ]
    assert manifest(docker, "rayjob")["spec"]["clusterSelector"] == label
    claim = manifest(docker, "store")["metadata"]["name"]
    for pod in pods(docker):
        volumes = {v["name"]: v for v in pod["volumes"]}
        assert volumes["results"]["persistentVolumeClaim"]["claimName"] == claim
        mounts = {m["name"] for m in pod["containers"][0]["volumeMounts"]}
        assert mounts == set(volumes)


def test_ray_is_started_as_by_compose(docker: Path, compose: dict[str, Any]):
    spec = manifest(docker, "raycluster")["spec"]
    head, [worker] = spec["headGroupSpec"], spec["workerGroupSpecs"]
    for group, service in ((head, "head"), (worker, "worker")):
        options = dict(
            part.removeprefix("--").split("=")
            for part in compose["services"][service]["command"]
            if "=" in part
        )
        # The operator sets these itself.
        for own in ("port", "dashboard-port", "address"):
            options.pop(own, None)
        assert group["rayStartParams"] == options


def test_the_image_s_ray_is_the_pinned_one(docker: Path):
    pinned = (docker.parent / "constraints.txt").read_text()
    version = manifest(docker, "raycluster")["spec"]["rayVersion"]
    assert f"ray=={version}\n" in pinned
