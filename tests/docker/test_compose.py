"""compose.yaml fits its schema, opens nothing to the network and holds no secret."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema

SECRET = re.compile(r"(?i)(token|password|secret|key)[^\n]*[:=]\s*['\"]?[A-Za-z0-9+]{16,}")


def nodes(compose: dict[str, Any]) -> dict[str, Any]:
    return {name: compose["services"][name] for name in ("head", "worker", "cpu-worker")}


def test_it_fits_the_schema(compose: dict[str, Any], docker: Path):
    schema = json.loads((docker / "schemas/compose-spec.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    validator.validate(compose)
    assert not validator.is_valid(compose | {"services": {"head": {"comand": []}}})


def test_ports_are_published_on_loopback_alone(compose: dict[str, Any]):
    published = [port for one in compose["services"].values() for port in one.get("ports", [])]
    assert sorted(published) == ["127.0.0.1:3000:3000", "127.0.0.1:8265:8265"]
    assert not any("network_mode" in one for one in compose["services"].values())


def test_every_container_is_locked_down(compose: dict[str, Any]):
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
        assert not any("docker.sock" in str(volume) for volume in service.get("volumes", [])), name
    for name, service in nodes(compose).items():
        assert service["read_only"] is True, name
        assert service["user"].startswith("${NAS_SWEEP_UID:-1000}"), name


def test_the_token_comes_from_a_file(compose: dict[str, Any], docker: Path):
    for service in nodes(compose).values():
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"
        assert "RAY_AUTH_TOKEN" not in service["environment"]
        assert service["secrets"] == ["ray_token"]
    assert set(compose["secrets"]) == {"ray_token", "grafana_password"}
    ignored = (docker.parent / ".gitignore").read_text().splitlines()
    for secret in compose["secrets"].values():
        assert f"docker/{secret['file'].split('/')[0]}/" in ignored
    for path in docker.rglob("*"):
        if path.is_file() and path.parent.name != "schemas":
            assert not SECRET.search(path.read_text()), path


def test_images_name_a_version(compose: dict[str, Any]):
    for service in compose["services"].values():
        image = service["image"].removesuffix("}").split(":-")[-1]
        assert image == "nas-sweep" or re.search(r":v?\d+\.\d+\.\d+$", image), image


def test_workers_use_the_ports_of_the_head(compose: dict[str, Any]):
    head, worker, cpu = (nodes(compose)[name]["command"] for name in nodes(compose))
    assert worker == cpu
    own = {"--head", "--num-cpus=0", "--num-gpus=0", "--port=6379", "--ray-client-server-port=6386"}
    own |= {"--dashboard-host=0.0.0.0", "--dashboard-port=8265"}
    assert set(head) - own == set(worker) - {"--address=head:6379"}
    [device] = nodes(compose)["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
