"""Architectures that Keras 1 and 2 wrote, in the words of Keras 3.

Networks are rewritten here: bare lists of layers, shapes that a first layer keeps, graphs whose calls are counted from another number.
`layers` translates layers, `ops` operations of TensorFlow, `weights` the weights.
"""

import json
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from nc_tf.errors import InputError, quote
from nc_tf.models.keras_internals import flat_layers
from nc_tf.models.loading.containers import FREE_BYTES, METADATA, RESAVE
from nc_tf.models.loading.legacy.file import Entry, File, entry, new_name
from nc_tf.models.loading.legacy.layers import MODELS, translate
from nc_tf.models.loading.legacy.op_writers import keras_tensor
from nc_tf.models.loading.legacy.ops import translate as translate_operation

FUSED_EPSILON = 1.001e-5
# Layers that networks of keras.applications bring along, with their settings, and what every layer has.
OF_APPLICATIONS = {"CustomScaleLayer": {"scale"}, "LayerScale": {"init_values", "projection_dim"}, "StochasticDepth": {"drop_path_rate"}}
COMMON = {"name", "trainable", "dtype"}
OPERATIONS = ("TFOpLambda", "SlicingOpLambda", "CustomScaleLayer")


def is_legacy(version: str | None) -> bool:
    """Whether Keras 1 or 2 wrote a file; the first of them did not say who they were."""
    return version is None or version.split(".")[0] in ("0", "1", "2")


def archive_version(path: Path) -> str:
    """Which Keras wrote a `.keras` archive; "3" where it does not say, or is none: the checks that follow will tell."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo(METADATA)
            version = json.loads(archive.read(member))["keras_version"] if member.file_size < FREE_BYTES else "3"
    except (KeyError, OSError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile, NotImplementedError, zlib.error):
        return "3"
    return version if isinstance(version, str) else "3"


def modernise(config: dict[str, Any], version: str | None, path: Path, *, trusted: bool = False) -> dict[str, Any]:
    """Rewrite a parsed architecture in the words of Keras 3; what Keras 3 wrote only loses how it was compiled.

    Args:
        config: the parsed JSON; it is left as it was.
        version: of the Keras that wrote it, None where the file does not say.
        path: for the messages.
        trusted: keep functions and classes of the file's author.

    Raises:
        InputError: a setting, layer or operation that changes the result and that Keras 3 does not have; or no architecture of Keras 2.
    """
    if not is_legacy(version):
        return without_compilation(config)
    file = File(path, version or "1 or 2", trusted, _network)
    try:
        return _outer(_network(config, file))
    except InputError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, LookupError) as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        writer = f"Keras {quote(file.version)[1:-1]}"
        raise InputError(f"{path}: its architecture is not as {writer} writes it ({ascii(what)[1:-1]}); {RESAVE}") from error


def without_namespace(value: Any) -> Any:
    """Take "Custom>" from the names of three layers of keras.applications, which Keras 2 registers as a user would."""
    if isinstance(value, list):
        return [without_namespace(child) for child in value]
    if not isinstance(value, dict):
        return value
    result = {key: without_namespace(child) for key, child in value.items()}
    config = result.get("config")
    for name, keys in OF_APPLICATIONS.items():
        if result.get("class_name") in (name, f"Custom>{name}") and isinstance(config, dict) and config.keys() - COMMON == keys:
            result.update(class_name=name, registered_name=name, module="keras.layers")
    return result


def raise_epsilons(model: keras.Model, version: str) -> None:
    """Let BatchNormalization use the epsilon that its TensorFlow used: up to 2.11, its kernel for images and clips knew no smaller one."""
    if not (2, 2) <= File(Path(), version, False, _network).number < (2, 12):
        return
    for layer in flat_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization) and layer.input_spec.ndim in (4, 5):
            layer.epsilon = max(layer.epsilon, FUSED_EPSILON)


def without_compilation(value: Any) -> Any:
    """Leave out `compile_config` at every level, because nothing here trains, and say single ends of a network as such."""
    if isinstance(value, list):
        return [without_compilation(child) for child in value]
    if not isinstance(value, dict):
        return value
    result = {key: without_compilation(child) for key, child in value.items() if key != "compile_config" or "class_name" not in value}
    config = result.get("config")
    if result.get("class_name") in ("Model", "Functional") and isinstance(config, dict) and "module" not in result:
        for ends in ("input_layers", "output_layers"):  # an .h5 file lists a single input, Keras 3 then expects a list at every call
            if isinstance(config.get(ends), list) and len(config[ends]) == 1:
                config[ends] = config[ends][0]
    return result


def _network(network: Entry, file: File) -> Entry:
    if network["class_name"] == "Sequential":
        return _sequential(network["config"], file)
    if network["class_name"] in MODELS:
        return _functional(network["config"], file)
    raise ValueError(f"a {network['class_name']} where a network is expected")


def _outer(network: Entry) -> Entry:
    """A Sequential needs its input shape in front."""
    config = network["config"]
    if network["class_name"] == "Sequential" and config["layers"][0]["class_name"] != "InputLayer":
        shape = config.get("build_input_shape") or input_shape(config["layers"][0])
        if isinstance(shape, list):
            config["layers"].insert(0, entry("InputLayer", {"batch_shape": shape, "name": "nc_tf_input"}))
    return network


def input_shape(layer: Entry) -> Any:
    """The shape that the first layer of a network records, or that of the network that it is."""
    config = layer["config"]
    inner = config if isinstance(config, list) else config.get("layers")
    if layer["class_name"] in MODELS and inner:
        return input_shape(inner[0])
    return config.get("batch_input_shape", config.get("batch_shape"))


def _sequential(config: Any, file: File) -> Entry:
    if isinstance(config, list):  # before Keras 2.2.3
        config = {"name": "sequential", "layers": config}
    layers: list[Entry] = config["layers"]
    chain = [part for layer in layers for part in translate(layer, file)]
    shape = None if layers[0]["class_name"] == "InputLayer" else input_shape(layers[0]) or config.get("build_input_shape")
    if shape is not None:
        chain.insert(0, entry("InputLayer", {"batch_shape": shape, "name": f"{chain[0]['config']['name']}_nc_tf_input"}))
    return entry("Sequential", {"name": new_name(config["name"]), "layers": chain}, "keras")


def _functional_entry(config: dict[str, Any]) -> Entry:
    config = {key: value for key, value in config.items() if value is not None}
    return {**entry("Functional", config, "keras.src.models.functional"), "registered_name": "Functional"}


def _first_node(layer: Entry) -> int:
    """The number that Keras 3 gives the first call of a layer where it lists the outputs of a network."""
    return int(layer["class_name"] == "Functional")


def _called(part: Entry, nodes: list[dict[str, Any]]) -> Entry:
    """A layer with its calls."""
    return {**part, "name": part["config"]["name"], "inbound_nodes": nodes}


def _functional(config: dict[str, Any], file: File) -> Entry:
    graph = _Graph(config, file)
    layers = [called for layer in config["layers"] for called in graph.translated(layer)]
    ends = {key: graph.ends(config[key], layers) for key in ("input_layers", "output_layers")}
    return _functional_entry({"name": new_name(config["name"]), "trainable": config.get("trainable"), "layers": layers, **ends})


class _Graph:
    """The calls of one functional network, from the numbers of Keras 2 to those of Keras 3.

    Keras 2 counts a nested network's calls from 1, because making it was call 0, but for one that was made without an input shape.
    Keras 3 counts all from 0.
    """

    def __init__(self, config: dict[str, Any], file: File) -> None:
        self.file = file
        self.names = {layer["name"] for layer in config["layers"]}
        self.parts: dict[str, list[Entry]] = {}
        used: dict[str, set[int]] = defaultdict(set)
        for reference in self._references([[layer["inbound_nodes"] for layer in config["layers"]], config["output_layers"]]):
            used[reference[0]].add(reference[1])
        networks = {layer["name"] for layer in config["layers"] if layer["class_name"] in MODELS}
        self.first = {name: min(used[name]) if name in networks and used[name] else 0 for name in self.names}
        for layer in config["layers"]:
            if layer["class_name"] not in OPERATIONS:
                self.parts[layer["name"]] = translate({**layer, "config": {"name": layer["name"], **_settings(layer)}}, file)

    def _references(self, value: Any) -> Iterator[list[Any]]:
        if self._is_reference(value):
            yield value
            value = value[3:]
        for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from self._references(child)

    def _is_reference(self, value: Any) -> bool:
        return (
            isinstance(value, list)
            and len(value) in (3, 4)
            and isinstance(value[0], str)
            and value[0] in self.names
            and type(value[1]) is int
            and type(value[2]) is int
        )

    def tensor(self, reference: list[Any]) -> dict[str, Any]:
        """Return a reference of Keras 2 as Keras 3 writes it."""
        name, node, index = reference[:3]
        last = self.parts[name][-1]["config"]["name"] if name in self.parts else new_name(name)
        return keras_tensor(last, node - self.first[name], index)

    def argument(self, value: Any) -> Any:
        """An argument of a call: a tensor, a constant, or a list of them."""
        if self._is_reference(value):
            return self.tensor(value)
        if isinstance(value, list) and value and value[0] == "_CONSTANT_VALUE":
            return value[2]
        if isinstance(value, list):
            return [self.argument(child) for child in value]
        if isinstance(value, dict):
            return {key: self.argument(child) for key, child in value.items()}
        return value

    def call(self, node: Any) -> tuple[Any, dict[str, Any]]:
        """The first argument of a call and the others by name."""
        first = node
        while isinstance(first, list) and first and isinstance(first[0], list):
            first = first[0]
        others = first[3] if len(first) > 3 else {}
        return self.argument(node), {key: self.argument(value) for key, value in others.items()}

    def translated(self, layer: Entry) -> list[Entry]:
        """The layers of Keras 3 for one of Keras 2, with their calls."""
        calls = [self.call(node) for node in layer["inbound_nodes"]]
        if layer["class_name"] in OPERATIONS:
            return self._operation(layer, calls)
        nodes = []
        for first, others in calls:
            first = first[0] if isinstance(first, list) and len(first) == 1 else first
            nodes.append({"args": [first], "kwargs": {key: value for key, value in others.items() if not _nothing(value)}})
        entries = []
        parts = self.parts[layer["name"]]
        for number, part in enumerate(parts):
            entries.append(_called(part, nodes))
            if part["class_name"] in ("Identity", "Resizing", "Rescaling") and part["class_name"] != layer["class_name"]:
                nodes = [{**node, "kwargs": {}} for node in nodes]
                entries[-1]["inbound_nodes"] = nodes
            if number + 1 < len(parts):
                nodes = [{"args": [keras_tensor(part["config"]["name"], index, 0)], "kwargs": {}} for index in range(len(nodes))]
        return entries

    def _operation(self, layer: Entry, calls: list[tuple[Any, dict[str, Any]]]) -> list[Entry]:
        kind, config = layer["class_name"], layer["config"]
        function = kind if kind == "CustomScaleLayer" else config["function"]
        instead = "rebuild that part from layers of Keras"
        if len(calls) != 1:
            raise self.file.refuse(layer["name"], f"calls TensorFlow's {quote(function)} {len(calls)} times", instead)
        first, others = calls[0]
        if kind == "CustomScaleLayer":
            others = {"scale": config["scale"]}
        try:
            return translate_operation(function, new_name(layer["name"]), first, others)
        except LookupError as error:
            what = f"calls TensorFlow's {quote(function)}, an operation that nc_tf does not translate"
            raise self.file.refuse(layer["name"], what, instead) from error
        except (TypeError, ValueError) as error:
            what = f"calls TensorFlow's {quote(function)} in a way that nc_tf does not translate ({ascii(str(error))[1:-1][:80]})"
            raise self.file.refuse(layer["name"], what, instead) from error

    def ends(self, ends: Any, layers: list[Entry]) -> Any:
        """Inputs or outputs of the network; a single one as such."""
        kinds = {layer["name"]: layer for layer in layers}

        def end(value: Any) -> Any:
            if self._is_reference(value):
                history = self.tensor(value)["config"]["keras_history"]
                return [history[0], history[1] + _first_node(kinds[history[0]]), history[2]]
            if isinstance(value, dict):
                return {key: end(child) for key, child in value.items()}
            return [end(child) for child in value]

        return end(ends[0] if isinstance(ends, list) and len(ends) == 1 else ends)


def _settings(layer: Entry) -> dict[str, Any]:
    config = layer["config"]
    return config if isinstance(config, dict) else {"layers": config}


def _nothing(value: Any) -> bool:
    """Whether an argument says nothing: None, or a list of it."""
    return value is None or (isinstance(value, list) and all(_nothing(child) for child in value))
