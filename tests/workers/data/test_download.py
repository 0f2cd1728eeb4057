"""A download goes on where it broke off, and only the published bytes are kept."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from small_archives import Server, archive_of, serve

from results_schema.errors import DataError
from workers.data.archives import Archive
from workers.data.download import check_offer, download

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
    download(archive, here)
    assert (here / "a.tgz").read_bytes() == CONTENT
    assert names(here) == ["a.tgz"]


def test_a_broken_download_goes_on_where_it_stopped(server: Server, archive: Archive, here: Path):
    server.cut = 400
    download(archive, here)
    assert (here / "a.tgz").read_bytes() == CONTENT
    assert server.asked == ["GET bytes=0-", "GET bytes=400-", "GET bytes=800-"]


def test_the_next_call_goes_on_with_what_an_earlier_one_left(
    server: Server, archive: Archive, here: Path
):
    server.cut = 100
    with pytest.raises(DataError, match=r"can't be downloaded: broke off after 300 bytes\n  put a"):
        download(archive, here)
    assert names(here) == ["a.tgz.part"]
    server.cut = 1000
    download(archive, here)
    assert server.asked[-1] == "GET bytes=300-"
    assert (here / "a.tgz").read_bytes() == CONTENT


def test_a_server_that_cannot_go_on_begins_again(server: Server, archive: Archive, here: Path):
    (here / "a.tgz.part").write_bytes(CONTENT[:300])
    server.ranges = False
    download(archive, here)
    assert (here / "a.tgz").read_bytes() == CONTENT


@pytest.mark.parametrize("part", [CONTENT, CONTENT + b"too long"])
def test_a_part_of_full_length_is_used_if_it_is_sound(archive: Archive, here: Path, part: bytes):
    (here / "a.tgz.part").write_bytes(part)
    download(archive, here)
    assert (here / "a.tgz").read_bytes() == CONTENT


def test_other_bytes_than_the_published_are_not_kept(server: Server, archive: Archive, here: Path):
    (server.folder / "a.tgz").write_bytes(bytes(len(CONTENT)))
    with pytest.raises(DataError, match=f"the download has MD5 .*, not {archive.md5}"):
        download(archive, here)
    assert names(here) == []


def test_no_more_is_written_than_was_published(server: Server, archive: Archive, here: Path):
    (server.folder / "a.tgz").write_bytes(CONTENT + bytes(1 << 16))
    download(archive, here)
    assert (here / "a.tgz").read_bytes() == CONTENT


def test_a_missing_file_and_a_missing_server_say_what_to_do(archive: Archive, here: Path):
    gone = replace(archive, url=archive.url.replace("a.tgz", "b.tgz"))
    with pytest.raises(DataError, match=r"b\.tgz: can't be downloaded: Not Found\n  put a\.tgz \("):
        download(gone, here)
    with pytest.raises(DataError, match=r"refused\n  put a\.tgz \(1,000 bytes, MD5 .* into .*here"):
        download(replace(archive, url="http://127.0.0.1:9/a.tgz"), here)
    assert not (here / "a.tgz").exists()


def test_an_offer_is_checked_without_a_download(server: Server, archive: Archive, here: Path):
    check_offer(archive, here)
    assert server.asked == ["HEAD -"]
    with pytest.raises(DataError, match="the server offers 1000 bytes, not 1001"):
        check_offer(replace(archive, size=1001), here)
    with pytest.raises(DataError, match="Not Found"):
        check_offer(replace(archive, url=f"{server.url}/b.tgz"), here)
    assert names(here) == []
