"""Opening model files from strangers: `load_model`.

By default a file is data. Its container is checked (`containers`), its architecture is walked against an allow-list (`inspection`), Keras
builds it once without memory to learn what it would allocate, and only then is it built and filled. With `trust_model=True` Keras's
own loader does the work, and whatever the file carries may run.
"""

import contextlib
import json
import math
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common import global_state
from keras.src.saving.serialization_lib import ObjectSharingScope

from nc_tf.errors import InputError
from nc_tf.models.containers import RESAVE, check_hdf5, file_kind, open_hdf5, open_keras_archive, refuse_damaged_archive, show
from nc_tf.models.inspection import TRUST, check_config, parse_config
from nc_tf.models.legacy import archive_version, is_legacy, modernise, raise_epsilons, without_namespace
from nc_tf.models.legacy_weights import pair_legacy_archive, pair_legacy_weights
from nc_tf.models.weights import Pair, assign, pair_weights

MAX_ACTIVATIONS = 1 << 28  # values in one layer's output for one image: 1 GiB in float32
UNSET = -27182.0  # marks weights before loading; exact in float32 and float16 rounds it to a value that is compared after rounding


def load_model(path: str | Path, *, trust_model: bool = False) -> keras.Model:
    """Load a classifier from a `.keras` or `.h5`/`.hdf5` file (Keras 1, best effort, to 3) or, if trusted, from a SavedModel folder.

    Unless `trust_model` is set nothing in the file runs, no other file is read and no more memory is taken than its weights need. The
    model comes uncompiled, with finite weights that were all read from the file.

    Args:
        path: the file or folder.
        trust_model: let Keras run what the file carries (Lambda layers, custom objects registered by this process, SavedModels).

    Returns:
        A model with one input (N, H, W, C) or (N, T, H, W, C) and one output (N, classes).

    Raises:
        InputError: one message for each way in which a file is unfit or hostile; `docs/model-files.md` lists them.
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
    check_classifier(model, path)
    return _without_lists(model)


def _without_lists(model: keras.Model) -> keras.Model:
    """Keras remarks on every call when a network was declared as Model([x], [y]) and is called on x, and answers [y]."""
    if isinstance(model, keras.Sequential) or not (isinstance(model.input, list) or isinstance(model.output, list)):
        return model
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)


def _load_hdf5(path: Path, trusted: bool) -> keras.Model:
    with open_hdf5(path, path) as file:
        version = _stored_version(file)
        if trusted and not is_legacy(version):
            return _load_trusted(path, ".h5")
        check_hdf5(file, path, path.stat().st_size)
        if is_legacy(version) and file.attrs.get("backend") in ("theano", b"theano"):
            what = f"written by Keras {version} with Theano, whose convolutions turn their kernels around"
            raise InputError(f"{path}: {what}; expected TensorFlow's; load it by Keras 2 on TensorFlow and save it there")
        source = parse_config(stored_config(file, path), path)
        source = without_namespace(source) if is_legacy(version) else source
        config = modernise(source, version, path, trusted=trusted)

        def pairs(model: keras.Model) -> list[Pair]:
            if is_legacy(version):
                return pair_legacy_weights(model, file, source, path, named=version is not None and not version.startswith("1."))
            return pair_weights(model, file, path)

        if not trusted:
            check_config(config, path)
            with _skeleton(config, path) as skeleton:
                refuse_large_activations(skeleton, path)
                pairs(skeleton)
        model = _build(config, path, trusted)
        _mark_unset(model)
        assign(pairs(model))
        if is_legacy(version):
            raise_epsilons(model, version or "1")
    _finish(model, path)
    return model


def _load_keras(path: Path, trusted: bool) -> keras.Model:
    version = archive_version(path)
    if trusted and not is_legacy(version):
        return _load_trusted(path, ".keras")
    with open_keras_archive(path) as (text, weights):
        source = parse_config(text, path)
        source = without_namespace(source) if is_legacy(version) else source
        config = modernise(source, version, path, trusted=trusted)
        if not trusted:
            check_config(config, path)
        with open_hdf5(weights, f"{path} (model.weights.h5)") as file:
            stored = check_hdf5(file, f"{path} (model.weights.h5)", weights.stat().st_size)
            if not trusted:
                with _skeleton(config, path) as skeleton:
                    refuse_large_activations(skeleton, path)
                    refuse_missing_values(skeleton, stored, path)
            model = _build(config, path, trusted)
            _mark_unset(model)
            if is_legacy(version):
                assign(pair_legacy_archive(model, file, source, path))  # Keras 2.12 or later
        try:
            if not is_legacy(version):
                model.load_weights(weights)
        except Exception as error:
            raise InputError(f"{path}: architecture and weights do not match ({keras_reason(error)}); {RESAVE}") from error
    _finish(model, path)
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
        raise InputError(f"{path}: this file has weights and no architecture; expected a whole model; save with model.save('name.keras')")
    found = ", ".join(show(key) for key in list(file)[:5]) or "nothing"
    raise InputError(f"{path}: an HDF5 file without a model (it holds {found}); expected the attribute model_config; {RESAVE}")


def _build(config: dict[str, Any], path: Path, trusted: bool = False) -> keras.Model:
    """Let Keras rebuild a checked or trusted architecture; `config` is left as it was."""
    config = json.loads(json.dumps(config))  # Keras pops what it reads
    try:
        with ObjectSharingScope():
            if "module" in config:
                model = keras.saving.deserialize_keras_object(config, safe_mode=not trusted)
            else:
                kind = keras.Sequential if config["class_name"] == "Sequential" else keras.Model
                model = kind.from_config(config["config"])
    except Exception as error:  # Keras raises whatever a wrong setting happens to hit
        raise InputError(f"{path}: Keras {keras.__version__} cannot rebuild this network ({keras_reason(error)}); {RESAVE}") from error
    if not isinstance(model, keras.Model):
        raise InputError(f"{path}: describes a {type(model).__name__}, not a network; expected a Sequential or functional model; {RESAVE}")
    if not model.built:
        raise InputError(f"{path}: the network was never built, so its input shape is unknown; expected an Input layer; {RESAVE}")
    return model


@contextlib.contextmanager
def _skeleton(config: dict[str, Any], path: Path) -> Iterator[keras.Model]:
    """Build the model with variables that have a shape and no memory, so that absurd sizes are seen before they cost anything."""
    before = list(global_state.get_global_attribute("uninitialized_variables") or [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield _build(config, path)
    finally:
        # Keras remembers such variables and would allocate them at the end of the next stateless scope.
        global_state.set_global_attribute("uninitialized_variables", before)


def refuse_large_activations(model: keras.Model, path: Path, frames: int = 1) -> None:
    """Refuse networks that take no weights to blow up, such as an upsampling by a million; nested ones too, `frames` times an image."""
    for operation in getattr(model, "operations", model.layers):
        for node in operation._inbound_nodes:
            for tensor in node.output_tensors:
                size = frames * math.prod(side for side in tensor.shape if side)
                if size > MAX_ACTIVATIONS:
                    raise InputError(
                        f"{path}: layer {show(operation.name)} puts out {size} values an image; the limit is {MAX_ACTIVATIONS}; {RESAVE}"
                    )
        if isinstance(operation, keras.Model):
            refuse_large_activations(operation, path, frames)
        inner, axes = operation, 1
        while isinstance(inner, keras.layers.Wrapper):
            axes += isinstance(inner, keras.layers.TimeDistributed)  # the only wrapper that calls its layer on parts of the input
            inner = inner.layer
        if inner is not operation and isinstance(inner, keras.Model):
            parts = (math.prod(side or 1 for side in node.input_tensors[0].shape[1:axes]) for node in operation._inbound_nodes)
            refuse_large_activations(inner, path, frames * max(parts, default=1))


def refuse_missing_values(model: keras.Model, stored: int, path: Path) -> None:
    """Refuse an architecture that needs more values than the file stores, before its memory is taken."""
    needed = sum(math.prod(variable.shape) for variable in model.weights)
    if needed > stored:
        raise InputError(f"{path}: its architecture needs {needed} weights, the file stores {stored}: missing weights; {RESAVE}")


def _mark_unset(model: keras.Model) -> None:
    for variable in model.weights:
        if tf.as_dtype(variable.dtype).is_floating:
            variable.assign(np.full(variable.shape, UNSET))


def _finish(model: keras.Model, path: Path) -> None:
    """Check that every weight was replaced, then let layers such as Normalization compute what they derive from theirs."""
    for layer in model._flatten_layers():
        for variable in layer._trainable_variables + layer._non_trainable_variables:
            if tf.as_dtype(variable.dtype).is_floating and math.prod(variable.shape):
                unset = tf.cast(UNSET, variable.dtype)
                if bool(tf.reduce_all(tf.equal(variable.value, unset))):
                    raise InputError(
                        f"{path}: layer {show(layer.name)} has no stored values for {variable.name}: missing weights; {RESAVE}"
                    )
        if hasattr(layer, "finalize_state") and layer.weights:
            layer.finalize_state()


def refuse_nonfinite_weights(model: keras.Model, path: Path) -> None:
    """Refuse NaN and infinity in the weights, with which every result of a scan would be noise."""
    for layer in model._flatten_layers():
        for variable in layer._trainable_variables + layer._non_trainable_variables:
            if tf.as_dtype(variable.dtype).is_floating:
                values = tf.cast(variable.value, tf.float32) if variable.dtype != "float64" else variable.value
                if not bool(tf.reduce_all(tf.math.is_finite(values))):
                    kind = "NaN" if bool(tf.reduce_any(tf.math.is_nan(values))) else "infinity"
                    raise InputError(
                        f"{path}: weights contain {kind}: layer {show(layer.name)}, {variable.name}; expected finite weights; "
                        "take an earlier checkpoint"
                    )


def check_classifier(model: keras.Model, path: str | Path) -> None:
    """Check that a model sorts one image or one clip into at least two classes.

    Args:
        model: expected with one input (N, H, W, C) or (N, T, H, W, C), C known, and one output (N, classes). H and W may be unknown.
        path: for the messages.

    Raises:
        InputError: several inputs or outputs, another rank, unknown channels, unknown or too few classes.
    """
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if not inputs or not outputs:
        raise InputError(f"{path}: the network has no known input and output; expected a Sequential or functional model; {RESAVE}")
    if len(inputs) != 1:
        raise InputError(f"{path}: the network has {len(inputs)} inputs; expected one, of images or clips; cut out the image branch")
    if len(outputs) != 1:
        raise InputError(f"{path}: the network has {len(outputs)} outputs; expected one, of class scores; keep the classifier's only")
    shape, scores = tuple(inputs[0].shape), tuple(outputs[0].shape)
    if len(shape) not in (4, 5):
        raise InputError(f"{path}: the network reads arrays of shape {shape}; expected images (N, H, W, C) or clips (N, T, H, W, C)")
    if shape[-1] is None:
        raise InputError(f"{path}: the network reads {shape}, channels unknown; expected a number last; rebuild it with fixed channels")
    if len(scores) != 2 or scores[-1] is None:
        raise InputError(f"{path}: the network puts out arrays of shape {scores}; expected class scores (N, classes); flatten first")
    if scores[-1] < 2:
        raise InputError(f"{path}: the network has one class (output {scores}); expected two or more; use two outputs with softmax")


def _load_trusted(path: Path, suffix: str) -> keras.Model:
    """Keras's own loader with its safe mode off, on a copy where the suffix or an old architecture would stop it."""
    with tempfile.TemporaryDirectory(prefix="nc_tf_") as folder:
        source = path
        if path.suffix != suffix and (path.suffix, suffix) != (".hdf5", ".h5"):
            source = Path(shutil.copyfile(path, Path(folder) / f"model{suffix}"))
        if suffix == ".keras":
            refuse_damaged_archive(path)
        else:
            with open_hdf5(path, path) as file:
                config = parse_config(stored_config(file, path), path)
                modern = modernise(config, _stored_version(file), path)
            if modern != config:
                if source == path:
                    source = Path(shutil.copyfile(path, Path(folder) / f"model{suffix}"))
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
    """Wrap the serving signature of a trusted SavedModel in a functional model."""
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
    return keras.Model(image, tf.nest.flatten(answer))


def _call_by_name(layer: keras.Layer, name: str, image: Any) -> Any:
    endpoint = layer.call_endpoint_fn
    layer.call_endpoint_fn = lambda values: endpoint(**{name: values})  # signatures take their arguments by name
    return layer(image)


def keras_reason(error: Exception) -> str:
    """What went wrong while Keras built, saved or loaded a network, in one line of ASCII."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Keras wraps the cause in as many explanations as there are layers around it, the cause last.
    causes = [line.removeprefix("Exception encountered: ") for line in lines if line.startswith("Exception encountered: ")]
    return ascii(f"{type(error).__name__}: {' '.join(causes[-1:] or lines[:2])}"[:300])[1:-1]
