"""Writing files whole or not at all, and deleting them."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nc_tf.errors import InputError


@contextmanager
def whole_file(path: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on any failure it disappears.

    A killed process leaves the old file or the new one, never half of one. A durable file reaches the disk before the rename, so that the
    same holds for a machine that loses its power; for what is written every few seconds that takes too long.
    The temporary name keeps the suffix of `path`, because savers such as Keras choose the format by it.

    Raises:
        InputError: the folder cannot be made or written to, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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
    delete(folder.glob(".*.[0-9]*.part*"))
