"""Writing files whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nc_tf.errors import InputError


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on any failure it disappears.

    The content reaches the disk before the rename, so a killed process leaves the old file or the new one, never half of one.
    The temporary name keeps the suffix of `path`, because savers such as Keras choose the format by it.

    Raises:
        InputError: the folder cannot be made or written to, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
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
