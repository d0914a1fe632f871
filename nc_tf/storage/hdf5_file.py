"""HDF5 files that are written whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from nc_tf.storage.files import whole_file


@contextmanager
def whole_hdf5(path: str | Path) -> Iterator[h5py.File]:
    """Yield an HDF5 file in memory that becomes `path` at the end.

    `whole_file` does the writing. HDF5 itself raises other errors than OSError on a full disk, and again when the file is closed.

    Raises:
        InputError: the folder cannot be made or written to, or the disk is full.
    """
    with whole_file(path) as temporary, h5py.File(str(temporary), "w", driver="core", backing_store=False) as file:
        yield file
        file.flush()
        temporary.write_bytes(file.id.get_file_image())
