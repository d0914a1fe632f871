"""A lock on a scan folder that the system lifts when its process ends, however it ends."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from nc_tf.errors import InputError
from nc_tf.storage.files import plain, subfolder

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# Errors of the systems for a lock that another process holds, and for a drive without locks.
_HELD, _UNKNOWN = (errno.EWOULDBLOCK, errno.EACCES), (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
# A holder may end, and delete the file, between opening and locking here; this does not happen a hundred times in a row.
ATTEMPTS = 100


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Keep every other scan out of a scan folder.

    Reading needs no lock. The lock belongs to the open file `state/lock`, so that the system lifts it when the process ends, even by
    SIGKILL. The file is deleted at the end, and with it the empty folders that were made for it. A drive without locks has none.

    Raises:
        InputError: another scan holds the lock, or the folder cannot be made or written to.
    """
    path = subfolder(Path(folder), "state") / "lock"
    made = [parent for parent in path.parents if not os.path.lexists(parent)]
    try:
        descriptor = _open_and_lock(path)
    except OSError as error:
        _remove(path, made)
        raise InputError(
            f"{folder} could not be written ({error.strerror or error}): expected a writable folder with room left; choose another one"
        ) from error
    if descriptor is None:
        raise InputError(f"another scan writes to {folder}: expected one at a time; wait for its end, or choose another folder")
    try:
        yield
    finally:
        if sys.platform != "win32":  # deleted while it is held, so that no other holder's file is; Windows deletes no open file
            _remove(path, made)
        os.close(descriptor)
        if sys.platform == "win32":
            _remove(path, made)


def _open_and_lock(path: Path) -> int | None:
    """Return the descriptor of the lock file; None if the lock is held."""
    for _ in range(ATTEMPTS):
        path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            descriptor = os.open(plain(path), os.O_RDWR | os.O_CREAT, 0o666)
            stack.callback(os.close, descriptor)
            if not _lock(descriptor):
                return None
            if _lies_at(path, descriptor):
                stack.pop_all()
                return descriptor
    return None


def _lies_at(path: Path, descriptor: int) -> bool:
    """Return whether the open file still has its name.

    An earlier holder may have deleted it since it was opened.
    """
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        if error.errno not in _UNKNOWN:
            raise
    return True


def _remove(path: Path, made: list[Path]) -> None:
    with suppress(OSError):
        path.unlink()
    for folder in made:  # the innermost first; one that is not empty stays
        with suppress(OSError):
            folder.rmdir()
