"""Resumable download of a large file over an unreliable connection, with a checksum."""

import hashlib
import http.client
import os
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from nc_tf.errors import InputError

BLOCK = 1 << 18  # bytes; small enough that an interrupt loses little
TIMEOUT = 30.0  # seconds without a byte before the connection counts as lost
TRIES = 4  # connections in one call; a later call resumes where this one stopped


class _ConnectionLost(Exception):
    """The connection failed or ended early; the bytes received stay."""


class _StartOver(Exception):
    """The bytes received are of no use; they are dropped, and the next connection requests the whole file."""


def fetch(url: str, path: str | Path, *, md5: str, size: int | None = None) -> Path:
    """Download a file unless it exists with the right checksum.

    Bytes go to `path` + ".part", which an interrupt leaves behind and the next call continues with an HTTP Range request. The checksum
    is taken over the whole file before it gets its name, so `path` is never half a file nor a wrong one. The checksum detects damage;
    against forgery only https protects, MD5 does not. Only one process may fetch a file: two would write into the same part.

    Args:
        url: http or https.
        path: path of the file; its folder is made.
        md5: checksum of the whole file, 32 hexadecimal digits.
        size: bytes of the whole file if known: a complete part then needs no connection, and an endless response is cut off.

    Returns:
        `path`.

    Raises:
        InputError: another kind of address, no connection, an HTTP error, a wrong checksum, or a disk that is full or not writable.
    """
    path = Path(path)
    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError(f"{url} cannot be downloaded: expected an address that begins with https:// or http://; check it")
    part = path.with_name(path.name + ".part")
    try:
        if path.is_file() and md5_of(path) == md5:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "ab") as file:
            if size is None or file.tell() != size:
                _complete(url, file, part, md5, size)
            file.flush()
            os.fsync(file.fileno())
        found = md5_of(part)
        if found != md5:
            part.unlink()
            raise InputError(f"{url} arrived with MD5 {found}: expected {md5}; the bad file was removed, run the command again")
        os.replace(part, path)
    except OSError as error:
        raise InputError(
            f"{path} could not be written ({error.strerror or error}): expected a writable folder with room left; "
            "make room or choose another one, then run the command again: the bytes received are kept"
        ) from error
    return path


def _complete(url: str, file: BinaryIO, part: Path, md5: str, size: int | None) -> None:
    """Append to `file` until it is whole.

    A lost connection is made again as long as that brings new bytes.
    """
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),  # stdout belongs to the results
    )
    with progress:
        task = progress.add_task(part.name.removesuffix(".part"), total=size)
        for attempt in range(TRIES):
            before = file.tell()
            try:
                return _continue(url, file, part, md5, size, progress, task)
            except (_ConnectionLost, _StartOver) as broke:
                if isinstance(broke, _StartOver):
                    _drop(file)
                    before = -1  # an empty file counts as progress here
                if attempt == TRIES - 1 or file.tell() <= before:
                    received = f"; {file.tell():,} bytes are kept" if file.tell() else ""
                    raise InputError(
                        f"{url} could not be downloaded ({broke}): expected a network connection to the end; "
                        f"check it and run the command again{received}"
                    ) from broke


def _continue(url: str, file: BinaryIO, part: Path, md5: str, size: int | None, progress: Progress, task: TaskID) -> None:
    """Request the missing bytes over one connection, and append them."""
    offset = file.tell()
    if size is not None and offset > size:
        raise _StartOver("the part on disk is longer than the file")
    request = Request(url, headers={"User-Agent": "nc-tf"} | ({"Range": f"bytes={offset}-"} if offset else {}))  # noqa: S310 (checked)
    try:
        response = _http_opener().open(request, timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not offset:
            raise InputError(
                f"{url} answered {error.code} {error.reason}: expected the file; check the address, or try again later"
            ) from error
        # The server has no bytes beyond the part: either the part is complete, or it is not of this file.
        file.flush()
        if md5_of(part) != md5:
            raise _StartOver("the part on disk does not belong to this file") from error
        return
    except (OSError, http.client.HTTPException) as error:
        raise _ConnectionLost(str(getattr(error, "reason", None) or error or type(error).__name__)) from error
    with response:
        if response.status != HTTPStatus.PARTIAL_CONTENT:
            _drop(file)  # a server that cannot resume sends the whole file
            offset = 0
        elif _first_byte(response) != offset:
            raise _StartOver("the server sent another range than requested")
        total = offset + response.length if response.length is not None else size
        progress.update(task, total=total, completed=offset)
        for block in _blocks(response):
            if size is not None and file.tell() + len(block) > size:
                _drop(file)
                raise InputError(f"{url} sends more than {size:,} bytes: expected exactly that many; check the address")
            file.write(block)
            progress.update(task, completed=file.tell())
        if total is not None and file.tell() < total:
            raise _ConnectionLost(f"the connection ended after {file.tell():,} of {total:,} bytes")


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            block = response.read1(BLOCK)  # read() would lose the bytes received before the connection was lost
        except (OSError, http.client.HTTPException) as error:
            raise _ConnectionLost(str(error) or type(error).__name__) from error
        if not block:
            return
        yield block


def _drop(file: BinaryIO) -> None:
    file.truncate(0)
    file.seek(0)


def _first_byte(response: http.client.HTTPResponse) -> int | None:
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _http_opener() -> OpenerDirector:
    """Return an opener for http and https alone.

    The usual one would follow a redirect to ftp.
    """
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(),
        HTTPRedirectHandler(),
        HTTPErrorProcessor(),
        HTTPDefaultErrorHandler(),
        UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def md5_of(path: Path) -> str:
    """Return the MD5 checksum of a file, 32 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
