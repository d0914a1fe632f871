"""Writing Keras models whole or not at all."""

import os
from pathlib import Path

import keras

from nc_tf.errors import InputError
from nc_tf.models.keras_internals import save_hdf5
from nc_tf.storage.files import whole_file
from nc_tf.storage.hdf5_file import whole_hdf5


def check_model_file(path: str | Path, *read: str | Path) -> Path:
    """Refuse a place that Keras could not save to, before hours are spent on what should go there; and any of what is `read`.

    Raises:
        InputError: the suffix is neither .keras nor .h5, it is a folder, the folder cannot be made or written to, or it is what is read.
    """
    path = Path(path)
    if path.suffix not in (".keras", ".h5"):
        raise InputError(f"{path}: expected a name that ends in .keras or .h5, the two formats of Keras; rename it")
    try:
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        taken, itself = path.is_dir(), path.resolve() in [Path(other).resolve() for other in read]
    except (OSError, RuntimeError) as error:  # too long a name, a loop of links, a current folder that was deleted
        raise InputError(f"{path} cannot be written ({error}): expected the name of a file in a writable folder; choose another") from error
    if taken or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        what, why = (path, "a folder") if taken else (folder, "no folder to write to")
        raise InputError(f"{path} cannot be written ({what} is {why}): expected the name of a file in a writable folder; choose another")
    if itself:
        raise InputError(f"{path} is what is read: expected another name; the given model and data stay as they are")
    return path


def save_model(model: keras.Model, path: str | Path) -> None:
    """Save architecture and weights, without the optimiser's state."""
    path, bare = check_model_file(path), _bare(model)
    if path.suffix == ".h5":
        with whole_hdf5(path) as file:
            save_hdf5(bare, file)
    else:
        with whole_file(path) as temporary:
            bare.save(temporary)


def _bare(model: keras.Model) -> keras.Model:
    """An uncompiled copy: a `.keras` file gets Adam's moments, twice the size of the weights, whatever `include_optimizer` says."""
    try:
        bare = type(model).from_config(model.get_config())
    except (NotImplementedError, TypeError, ValueError):  # a subclass; then the file is larger
        return model
    bare.set_weights(model.get_weights())
    return bare
