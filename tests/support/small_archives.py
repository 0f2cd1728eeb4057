"""Small archives in the published formats, and a server that offers them."""

import hashlib
import io
import tarfile
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import cast

import numpy as np
from PIL import Image

from workers.data.catalog import DATASETS, Archive, Dataset, Split

NOWHERE = "http://127.0.0.1:9"
"""Nothing listens there."""

SMALL = {
    "cifar10": replace(DATASETS["cifar10"], size=8, train=20, test=6),
    "cifar100": replace(DATASETS["cifar100"], size=8, train=20, test=6),
    "tiny_imagenet": replace(DATASETS["tiny_imagenet"], classes=3, train=6, test=4),
}
"""The published sets, with fewer and smaller images."""

WNIDS = ["n02", "n01", "n03"]
"""Classes in the order of the small wnids.txt, which is not theirs."""

Members = Mapping[str, bytes]


def archive_of(path: Path, url: str = NOWHERE) -> Archive:
    """What a publisher would say of this file."""
    data = path.read_bytes()
    digest = hashlib.md5(data).hexdigest()
    return Archive(path.name, f"{url}/{path.name}", len(data), digest, pickled="small-python.tar")


def write_tar(path: Path, members: Iterable[tuple[str | tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member, data in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            if info.isreg():
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_zip(path: Path, members: Iterable[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that comes twice
        for member, data in members:
            archive.writestr(member, data)
    return path


def draw(name: str) -> Split:
    """Seeded noise in the shape of a small set."""
    about, stream = SMALL[name], np.random.RandomState(0)
    shape = (about.channels, about.size, about.size)
    parts = [
        (stream.randint(256, size=(count, *shape)).astype(np.uint8), stream.randint(10, size=count))
        for count in (about.train, about.test)
    ]
    return Split(*parts[0], *parts[1])


def cifar10_members(split: Split) -> dict[str, bytes]:
    train, train_labels, test, test_labels = split
    folder = "cifar-10-batches-bin"
    batches = {
        f"{folder}/data_batch_{number + 1}.bin": _records(images, labels)
        for number, (images, labels) in enumerate(
            zip(np.split(train, 5), np.split(train_labels, 5), strict=True)
        )
    }
    return {
        f"{folder}/batches.meta.txt": b"airplane\nautomobile\n",
        **batches,
        f"{folder}/test_batch.bin": _records(test, test_labels),
    }


def cifar100_members(split: Split) -> dict[str, bytes]:
    train, train_labels, test, test_labels = split
    return {
        "cifar-100-binary/fine_label_names.txt": b"apple\naquarium_fish\n",
        "cifar-100-binary/train.bin": _records(train, np.full(len(train), 77), train_labels),
        "cifar-100-binary/test.bin": _records(test, np.full(len(test), 77), test_labels),
    }


def tiny_imagenet_members() -> dict[str, bytes]:
    """Plain colours: image i of class n0k is (80 k, 40 i, 0); the first of n01 is grey, 90."""
    root = "tiny-imagenet-200"
    members = {
        f"{root}/wnids.txt": "\n".join(WNIDS).encode() + b"\n",
        f"{root}/words.txt": b"n01\tsomething\n",
        f"{root}/test/images/test_0.JPEG": jpeg((1, 2, 3)),
    }
    for k, name in enumerate(("n01", "n02", "n03"), start=1):
        members[f"{root}/train/{name}/{name}_boxes.txt"] = b"\n"
        for i in range(2):
            colour = 90 if (k, i) == (1, 0) else (80 * k, 40 * i, 0)
            members[f"{root}/train/{name}/images/{name}_{i}.JPEG"] = jpeg(colour)
    lines = []
    for i, name in enumerate(("n03", "n01", "n03", "n02")):
        members[f"{root}/val/images/val_{i}.JPEG"] = jpeg((0, 0, 60 * i))
        lines.append(f"val_{i}.JPEG\t{name}\t0\t0\t62\t62\n")
    return {**members, f"{root}/val/val_annotations.txt": "".join(lines).encode()}


def jpeg(colour: int | tuple[int, int, int], size: int = 64, format: str = "JPEG") -> bytes:
    mode = "L" if isinstance(colour, int) else "RGB"
    data = io.BytesIO()
    Image.new(mode, (size, size), colour).save(data, format, quality=95)
    return data.getvalue()


def publish(name: str, folder: Path, members: Members | None = None, url: str = NOWHERE) -> Dataset:
    """Writes a small archive of a published set into the folder; its entry in the catalog."""
    if name == "tiny_imagenet":
        path = write_zip(folder / "tiny.zip", (members or tiny_imagenet_members()).items())
    elif name == "cifar10":
        path = write_tar(folder / "c10.tgz", (members or cifar10_members(draw(name))).items())
    else:
        path = write_tar(folder / "c100.tgz", (members or cifar100_members(draw(name))).items())
    return replace(SMALL[name], archive=archive_of(path, url))


class Server(ThreadingHTTPServer):
    """Offers the files of a folder; `cut` breaks each answer off after so many bytes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.cut, self.ranges = folder, 1 << 30, True
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    with Server(folder) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: object) -> None:
        return

    def _answer(self, *, body: bool) -> None:
        server = cast(Server, self.server)
        span = self.headers.get("Range", "-")
        server.asked.append(f"{self.command} {span}")
        path = server.folder / self.path.strip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        start = int(span.removeprefix("bytes=").rstrip("-") or 0) if server.ranges else 0
        if start and start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if body:
            self.wfile.write(data[start : start + server.cut])


def _records(images: np.ndarray, *labels: np.ndarray) -> bytes:
    heads = np.stack(labels, axis=1).astype(np.uint8)
    return np.concatenate([heads, images.reshape(len(images), -1)], axis=1).tobytes()
