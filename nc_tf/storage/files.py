"""Writing files whole or not at all, deleting them, and knowing a plain file from what only looks like one."""

import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nc_tf.errors import InputError

# The names of temporary files, which nobody else gives to a file.
_TEMPORARY = re.compile(r"\.nc_tf-[0-9a-f]{16}\.part(\.[^.]+)?", re.DOTALL)


@contextmanager
def whole_file(path: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on any failure it disappears.

    A killed process leaves the old file or the new one, never half of one. A durable file reaches the disk before the rename, so that the
    same holds for a machine that loses its power; for what is written every few seconds that takes too long.
    The temporary name keeps the suffix of `path`, because savers such as Keras choose the format by it. A link at `path` is replaced, not
    followed; the temporary file is there when its path is yielded, so that no link can wait for whoever opens it.

    Raises:
        InputError: the folder cannot be made or written to, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".nc_tf-{secrets.token_hex(8)}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        yield temporary
        if durable:
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(
            f"{path} could not be written ({error.strerror or error}): expected a writable folder with room left; choose another one"
        ) from error
    finally:
        with suppress(OSError):  # not there, or its folder is no folder: an error here would hide the one above
            temporary.unlink()


def plain(path: Path, most: int | None = None) -> Path:
    """Return `path` if what lies there is a plain file, or nothing.

    A folder that comes from a stranger may hold links to files elsewhere, or pipes, which whoever opens them waits at for ever.

    Args:
        path: which.
        most: bytes that it may have; None for any number.

    Raises:
        InputError: it is a link, a pipe, a device or a folder, or too large.
    """
    try:
        found = path.lstat()
    except OSError:
        return path  # whoever opens it says what is wrong
    if not stat.S_ISREG(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device"
        raise InputError(f"{path} is {kind}: expected a plain file; copy the content to its place")
    if most is not None and found.st_size > most:
        raise InputError(f"{path} has {found.st_size} bytes: expected at most {most}; it is not what nc-tf wrote")
    return path


def subfolder(folder: Path, *names: str) -> Path:
    """Return the path of a folder within a folder.

    Raises:
        InputError: a link lies there, or on the way: what is read or written there would lie elsewhere.
    """
    path = folder
    for name in names:
        path = path / name
        if os.path.islink(path):
            raise InputError(f"{path} is a link: expected a folder of its own; copy what it leads to into its place")
    return path


def delete(paths: Iterable[Path]) -> None:
    """Delete files that may be gone already.

    Raises:
        InputError: one cannot be deleted.
    """
    for path in list(paths):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{path} could not be deleted ({error.strerror}): expected a writable folder; choose another one") from error


def clear_leftovers(folder: Path) -> None:
    """Delete the temporary files that killed processes left in a folder; no other process may be writing to it."""
    delete(path for path in folder.glob(".nc_tf-*") if _TEMPORARY.fullmatch(path.name))
