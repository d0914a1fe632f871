"""Files that hold weights alone, of a network whose architecture is known by its name."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import h5py
import keras

from nc_tf.errors import InputError
from nc_tf.models.ends import by
from nc_tf.models.loading.containers import check_hdf5, file_kind, open_hdf5
from nc_tf.models.loading.load import keras_reason
from nc_tf.models.loading.weight_checks import finish, mark_unset, refuse_nonfinite_weights
from nc_tf.models.loading.weights import assign, pair_by_name, pair_weights
from nc_tf.models.networks.architectures import NETWORKS


def load_weights(path: str | Path, architecture: str, *, image_shape: Sequence[int] | None = None) -> keras.Model:
    """Load a network of `NETWORKS` out of a file of weights, or of a whole `.h5` model of it.

    Files of `save_weights` of Keras 2 and 3 are read, and the weights published for CSAW-HackML-2020. Nothing in the file runs.

    Args:
        path: `.h5`, such as `name.weights.h5`.
        architecture: a name in `NETWORKS`.
        image_shape: (H, W, C), for clips (T, H, W, C); by default the network's own. The number of classes is found in the file.

    Returns:
        The network, uncompiled; its attribute `nc_tf_weights_of` is the name of the architecture.

    Raises:
        InputError: no such file, or its arrays are not those of this network.
    """
    path = Path(path)
    if file_kind(path) != "hdf5":
        raise InputError(f"{path} is no HDF5 file: expected weights of {architecture}, .h5; leave --weights-of out if it is a whole model")
    with open_hdf5(path, path) as file:
        check_hdf5(file, path, path.stat().st_size)
        model = _fitting_network(file, path, architecture, image_shape)
        mark_unset(model)
        group = file["model_weights"] if isinstance(file.get("model_weights"), h5py.Group) else file
        old = "layer_names" in group.attrs or "layer_names0" in group.attrs
        if old:
            named = all(layer.name in group for layer in model.layers if layer.weights)
            assign((pair_by_name if named else pair_weights)(model, file, path))
    if not old:
        try:
            model.load_weights(path)
        except Exception as error:  # Keras raises whatever a wrong file happens to hit
            raise InputError(f"{path}: expected weights of {architecture} ({keras_reason(error)}); choose the file made for it") from error
    finish(model, path)
    refuse_nonfinite_weights(model, path)
    model.nc_tf_weights_of = architecture
    return model


def _fitting_network(file: h5py.File, path: Path, architecture: str, image_shape: Sequence[int] | None) -> keras.Model:
    """Return the network with the number of classes at which its weights have the shapes of a file's arrays.

    Raises:
        InputError: no number of classes does, or the network cannot be built for such images.
    """
    stored: Counter[tuple[int, ...]] = Counter()
    file.visititems(lambda _, found: stored.update([tuple(found.shape)]) if isinstance(found, h5py.Dataset) else None)
    sizes = {shape[0] for shape in stored if len(shape) == 1} & {shape[1] for shape in stored if len(shape) == 2}
    shape = [] if image_shape is None else [tuple(image_shape)]
    for num_classes in sorted(sizes - {1}):
        try:
            model = NETWORKS[architecture](num_classes, *shape)
        except InputError:
            raise
        except ValueError as error:  # the convolutions leave nothing of it
            size, reason = by(shape[0]), keras_reason(error)
            raise InputError(f"--image-shape {size}: expected images that {architecture} can read ({reason}); correct it") from error
        if Counter(tuple(weight.shape) for weight in model.weights) <= stored:
            return model
    size = f"images of {by(shape[0])}" if shape else "images of its usual shape"
    found = sum(math.prod(one) * count for one, count in stored.items())
    raise InputError(
        f"{path}: its {sum(stored.values())} arrays of {found} values are not the weights of {architecture} for {size}; "
        "expected those; name the network with --weights-of, and its images with --image-shape HxWxC"
    )
