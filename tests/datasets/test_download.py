"""Downloads from a local server that resumes, does not, or closes the connection; its log is the proof."""

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nc_tf.datasets import download
from nc_tf.datasets.download import fetch
from nc_tf.errors import InputError

CONTENT = bytes(range(256)) * 4000
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
HALF = len(CONTENT) // 2


class Server:
    """Serves CONTENT under every path; `behaviour` says how, `log` holds (Range header, status) of every request."""

    def __init__(self) -> None:
        self.behaviour = "range"  # or: no range, cut once, cut at half, wrong range, chunked, error, ftp, endless
        self.log: list[tuple[str | None, int]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/file.zip"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.behaviour != "no range" else 0
        status = 200 if not start else 206 if start < len(CONTENT) else 416
        status = {"error": 404, "ftp": 302}.get(self.behaviour, status)
        self.log.append((asked, status))
        handler.send_response(status)
        if status == 302:
            handler.send_header("Location", "ftp://127.0.0.1/file.zip")
        if status not in (200, 206):
            handler.end_headers()
            return
        if status == 206:
            first = start + 1 if self.behaviour == "wrong range" else start
            handler.send_header("Content-Range", f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}")
        body = CONTENT[start:]
        if self.behaviour != "endless":
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if self.behaviour in ("cut once", "cut at half"):
            body = CONTENT[start:HALF]
        if self.behaviour in ("cut once", "wrong range"):
            self.behaviour = "range"
        if self.behaviour == "endless":
            body *= 2
        handler.wfile.write(body)

    def close(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = Server()
    yield running
    running.close()


def part_of(path: Path, content: bytes) -> Path:
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    return part


def test_a_file_arrives_whole_and_a_second_call_asks_for_nothing(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.zip"
    assert fetch(server.url, path, md5=MD5) == path
    fetch(server.url, path, md5=MD5)
    assert path.read_bytes() == CONTENT
    assert server.log == [(None, 200)]
    assert os.listdir(path.parent) == ["file.zip"]


def test_a_file_with_another_checksum_is_replaced(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "file.zip"
    path.write_bytes(b"old")
    fetch(server.url, path, md5=MD5)
    assert path.read_bytes() == CONTENT


def test_a_cut_line_is_taken_up_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.behaviour = "cut once"
    fetch(server.url, tmp_path / "file.zip", md5=MD5)
    assert server.log == [(None, 200), (f"bytes={HALF}-", 206)]
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_a_line_that_stays_dead_keeps_the_part_for_the_next_call(server: Server, tmp_path: Path) -> None:
    server.behaviour = "cut at half"
    path = tmp_path / "file.zip"
    with pytest.raises(InputError, match=rf"the connection ended after {HALF:,} of .* {HALF:,} bytes are kept"):
        fetch(server.url, path, md5=MD5)
    assert os.listdir(tmp_path) == ["file.zip.part"]
    server.behaviour = "range"
    server.log.clear()
    fetch(server.url, path, md5=MD5)
    assert server.log == [(f"bytes={HALF}-", 206)]
    assert path.read_bytes() == CONTENT


def test_an_interrupt_keeps_the_part(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole: Callable[..., Iterator[bytes]] = download._blocks

    def interrupted(response: object) -> Iterator[bytes]:
        yield next(whole(response))
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "_blocks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(server.url, tmp_path / "file.zip", md5=MD5)
    arrived = (tmp_path / "file.zip.part").stat().st_size
    monkeypatch.undo()
    fetch(server.url, tmp_path / "file.zip", md5=MD5)
    assert arrived > 0
    assert server.log[-1] == (f"bytes={arrived}-", 206)


def test_a_server_that_cannot_resume_sends_the_whole_file(server: Server, tmp_path: Path) -> None:
    server.behaviour = "no range"
    part_of(tmp_path / "file.zip", b"x" * 1000)
    fetch(server.url, tmp_path / "file.zip", md5=MD5)
    assert server.log == [("bytes=1000-", 200)]
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_another_range_than_asked_for_starts_over(server: Server, tmp_path: Path) -> None:
    server.behaviour = "wrong range"
    part_of(tmp_path / "file.zip", CONTENT[:1000])
    fetch(server.url, tmp_path / "file.zip", md5=MD5)
    assert server.log == [("bytes=1000-", 206), (None, 200)]


def test_a_complete_part_is_taken_when_nothing_lies_beyond(server: Server, tmp_path: Path) -> None:
    part_of(tmp_path / "file.zip", CONTENT)
    fetch(server.url, tmp_path / "file.zip", md5=MD5)
    assert server.log == [(f"bytes={len(CONTENT)}-", 416)]
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_a_complete_part_of_known_size_needs_no_connection(server: Server, tmp_path: Path) -> None:
    part_of(tmp_path / "file.zip", CONTENT)
    fetch(server.url, tmp_path / "file.zip", md5=MD5, size=len(CONTENT))
    assert server.log == []


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_part_that_is_too_long_starts_over(server: Server, tmp_path: Path, size: int | None) -> None:
    part_of(tmp_path / "file.zip", CONTENT + b"more")
    fetch(server.url, tmp_path / "file.zip", md5=MD5, size=size)
    assert server.log[-1] == (None, 200)
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_the_file_removed(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"arrived with MD5 {MD5}: expected {'0' * 32}; the bad file was removed"):
        fetch(server.url, tmp_path / "file.zip", md5="0" * 32)
    assert os.listdir(tmp_path) == []


def test_a_part_of_another_file_is_refused_and_removed(server: Server, tmp_path: Path) -> None:
    part_of(tmp_path / "file.zip", b"x" * 1000)
    with pytest.raises(InputError, match="the bad file was removed, run the command again"):
        fetch(server.url, tmp_path / "file.zip", md5=MD5)
    fetch(server.url, tmp_path / "file.zip", md5=MD5)
    assert server.log == [("bytes=1000-", 206), (None, 200)]


def test_an_endless_answer_is_cut_off(server: Server, tmp_path: Path) -> None:
    server.behaviour = "endless"
    with pytest.raises(InputError, match=r"sends more than 1,024,000 bytes: expected exactly that many"):
        fetch(server.url, tmp_path / "file.zip", md5=MD5, size=len(CONTENT))
    assert (tmp_path / "file.zip.part").stat().st_size == 0


def test_an_http_error_is_named(server: Server, tmp_path: Path) -> None:
    server.behaviour = "error"
    with pytest.raises(InputError, match=r"answered 404 Not Found: expected the file; check the address"):
        fetch(server.url, tmp_path / "file.zip", md5=MD5)


def test_a_redirect_away_from_http_is_not_followed(server: Server, tmp_path: Path) -> None:
    server.behaviour = "ftp"
    with pytest.raises(InputError, match=r"could not be downloaded \(unknown url type: ftp\)"):
        fetch(server.url, tmp_path / "file.zip", md5=MD5)


def test_no_network_is_named(server: Server, tmp_path: Path) -> None:
    server.http.socket.close()  # no server listens at this port any more
    with pytest.raises(InputError, match=r"could not be downloaded \(.*\): expected a network connection .* run the command again"):
        fetch(server.url, tmp_path / "file.zip", md5=MD5)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "no address"])
def test_other_addresses_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected an address that begins with https://"):
        fetch(url, tmp_path / "file.zip", md5=MD5)


def test_a_full_disk_is_named_and_the_part_kept(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"could not be written \(No space left on device\): .* the bytes received are kept"):
        fetch(server.url, tmp_path / "file.zip", md5=MD5)
    assert os.listdir(tmp_path) == ["file.zip.part"]


def test_a_folder_that_cannot_be_made_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="could not be written"):
        fetch(server.url, tmp_path / "file" / "file.zip", md5=MD5)
