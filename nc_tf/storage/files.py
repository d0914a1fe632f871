"""Files that are written whole or not at all, deletion of files, and checks that a path is a plain file."""

import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nc_tf.errors import InputError

# The names of temporary files; 16 random digits keep them apart from any other file.
_TEMPORARY = re.compile(r"\.nc_tf-[0-9a-f]{16}\.part(\.[^.]+)?", re.DOTALL)


@contextmanager
def whole_file(path: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` on success.

    On any failure the temporary file is deleted.

    A killed process leaves the old file or the new one, never half of one. A durable file reaches the disk before the rename, so that the
    same holds after a power cut. This costs too much time for files that are written every few seconds.
    The temporary name keeps the suffix of `path`, because savers such as Keras choose the format by it. A link at `path` is replaced, not
    followed. The temporary file exists when its path is yielded, so that no other process can plant a link there.

    Args:
        path: the file.
        durable: force the content to the disk before the rename.

    Yields:
        The temporary path to write to.

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


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all; see `whole_file`."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def plain(path: Path, most: int | None = None) -> Path:
    """Return `path` if a plain file lies there, or nothing.

    A folder from a stranger may hold links to files elsewhere, or pipes, whose reading never ends.

    Args:
        path: the file.
        most: bytes that it may have; None for any number.

    Returns:
        The same path.

    Raises:
        InputError: a link, a pipe, a device or a folder lies there, or a file that is too large.
    """
    try:
        found = path.lstat()
    except OSError:
        return path  # opening it raises the error that says what is wrong
    if not stat.S_ISREG(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device"
        raise InputError(f"{path} is {kind}: expected a plain file; copy the content to its place")
    if most is not None and found.st_size > most:
        raise InputError(f"{path} has {found.st_size} bytes: expected at most {most}; it is not what nc-tf wrote")
    return path


def subfolder(folder: Path, *names: str) -> Path:
    """Return the path of a folder within a folder.

    Raises:
        InputError: the folder, or one above it within `folder`, is a link, which leads elsewhere.
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
        InputError: a file cannot be deleted.
    """
    for path in list(paths):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{path} could not be deleted ({error.strerror}): expected a writable folder; choose another one") from error


def clear_leftovers(folder: Path) -> None:
    """Delete the temporary files that killed processes left.

    No other process may be writing to the folder.
    """
    delete(path for path in folder.glob(".nc_tf-*") if _TEMPORARY.fullmatch(path.name))
