"""Weights of files that Keras 1 and 2 wrote, matched to the layers of Keras 3 that stand for theirs.

The order is that of the architecture in the file, not that of the network built from it: translated layers may lie elsewhere. In `.h5`
files the names of the arrays must agree, too; `.keras` archives of Keras 2 give each layer a folder, but no names.
"""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import keras
import numpy as np

from nc_tf.errors import InputError, quote
from nc_tf.models.keras_internals import own_variables
from nc_tf.models.loading.containers import RESAVE
from nc_tf.models.loading.legacy.architecture import OPERATIONS
from nc_tf.models.loading.legacy.file import new_name
from nc_tf.models.loading.legacy.functions import DEPTHWISE, gains
from nc_tf.models.loading.legacy.layers import MODELS
from nc_tf.models.loading.weights import Pair, pair_arrays, stored_arrays

RECURRENT = ("LSTM", "GRU", "SimpleRNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
OLD_FOLDER = "_layer_checkpoint_dependencies"  # of the layers of a network, in Keras 2.12
ATTENTION_PARTS = ("_query_dense", "_key_dense", "_value_dense", "_output_dense")


class Part(NamedTuple):
    """A layer, or a part of one, with variables of its own.

    Attributes:
        place: its folder in a `.keras` archive.
        layer: the name in the file, for messages.
        trainable: whether Keras 2 counted its variables among those to train.
        variables: those that training changes.
        statistics: those that it does not.
        conversions: by the name of a variable, what becomes of the array in the file; as it is where a name is missing.
        names: by the name of a variable, what it may be called in the file where that differs.
    """

    place: str
    layer: str
    trainable: bool
    variables: list[keras.Variable]
    statistics: list[keras.Variable]
    conversions: "dict[str, Callable[[Any], Any]]"
    names: dict[str, tuple[str, ...]]


def parts(source: dict[str, Any], layer: Any, place: str = "", trainable: bool = True) -> Iterator[Part]:
    """Walk a layer of Keras 2 and the one that stands for it, yielding what has variables in the order of Keras 2.

    Args:
        source: the layer as the file describes it.
        layer: the Keras 3 layer.
        place: the folder of the layer in a `.keras` archive, "" or ending in "/".
        trainable: whether all that it lies in is.
    """
    kind, config = source["class_name"], source["config"]
    if kind in MODELS:
        layers = config if isinstance(config, list) else config["layers"]
        if isinstance(config, dict):
            trainable = trainable and config.get("trainable", True)
        names = _folders(layers)
        for child, folder in zip(layers, names, strict=True):
            if child["class_name"] not in ("InputLayer", *OPERATIONS):
                inner = layer.get_layer(new_name(name_of(child)))
                yield from parts(child, inner, f"{place}layers/{folder}/", trainable)
        return
    trainable = trainable and config.get("trainable", True)
    name = str(config.get("name"))
    if kind == "TimeDistributed":
        yield from parts(config["layer"], layer.layer, f"{place}layer/", trainable)
    elif kind == "Bidirectional":
        yield from parts(config["layer"], layer.forward_layer, f"{place}forward_layer/", trainable)
        yield from parts(config.get("backward_layer") or config["layer"], layer.backward_layer, f"{place}backward_layer/", trainable)
    elif kind == "RNN":
        yield from parts(config["cell"], layer.cell, f"{place}cell/", trainable)
    elif kind == "StackedRNNCells":
        for child, cell, folder in zip(config["cells"], layer.cells, _folders(config["cells"]), strict=True):
            yield from parts(child, cell, f"{place}cells/{folder}/", trainable)
    elif kind == "MultiHeadAttention":
        for attribute in ATTENTION_PARTS:
            yield _part(kind, {}, getattr(layer, attribute), f"{place}{attribute}/", name, trainable)
    elif kind in RECURRENT:
        yield _part(kind, config, layer.cell, f"{place}cell/", name, trainable)
    else:
        yield _part(kind, config, layer, place, name, trainable)
        for inner in ("layer", "activation"):
            if isinstance(config.get(inner), dict) and isinstance(getattr(layer, inner, None), keras.Layer):
                yield from parts(config[inner], getattr(layer, inner), f"{place}{inner}/", trainable)


def name_of(source: dict[str, Any]) -> Any:
    """The name of a layer as the file describes it."""
    return source["config"]["name"] if isinstance(source["config"], dict) else source.get("name", "sequential")


def _part(kind: str, config: dict[str, Any], layer: keras.Layer, place: str, name: str, trainable: bool) -> Part:
    conversions: dict[str, Callable[[Any], Any]] = {}
    names: dict[str, tuple[str, ...]] = {}
    for variable, gain in (gains(kind, config) or {}).items():
        conversions[variable] = _gain(gain)
    if kind in DEPTHWISE:
        names = {"kernel": ("depthwise_kernel",)}
    elif kind == "LayerScale":
        conversions, names = {"kernel": _to_depthwise}, {"kernel": ("gamma", "Variable")}
    return Part(place, name, trainable, *own_variables(layer), conversions, names)


def _gain(gain: Callable[[int], np.ndarray]) -> Callable[[Any], Any]:
    return lambda values: values * gain(values.shape[-1])


def _to_depthwise(values: Any) -> Any:
    return values.reshape(1, 1, -1, 1)


def _folders(layers: list[dict[str, Any]]) -> list[str]:
    """How Keras 2 calls the folders of layers: by their classes, counted."""
    seen: Counter[str] = Counter()
    names = []
    for layer in layers:
        kind = "Functional" if layer["class_name"] == "Model" else layer["class_name"].split(">")[-1]
        name = re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", kind)).lower()
        names.append(f"{name}_{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return names


def pair_legacy_archive(model: keras.Model, file: h5py.File, config: dict[str, Any], path: Path) -> list[Pair]:
    """Match the variables of a model to the arrays in the `model.weights.h5` of a `.keras` archive that Keras 2 wrote.

    Raises:
        InputError: a folder or array is missing, or a shape differs; the message names the layer.
    """
    groups = _archive_folders(file)
    pairs: list[Pair] = []
    for part in parts(config, model):
        variables = [*part.variables, *part.statistics]
        if variables:
            group = groups.get(f"{part.place}vars")
            names = sorted(group, key=int) if group is not None and all(name.isdigit() for name in group) else []
            pairs += pair_arrays(part.layer, _with_conversions(part, variables), group, names, path)
    return pairs


def _archive_folders(file: h5py.File) -> dict[str, h5py.Group]:
    """The folders of an archive by their paths, as Keras 2.13 and later name them on Linux."""
    found: dict[str, h5py.Group] = {}

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group):
            found[name.replace("\\", "/")] = item  # on Windows, the names of folders are joined by backslashes

    file.visititems(note)
    if OLD_FOLDER not in found:
        return found
    # Keras 2.12 counts layers with weights twice: conv2d, conv2d_2, conv2d_4.
    numbered = defaultdict(list)
    for path in found:
        parent, _, name = path.rpartition("/")
        if parent.endswith(OLD_FOLDER):
            stem, _, number = name.rpartition("_") if name.rpartition("_")[2].isdigit() else (name, "", "0")
            numbered[parent, stem].append((int(number), path))
    names = {}
    for (_, stem), paths in numbered.items():
        names.update({path: f"{stem}_{rank}" if rank else stem for rank, (_, path) in enumerate(sorted(paths))})
    renamed = {}
    for path, group in found.items():
        steps = path.split("/")
        above = ["/".join(steps[: number + 1]) for number in range(len(steps))]
        renamed["/".join(names.get(whole, step) for whole, step in zip(above, steps, strict=True)).replace(OLD_FOLDER, "layers")] = group
    return renamed


def _with_conversions(part: Part, variables: list[keras.Variable]) -> list[tuple[keras.Variable, Any]]:
    return [(variable, part.conversions.get(variable.name)) for variable in variables]


def pair_legacy_weights(model: keras.Model, file: h5py.File, config: dict[str, Any], path: Path, *, named: bool) -> list[Pair]:
    """Match the variables of a model to the arrays of an `.h5` file that Keras 1 or 2 wrote, by the names of its layers.

    Within a layer that is a network the order depends on what was frozen when the file was written, which Keras 2 does not always
    record: every order that Keras 2 could have written is tried, and the names of the arrays must agree with it.

    Args:
        model: the network of Keras 3.
        file: the open file.
        config: its architecture as the file has it.
        path: for the messages.
        named: whether the names of arrays are those of Keras 2; Keras 1 had others.

    Raises:
        InputError: missing or surplus layers or arrays, a shape that differs, or no order that agrees; the message names the layer.
    """
    group, stored = stored_arrays(file)
    stored = {name: [array for array in arrays if "StateVar" not in array.split("/")[-1]] for name, arrays in stored.items()}
    stored = {name: arrays for name, arrays in stored.items() if arrays}
    settings = config["config"]
    needed = {}
    for source in settings if isinstance(settings, list) else settings["layers"]:
        if source["class_name"] not in ("InputLayer", *OPERATIONS):
            name = name_of(source)
            found = list(parts(source, model.get_layer(new_name(name))))
            if any(part.variables or part.statistics for part in found):
                needed[name] = found
    if len(stored) != len(needed):
        raise InputError(
            f"{path}: stores the weights of {len(stored)} layers, its architecture needs {len(needed)}: wrong weights; {RESAVE}"
        )
    pairs: list[Pair] = []
    for name, found in needed.items():
        if name not in stored:
            raise InputError(f"{path}: no weights for layer {quote(name)}, found {', '.join(map(quote, stored))}: wrong weights; {RESAVE}")
        orders = [_order(found, by) for by in (lambda part: part.trainable, lambda _: True, lambda _: False)]
        fitting = [order for order in orders if not named or _agree(order, stored[name])]
        chosen = fitting[0] if fitting else orders[0]
        variables = [(variable, part.conversions.get(variable.name)) for part, variable in chosen]
        pairs += pair_arrays(name, variables, group[name], stored[name], path)
        if not fitting:
            called = ", ".join(map(quote, stored[name][:4]))
            raise InputError(
                f"{path}: the arrays of layer {quote(name)} are called {called}, ..., which does not agree with its architecture: "
                f"wrong weights; {RESAVE}"
            )
    return pairs


Order = list[tuple[Part, keras.Variable]]


def _order(found: list[Part], trainable: Callable[[Part], bool]) -> Order:
    """The order in which Keras 2 writes: what can be trained, then the rest; a variable that two parts share once."""
    first = [(part, variable) for part in found if trainable(part) for variable in part.variables]
    rest = [(part, variable) for part in found for variable in [*(() if trainable(part) else part.variables), *part.statistics]]
    order: Order = []
    for part, variable in first + rest:
        if not any(variable is other for _, other in order):
            order.append((part, variable))
    return order


def _agree(order: Order, names: list[str]) -> bool:
    """Whether arrays are called as their variables are, and those of one part lie together."""
    if len(order) != len(names):
        return False
    prefixes: dict[str, tuple[str, str]] = {}
    for (part, variable), name in zip(order, names, strict=True):
        prefix, _, last = name.rpartition("/")
        last = last.split(":")[0]
        word = re.sub(r"_\d+$", "", last)
        owner = (prefix, last[len(word) :])  # cells that share a folder are told apart by numbers
        if word not in part.names.get(variable.name, (variable.name,)) or prefixes.setdefault(part.place, owner) != owner:
            return False
    # Two parts may share theirs only if one wraps the other.
    pairs = itertools.combinations(prefixes, 2)
    return all(one.startswith(other) or other.startswith(one) or prefixes[one] != prefixes[other] for one, other in pairs)
