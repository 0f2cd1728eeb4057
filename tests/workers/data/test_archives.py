"""Only the published archive is downloaded and read, and no member leaves it."""

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_archives import Server, archive_of, serve, write_tar, write_zip

from results_schema.errors import DataError
from workers.data.archives import Archive, open_zip, read_tar

OUTSIDE = ["../evil", "a/../../evil", "/etc/evil", "C:\\evil", "C:evil", "a\\..\\..\\evil"]


def tar_member(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def zip_member(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def read(path: Path, *wanted: str, most: int = 100) -> dict[str, bytes]:
    with path.open("rb") as file:
        return read_tar(file, wanted, most)


def unzip(path: Path, most: int = 100) -> dict[str, bytes]:
    with path.open("rb") as file, open_zip(file, most) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_wanted_members_of_a_tar_are_read(tmp_path: Path):
    members = [("a/x", b"one"), (tar_member("a/b", tarfile.DIRTYPE), b""), ("./a/b/y", b"two")]
    path = write_tar(tmp_path / "a.tgz", members)
    assert read(path, "a/x", "a/b/y") == {"a/x": b"one", "a/b/y": b"two"}
    assert [p.name for p in tmp_path.iterdir()] == ["a.tgz"]


def test_a_member_that_a_tar_lacks_is_named(tmp_path: Path):
    path = write_tar(tmp_path / "a.tgz", [("a/x", b"one")])
    with pytest.raises(DataError, match=r"a\.tgz: lacks a/y, a/z"):
        read(path, "a/z", "a/y", "a/x")


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_member_outside_the_archive_is_refused(tmp_path: Path, name: str):
    tar = write_tar(tmp_path / "a.tgz", [("x", b""), (name, b"evil")])
    with pytest.raises(DataError) as error:
        read(tar, "x")
    assert f"member {name!r} is outside the archive" in str(error.value)
    packed = write_zip(tmp_path / "a.zip", [("x", b""), (name, b"evil")])
    with pytest.raises(DataError, match="is outside the archive"):
        unzip(packed)


@pytest.mark.parametrize(
    ("member", "what"),
    [
        (tar_member("a/l", tarfile.SYMTYPE, "/etc/passwd"), "is a symbolic link"),
        (tar_member("a/l", tarfile.LNKTYPE, "a/x"), "is a hard link"),
        (tar_member("a/l", tarfile.CHRTYPE), "is no plain file"),
        (tar_member("a/l", tarfile.BLKTYPE), "is no plain file"),
        (tar_member("a/l", tarfile.FIFOTYPE), "is no plain file"),
        (tarfile.TarInfo("./a/x"), "comes twice"),
    ],
)
def test_a_tar_with_a_strange_member_is_refused(tmp_path: Path, member: tarfile.TarInfo, what: str):
    path = write_tar(tmp_path / "a.tgz", [("a/x", b"one"), (member, b"")])
    with pytest.raises(DataError, match=rf"a\.tgz: member '{member.name}' {what}\n  .*delete it"):
        read(path, "a/x")


@pytest.mark.parametrize(
    ("member", "what"),
    [
        (zip_member("a/l", 0o120777), "is a symbolic link"),
        (zip_member("a/l", 0o020666), "is no plain file"),
        (zip_member("a/l", 0o010666), "is no plain file"),
        (zip_member("a/x", 0o100644), "comes twice"),
    ],
)
def test_a_zip_with_a_strange_member_is_refused(tmp_path: Path, member: zipfile.ZipInfo, what: str):
    path = write_zip(tmp_path / "a.zip", [("a/x", b"one"), (member, b"/etc/passwd")])
    with pytest.raises(DataError, match=rf"a\.zip: member '{member.filename}' {what}"):
        unzip(path)


def test_an_encrypted_member_is_refused(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", [("a/x", b"one")])
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="member 'a/x' is encrypted"):
        unzip(path)


def test_a_tar_that_unpacks_to_too_much_is_refused_before_it_does(tmp_path: Path):
    path = write_tar(tmp_path / "a.tgz", [("a/x", b"one"), ("bomb", bytes(3 << 20))])
    with pytest.raises(DataError, match="member 'bomb' makes it unpack to more than 1,048,676"):
        read(path, "a/x")


def test_a_tar_whose_header_is_a_bomb_is_refused(tmp_path: Path):
    """The size of a name is in the archive's hands, and tarfile would read it whole."""
    path, header = tmp_path / "a.tgz", tar_member("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    header.size = 1 << 30
    with gzip.open(path, "wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        file.write(bytes(8 << 20))
    with pytest.raises(DataError, match="unpacks to more than the data set"):
        read(path, "a/x")


def test_a_sparse_member_counts_with_its_full_size(tmp_path: Path):
    sparse = tar_member("holes", tarfile.GNUTYPE_SPARSE)
    header = bytearray(sparse.tobuf(tarfile.GNU_FORMAT))
    header[386 + 12 * 8 + 1 : 386 + 12 * 8 + 13] = b"77777777777\0"  # its real size, 8 GB
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "a.tgz"
    path.write_bytes(gzip.compress(bytes(header) + bytes(1024)))
    with pytest.raises(DataError, match="member 'holes' makes it unpack to more"):
        read(path, "holes")


def test_a_zip_that_unpacks_to_too_much_is_refused(tmp_path: Path):
    bombs = [(f"bomb{number}", bytes(600_000)) for number in range(2)]
    with pytest.raises(DataError, match="member 'bomb1' makes it unpack to more than 1,048,676"):
        unzip(write_zip(tmp_path / "a.zip", bombs))


def test_a_zip_that_lies_about_a_size_gives_no_more_than_it_said(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", [("bomb", bytes(8 << 20))])
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\1\2")
    data[entry + 24 : entry + 28] = struct.pack("<I", 10)
    path.write_bytes(data)
    with pytest.raises(DataError, match="Bad CRC-32"):
        unzip(path)


@pytest.mark.parametrize("keep", [0, 5, 60])
def test_a_torn_archive_cannot_be_read(tmp_path: Path, keep: int):
    tar = write_tar(tmp_path / "a.tgz", [("a/x", bytes(range(256)))])
    tar.write_bytes(tar.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a\.tgz: (can't be read|lacks a/x)"):
        read(tar, "a/x", most=256)
    packed = write_zip(tmp_path / "a.zip", [("a/x", bytes(range(256)))])
    packed.write_bytes(packed.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a\.zip: can't be read"):
        unzip(packed)


def test_a_published_archive_is_opened_at_its_start(tmp_path: Path):
    path = write_tar(tmp_path / "a.tgz", [("a/x", b"one")])
    with archive_of(path).open(path) as file:
        assert read_tar(file, ["a/x"], 3) == {"a/x": b"one"}


@given(bit=st.integers(0, 8 * 100 - 1))
def test_one_flipped_bit_is_caught(tmp_path_factory: pytest.TempPathFactory, bit: int):
    path = tmp_path_factory.getbasetemp() / "flipped.tgz"
    path.write_bytes(bytes(100))
    archive = archive_of(path)
    path.write_bytes((1 << bit).to_bytes(100, "little"))
    with pytest.raises(DataError, match="is damaged: its MD5 is"), archive.open(path):
        pass


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "is incomplete: it has 99 bytes"),
        (lambda path: path.write_bytes(bytes(101)), "is another file: it has 101 bytes, not 100"),
        (lambda path: path.unlink(), "can't be read: No such file"),
        (lambda path: (path.unlink(), path.mkdir()), "is another file|is incomplete|can't be"),
    ],
)
def test_a_wrong_file_is_refused_with_how_to_replace_it(tmp_path: Path, change, what: str):
    path = tmp_path / "a.tgz"
    path.write_bytes(bytes(100))
    archive = archive_of(path)
    change(path)
    with pytest.raises(DataError, match=rf"a\.tgz: ({what})"), archive.open(path):
        pass
    if path.is_file():
        with pytest.raises(DataError, match=r"delete it.*or put a\.tgz \(100 bytes, MD5 .*into "):
            archive.check_size(path)


def test_bytes_that_are_no_archive_cannot_be_read():
    class Named(io.BytesIO):
        name = "some bytes"

    with pytest.raises(DataError, match="some bytes: can't be read: Not a gzipped file"):
        read_tar(Named(b"<html>not found</html>"), ["a"], 10)


CONTENT = bytes(range(250)) * 4


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.tgz").write_bytes(CONTENT)
    with serve(tmp_path / "there") as server:
        yield server


@pytest.fixture
def archive(server: Server) -> Archive:
    return archive_of(server.folder / "a.tgz", server.url)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_an_archive_is_downloaded(archive: Archive, here: Path):
    archive.download(here)
    assert (here / "a.tgz").read_bytes() == CONTENT
    assert names(here) == ["a.tgz"]


def test_a_broken_download_resumes_where_it_stopped(server: Server, archive: Archive, here: Path):
    server.cut = 400
    archive.download(here)
    assert (here / "a.tgz").read_bytes() == CONTENT
    assert server.asked == ["GET bytes=0-", "GET bytes=400-", "GET bytes=800-"]


def test_the_next_call_resumes_what_an_earlier_one_began(
    server: Server, archive: Archive, here: Path
):
    server.cut = 100
    with pytest.raises(DataError, match=r"can't be downloaded: broke off after 300 bytes\n  put a"):
        archive.download(here)
    assert names(here) == ["a.tgz.part"]
    server.cut = 1000
    archive.download(here)
    assert server.asked[-1] == "GET bytes=300-"
    assert (here / "a.tgz").read_bytes() == CONTENT


def test_a_server_that_cannot_resume_begins_again(server: Server, archive: Archive, here: Path):
    (here / "a.tgz.part").write_bytes(CONTENT[:300])
    server.ranges = False
    archive.download(here)
    assert (here / "a.tgz").read_bytes() == CONTENT


@pytest.mark.parametrize("part", [CONTENT, CONTENT + b"too long"])
def test_a_part_of_full_length_is_used_if_it_is_sound(archive: Archive, here: Path, part: bytes):
    (here / "a.tgz.part").write_bytes(part)
    archive.download(here)
    assert (here / "a.tgz").read_bytes() == CONTENT


def test_other_bytes_than_the_published_are_not_kept(server: Server, archive: Archive, here: Path):
    (server.folder / "a.tgz").write_bytes(bytes(len(CONTENT)))
    with pytest.raises(DataError, match=f"the download has MD5 .*, not {archive.md5}"):
        archive.download(here)
    assert names(here) == []


def test_no_more_is_written_than_was_published(server: Server, archive: Archive, here: Path):
    (server.folder / "a.tgz").write_bytes(CONTENT + bytes(1 << 16))
    archive.download(here)
    assert (here / "a.tgz").read_bytes() == CONTENT


def test_a_missing_file_and_a_missing_server_say_what_to_do(archive: Archive, here: Path):
    gone = replace(archive, url=archive.url.replace("a.tgz", "b.tgz"))
    with pytest.raises(DataError, match=r"b\.tgz: can't be downloaded: Not Found\n  put a\.tgz \("):
        gone.download(here)
    with pytest.raises(DataError, match=r"refused\n  put a\.tgz \(1,000 bytes, MD5 .* into .*here"):
        replace(archive, url="http://127.0.0.1:9/a.tgz").download(here)
    assert not (here / "a.tgz").exists()


def test_an_offer_is_checked_without_a_download(server: Server, archive: Archive, here: Path):
    archive.check_offer(here)
    assert server.asked == ["HEAD -"]
    with pytest.raises(DataError, match="the server offers 1000 bytes, not 1001"):
        replace(archive, size=1001).check_offer(here)
    with pytest.raises(DataError, match="Not Found"):
        replace(archive, url=f"{server.url}/b.tgz").check_offer(here)
    assert names(here) == []
