"""Opening model files from strangers: `load_model`.

By default a file is data. Its container is checked (`containers`), its architecture is walked against an allow-list (`inspection`), Keras
builds it once without memory to learn what it would allocate, and only then is it built and filled. With `trust_model=True` Keras's
own loader does the work, and whatever the file carries may run.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import keras
import tensorflow as tf

from nc_tf.errors import InputError, quote
from nc_tf.models.adapting import adapt
from nc_tf.models.keras_internals import shared_objects, variables_without_memory
from nc_tf.models.loading.allowed_layers import with_modules
from nc_tf.models.loading.bounds import built_within_bounds, refuse_many_classes, refuse_what_never_fits
from nc_tf.models.loading.containers import (
    RESAVE,
    check_hdf5,
    file_kind,
    open_hdf5,
    scratch_folder,
)
from nc_tf.models.loading.inspection import TRUST, check_config, parse_config
from nc_tf.models.loading.keras_archive import open_keras_archive, refuse_damaged_archive
from nc_tf.models.loading.legacy.architecture import archive_version, is_legacy, modernise, raise_epsilons, without_namespace
from nc_tf.models.loading.legacy.weights import pair_legacy_archive, pair_legacy_weights
from nc_tf.models.loading.quantized import as_float, refuse_quantized_h5
from nc_tf.models.loading.quantized import load_weights as load_quantized_weights
from nc_tf.models.loading.weight_checks import finish, mark_unset, refuse_missing_values, refuse_nonfinite_weights
from nc_tf.models.loading.weights import Pair, assign, pair_weights
from nc_tf.models.random_state import random_state_kept


@random_state_kept()
def load_model(
    path: str | Path, *, trust_model: bool = False, output: str | None = None, image_shape: Sequence[int] | None = None
) -> keras.Model:
    """Load a classifier from a `.keras` or `.h5`/`.hdf5` file (Keras 1, best effort, to 3) or, if trusted, from a SavedModel folder.

    Unless `trust_model` is set nothing in the file runs, no other file is read and no more memory is taken than its weights need. The
    model comes uncompiled, with finite weights that were all read from the file.

    Args:
        path: the file or folder.
        trust_model: let Keras run what the file carries (Lambda layers, custom objects registered by this process, SavedModels).
        output: of several outputs the one with the class scores, see `nc_tf.adapt`.
        image_shape: (H, W, C) of the images that a flat input holds, see `nc_tf.adapt`.

    Returns:
        A model with one input (N, H, W, C) or (N, T, H, W, C) and one output (N, classes); where the file holds another form, such as
        one sigmoid output or flat input, what `nc_tf.adapt` makes of it.

    Raises:
        InputError: one message for each way in which a file is unfit or hostile; `docs/reference/model-files.md` lists them.
    """
    return adapt(load_network(path, trust_model=trust_model), output=output, image_shape=image_shape, name=str(path))


def load_network(path: str | Path, *, trust_model: bool = False) -> keras.Model:
    """The network in a file, in the form that it has there; `load_model` says what is read and what is refused.

    Raises:
        InputError: as `load_model`, but for networks that are no classifiers.
    """
    path = Path(path)
    kind = file_kind(path)
    if kind == "savedmodel":
        if not trust_model:
            raise InputError(f"{path}: a SavedModel is a program that TensorFlow runs, not data; expected .keras or .h5; {TRUST}")
        model = _load_saved_model(path)
    elif kind == "hdf5":
        model = _load_hdf5(path, trust_model)
    else:
        model = _load_keras(path, trust_model)
    refuse_nonfinite_weights(model, path)
    refuse_many_classes(model, path)
    return model


def _load_hdf5(path: Path, trusted: bool) -> keras.Model:
    with open_hdf5(path, path) as file:
        version = _stored_version(file)
        if trusted and not is_legacy(version):
            return _load_trusted(path, ".h5")
        stored = check_hdf5(file, path, path.stat().st_size)
        if is_legacy(version) and file.attrs.get("backend") in ("theano", b"theano"):
            what = f"written by Keras {version} with Theano, whose convolutions turn their kernels around"
            raise InputError(f"{path}: {what}; expected TensorFlow's; load it by Keras 2 on TensorFlow and save it there")
        source = parse_config(stored_config(file, path), path)
        source = without_namespace(source) if is_legacy(version) else with_modules(source)
        config = modernise(source, version, path, trusted=trusted)

        def pairs(model: keras.Model) -> list[Pair]:
            if is_legacy(version):
                return pair_legacy_weights(model, file, source, path, named=version is not None and not version.startswith("1."))
            return pair_weights(model, file, path)

        if not trusted:
            refuse_quantized_h5(config, path)
            check_config(config, path)
            with _skeleton(config, path) as (skeleton, variables):
                pairs(skeleton)
                refuse_missing_values(variables, stored, path)
        model = _build(config, path, trusted)
        if not trusted:
            refuse_what_never_fits(model, path)
        mark_unset(model)
        assign(pairs(model))
        if is_legacy(version):
            raise_epsilons(model, version or "1")
    finish(model, path)
    return model


def _load_keras(path: Path, trusted: bool) -> keras.Model:
    version = archive_version(path)
    if trusted and not is_legacy(version):
        return _load_trusted(path, ".keras")
    with open_keras_archive(path) as (text, weights):
        source = parse_config(text, path)
        source = without_namespace(source) if is_legacy(version) else source
        saved = modernise(source, version, path, trusted=trusted)
        config = as_float(saved)
        if not trusted:
            check_config(config, path)
        with open_hdf5(weights, f"{path} (model.weights.h5)") as file:
            stored = check_hdf5(file, f"{path} (model.weights.h5)", weights.stat().st_size)
            if not trusted:
                with _skeleton(config, path) as (_, variables):
                    refuse_missing_values(variables, stored, path)
            model = _build(config, path, trusted)
            if not trusted:
                refuse_what_never_fits(model, path)
            mark_unset(model)
            if is_legacy(version):
                assign(pair_legacy_archive(model, file, source, path))  # Keras 2.12 or later
        try:
            if not is_legacy(version):
                model.load_weights(weights) if config == saved else load_quantized_weights(model, weights)
        except Exception as error:
            raise InputError(f"{path}: architecture and weights do not match ({keras_reason(error)}); {RESAVE}") from error
    finish(model, path)
    return model


def _stored_version(file: h5py.File) -> str | None:
    """Which Keras wrote an `.h5` file, None where it does not say."""
    version = file.attrs.get("keras_version")
    return version.decode("ascii", "replace") if isinstance(version, bytes) else version if isinstance(version, str) else None


def stored_config(file: h5py.File, path: Path) -> str | bytes:
    """The JSON of the architecture in an `.h5` file.

    Raises:
        InputError: the file holds weights only, or no model at all.
    """
    config = file.attrs.get("model_config")
    if isinstance(config, str | bytes):
        return config
    if "layer_names" in file.attrs or {"layers", "vars", "_layer_checkpoint_dependencies"} & set(file):
        raise InputError(
            f"{path}: this file has weights and no architecture; expected a whole model; save with model.save('name.keras'), "
            "or name the network that it is of, if nc-tf has it, with --weights-of"
        )
    found = ", ".join(quote(key) for key in list(file)[:5]) or "nothing"
    raise InputError(f"{path}: an HDF5 file without a model (it holds {found}); expected the attribute model_config; {RESAVE}")


def _build(config: dict[str, Any], path: Path, trusted: bool = False) -> keras.Model:
    """Let Keras rebuild a checked or trusted architecture; `config` is left as it was."""
    config = without_build_configs(json.loads(json.dumps(config)))  # a copy, because Keras pops what it reads
    try:
        with shared_objects(), built_within_bounds(path):
            if "module" in config:
                model = keras.saving.deserialize_keras_object(config, safe_mode=not trusted)
            else:
                kind = keras.Sequential if config["class_name"] == "Sequential" else keras.Model
                model = kind.from_config(config["config"])
    except InputError:
        raise
    except Exception as error:  # Keras raises whatever a wrong setting happens to hit
        raise InputError(f"{path}: Keras {keras.__version__} cannot rebuild this network ({keras_reason(error)}); {RESAVE}") from error
    if not isinstance(model, keras.Model):
        raise InputError(f"{path}: describes a {type(model).__name__}, not a network; expected a Sequential or functional model; {RESAVE}")
    if not model.built:
        raise InputError(f"{path}: the network was never built, so its input shape is unknown; expected an Input layer; {RESAVE}")
    return model


def without_build_configs(value: Any, *, outermost: bool = True) -> Any:
    """A parsed architecture without the shapes that Keras builds layers with before they are called.

    Calling builds each layer with the shape that reaches it. These shapes also build layers that are never called, or that a wrapper throws
    away. Only a Sequential without an input layer, the outermost, needs them.
    """
    if isinstance(value, list):
        return [without_build_configs(child, outermost=False) for child in value]
    if not isinstance(value, dict):
        return value
    dropped = "build_config" if "class_name" in value and not outermost else None
    return {key: without_build_configs(child, outermost=False) for key, child in value.items() if key != dropped}


@contextlib.contextmanager
def _skeleton(config: dict[str, Any], path: Path) -> Iterator[tuple[keras.Model, list[keras.Variable]]]:
    """Build the model with variables that have a shape and no memory, so that absurd sizes are seen before they cost anything.

    Yields:
        The model, and every variable that Keras made for it, those of unreached layers included.
    """
    with variables_without_memory() as made:
        model = _build(config, path)
        yield model, made()


def _load_trusted(path: Path, suffix: str) -> keras.Model:
    """Keras's own loader with its safe mode off, on a copy where the suffix or an old architecture would stop it."""
    with scratch_folder(path) as folder:
        source = path
        if path.suffix != suffix and (path.suffix, suffix) != (".hdf5", ".h5"):
            source = Path(shutil.copyfile(path, folder / f"model{suffix}"))
        if suffix == ".keras":
            refuse_damaged_archive(path)
        else:
            with open_hdf5(path, path) as file:
                config = parse_config(stored_config(file, path), path)
                modern = modernise(with_modules(config), _stored_version(file), path)
            if modern != config:
                if source == path:
                    source = Path(shutil.copyfile(path, folder / f"model{suffix}"))
                with h5py.File(source, "r+") as copy:
                    copy.attrs["model_config"] = json.dumps(modern)
        try:
            model = keras.models.load_model(source, compile=False, safe_mode=False)
        except Exception as error:
            raise InputError(
                f"{path}: Keras {keras.__version__} cannot load this trusted file ({keras_reason(error)}); if it names custom objects, "
                "register them first with keras.saving.register_keras_serializable"
            ) from error
    return model


def _load_saved_model(path: Path) -> keras.Model:
    """Wrap the serving signature of a trusted SavedModel in a functional model, whose outputs keep the names they have there."""
    try:
        layer = keras.layers.TFSMLayer(str(path), call_endpoint="serving_default")
        signature = layer.call_endpoint_fn.structured_input_signature
        specs = tf.nest.flatten(signature)
        names = list(signature[1]) or [None]
    except Exception as error:
        raise InputError(
            f"{path}: TensorFlow cannot load it ({keras_reason(error)}); expected a serving_default signature; {RESAVE}"
        ) from error
    if len(specs) != 1:
        raise InputError(f"{path}: the network has {len(specs)} inputs; expected one, of images or clips; cut out the image branch")
    image = keras.Input(batch_shape=specs[0].shape, dtype=specs[0].dtype.name)
    answer = layer(image) if names[0] is None else _call_by_name(layer, names[0], image)
    return keras.Model(image, answer)


def _call_by_name(layer: keras.Layer, name: str, image: Any) -> Any:
    endpoint = layer.call_endpoint_fn
    layer.call_endpoint_fn = lambda values: endpoint(**{name: values})  # signatures take their arguments by name
    return layer(image)


def keras_reason(error: Exception) -> str:
    """Return the cause of an error of Keras in one line of ASCII."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Keras wraps the cause in an explanation for each layer around it, the cause last.
    causes = [line.removeprefix("Exception encountered: ") for line in lines if line.startswith("Exception encountered: ")]
    return ascii(f"{type(error).__name__}: {' '.join(causes[-1:] or lines[:2])}"[:300])[1:-1]
