"""Checkpoints that are damaged or mean harm: none is run, each is passed over with a warning."""

import hashlib
import io
import json
import os
import pickle
import random
import struct
from collections.abc import Iterator
from typing import Any

import torch
from small_checkpoints import ID, example

from results_schema import layout
from results_schema.errors import CorruptData
from results_schema.store import LocalStore
from workers.training import checkpoint
from workers.training.checkpoint import Checkpoint

PLANTED = "planted"


class Attack:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, (f"touch {PLANTED}",)


def pickles() -> Iterator[bytes]:
    """What torch.load and joblib would run."""
    for protocol in range(6):
        yield pickle.dumps(Attack(), protocol=protocol)
    for legacy in (False, True):
        sink = io.BytesIO()
        torch.save({"weight": Attack()}, sink, _use_new_zipfile_serialization=not legacy)
        yield sink.getvalue()


def tensor_file(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file of any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor_files() -> Iterator[bytes]:
    """Those that lie about what they hold."""
    sound = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    yield from (b"", b"\0" * 8, b"{}", tensor_file(b"{" * 100_000), tensor_file(b"", length=2**63))
    yield tensor_file(sound, length=2**40)
    for change in (
        {"data_offsets": [0, 2**40]},
        {"data_offsets": [4, 0]},
        {"data_offsets": [-4, 0]},
        {"shape": [2**62, 2**62]},
        {"shape": [-1]},
        {"shape": [2**40]},
        {"dtype": "PICKLE"},
        {"dtype": "F4"},
        {"dtype": None},
    ):
        yield tensor_file({"weight": sound | change}, b"\0\0\0\0")
    yield tensor_file({"a": sound, "b": sound}, b"\0\0\0\0")  # one lies over the other
    yield tensor_file({"weight": sound}, b"\0\0\0\0" * 1000)
    yield tensor_file({"__metadata__": {"x": [1]}, "weight": sound}, b"\0\0\0\0")


def payloads(sound: dict[str, Any]) -> Iterator[Any]:
    """JSON of any content, to which the right hash will be given."""
    yield from ([], "x", 7, None, {}, [sound], {"__reduce__": "os.system"})
    for change in (
        {"trial_id": "../../etc/passwd"},
        {"trial_id": "digits-w1d2-lr0.1-s1-0123456789"},
        {"trial_id": None},
        {"epoch": 1},
        {"epoch": "2"},
        {"epoch": 2.0},
        {"epoch": True},
        {"epoch": 10**400},
        {"kept": "yes"},
        {"tensors_bytes": "many"},
        {"tensors_bytes": -1},
        {"tensors_bytes": None},
        {"tensors_sha256": 0},
        {"tensors_sha256": ["x"]},
        {"rows": {}},
        {"rows": []},
        {"rows": None},
        {"rows": [1, 2]},
        {"rows": [{}, {}]},
        {"rows": [{"finished_at": 0}] * 2},
        {"rows": [{"finished_at": "../../x"}] * 2},
        {"rows": sound["rows"][:1]},
        {"rows": sound["rows"] * 1000},
    ):
        yield sound | change


def state(payload: Any) -> bytes:
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps({"sha256": digest, "payload": payload}).encode()


def attacks(store: LocalStore) -> Iterator[tuple[bytes, bytes]]:
    """Pairs of files of a checkpoint."""
    whole, tensors = store.get(layout.state(ID, 2)), store.get(layout.tensors(ID, 2))
    sound = json.loads(whole)["payload"]
    for data in (*pickles(), *tensor_files()):
        digest = {"tensors_bytes": len(data), "tensors_sha256": hashlib.sha256(data).hexdigest()}
        yield state(sound | digest), data
    for payload in payloads(sound):
        yield state(payload), tensors
    texts = [
        b"[" * 5000,
        b"[" * 200_000,
        b'{"payload":' * 50_000,
        b"\xff\xfe",
        b"",
        b"7",
        b"[1, 2]",
        *pickles(),
    ]
    for text in (*texts, whole[:-20], bytes(len(whole)), whole + b"\0", whole.replace(b"2", b"3")):
        yield text, tensors
    for data in (tensors[:-20], b"", bytes(len(tensors)), tensors + b"\0"):
        yield whole, data
    draws = random.Random(0)
    for _ in range(10):
        at = draws.randrange(len(whole))
        yield whole[:at] + draws.randbytes(3) + whole[at + 3 :], tensors


def fits(found: Checkpoint) -> None:
    """As the engine does."""
    tensors = found.tensors
    if {n: (t.shape, t.dtype) for n, t in tensors.items()} != {
        "weight": ((80,), torch.float32),
        "one": ((), torch.float32),
    } and len(tensors.get("weight", ())) != 40:
        raise CorruptData("its tensors are not those of this network")


def test_what_is_damaged_or_means_harm_is_passed_over(store, lease, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for epoch in (1, 2):
        checkpoint.save(store, lease, ID, example(epoch))
    every = list(attacks(store))
    assert len(every) >= 50
    for number, (text, data) in enumerate(every):
        store.put(layout.state(ID, 2), text)
        store.put(layout.tensors(ID, 2), data)
        told: list[str] = []
        rows = checkpoint.resume(store, ID, fits, told.append, last=2)
        assert (len(rows), len(told)) == (1, 1), f"attack {number} was resumed from"
        assert told[0].startswith("checkpoint of epoch 2 is damaged, going back")
        assert layout.checkpoints(ID) in told[0] or "of this network" in told[0]
        assert len(told[0]) < 1000
    assert [path.name for path in tmp_path.iterdir()] == ["results"], "something was run"
