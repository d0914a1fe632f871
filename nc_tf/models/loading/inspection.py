"""Reading the architecture in a model file as data: an allow-list that is walked before Keras sees a word of it.

Keras's own safe mode has been passed by naming functions instead of layers (CVE-2025-1550, -8747, -9906), is ignored for `.h5`
(CVE-2025-9905), and lets lookup layers read files (CVE-2025-12058). So nothing is looked for that is bad; whatever is not known
to be a layer, initializer, regularizer, constraint, dtype policy or pure operation of Keras is refused. No name in a file is ever imported.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from nc_tf.errors import InputError, quote
from nc_tf.models.keras_internals import scoped_custom_objects
from nc_tf.models.loading.allowed_layers import ALLOWED, DTYPES, allowed_word, full_name, is_operation, keras_has, kind_of
from nc_tf.models.loading.containers import MAX_CONFIG_BYTES, RESAVE

MAX_DEPTH = 100
MAX_INTEGER = 1 << 24
MAX_LAYERS = 5000
MAX_NAME = 1000  # characters
# A custom object must be known to the process that loads it, which a command line cannot bring about.
REGISTER = "if you trust its author, register its class with keras.saving and call nc_tf.load_model(path, trust_model=True)"
TRUST = "pass --trust-model (trust_model=True) only if you trust its author"

DATA = {"__keras_tensor__", "__numpy__", "__tensor__", "__slice__", "__ellipsis__"}
CODE = {"__lambda__", "__typespec__", "function"}
NOT_SIZES = {"seed", "shared_object_id", "start", "stop", "step", "value"}  # numbers that allocate nothing


def parse_config(text: str | bytes, path: Path) -> dict[str, Any]:
    """Read the JSON of an architecture.

    Raises:
        InputError: too large, nested too deep, no JSON, or no object with `class_name` and `config`.
    """
    if len(text) > MAX_CONFIG_BYTES:
        raise InputError(f"{path}: its architecture has {len(text)} bytes of JSON; the limit is {MAX_CONFIG_BYTES}; {RESAVE}")
    try:
        config = json.loads(text)
    except RecursionError as error:
        raise _too_deep(path) from error
    except ValueError as error:
        reason = str(error).splitlines()[0][:120]
        raise InputError(f"{path}: its architecture is no JSON ({reason}); expected the text that Keras writes; {RESAVE}") from error
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str) or not isinstance(config.get("config"), dict | list):
        raise InputError(f"{path}: its JSON describes no network; expected class_name and config, as Keras writes them; {RESAVE}")
    for _ in walk(config, path):  # raises where it is too deep for the functions that follow, which recurse
        pass
    return config


def _too_deep(path: Path) -> InputError:
    return InputError(f"{path}: its architecture is nested more than {MAX_DEPTH} deep; no network needs that; {RESAVE}")


def walk(config: Any, path: Path) -> Iterator[tuple[Any, str, str]]:
    """Yield every value of a parsed JSON as (value, key it stands under, name of the layer it belongs to).

    Raises:
        InputError: nested more than MAX_DEPTH deep.
    """
    pending: list[tuple[Any, str, str, int]] = [(config, "", "", 0)]
    while pending:
        value, key, layer, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise _too_deep(path)
        if isinstance(value, dict):
            layer = layer_name(value) or layer
        yield value, key, layer
        if isinstance(value, dict):
            pending += [(child, str(name), layer, depth + 1) for name, child in value.items()]
        elif isinstance(value, list):
            pending += [(child, key, layer, depth + 1) for child in value]


def layer_name(value: dict[str, Any]) -> str:
    """The name under which a serialized object is known to the author of the file, or ''."""
    settings = value.get("config")
    name = settings.get("name") if isinstance(settings, dict) and "class_name" in value else None
    return name if isinstance(name, str) else ""


def check_config(config: dict[str, Any], path: Path) -> None:
    """Walk an architecture and accept only built-in, pure parts of Keras with sizes of this world.

    Args:
        config: the parsed JSON, already in the spelling of Keras 3 (`legacy.modernise`).
        path: for the messages.

    Raises:
        InputError: a message of its own for each kind of part that is refused, naming the part and its layer.
    """
    custom = custom_objects()
    num_layers = 0
    for value, key, layer in walk(config, path):
        if isinstance(value, dict) and "class_name" in value:
            refuse_unknown_object(value, layer, path)
        elif isinstance(value, str) and key == "name":
            refuse_odd_name(value, path)
        elif isinstance(value, str):
            refuse_registered_string(value, layer, path, custom)
            if not allowed_word(key, value):
                raise InputError(
                    f"{path}: layer {quote(layer)} has {key}={quote(value)}, which is none of Keras's; expected a name it documents; "
                    f"{RESAVE}"
                )
        elif isinstance(value, int) and abs(value) > MAX_INTEGER and key not in NOT_SIZES:
            raise InputError(
                f"{path}: layer {quote(layer)} asks for {quote(key)} = {quote(value)}; no size above {MAX_INTEGER} is accepted; {RESAVE}"
            )
        if key == "layers" and isinstance(value, dict):
            num_layers += 1
    if num_layers > MAX_LAYERS:
        raise InputError(f"{path}: {num_layers} layers; the limit is {MAX_LAYERS}; {RESAVE}")
    for value, _, layer in walk(config, path):
        settings = value.get("config") if isinstance(value, dict) else None
        if isinstance(settings, dict) and isinstance(settings.get("layers"), list) and "output_layers" in settings:
            refuse_unreached_layer(settings, path)
        elif isinstance(settings, dict) and value.get("class_name") == "Bidirectional":
            refuse_other_shape(value, layer, path)


def refuse_odd_name(name: str, path: Path) -> None:
    """Refuse names that some message, file or HDF5 group cannot hold: control characters, lone surrogates, dots alone, endless ones."""
    if not name.isprintable() or len(name) > MAX_NAME or (name and not name.strip(".")):
        raise InputError(f"{path}: a layer is named {quote(name)}; expected at most {MAX_NAME} printable characters; rename it")


def refuse_unreached_layer(settings: dict[str, Any], path: Path) -> None:
    """Refuse a layer of a functional model that leads to none of its outputs: Keras saves none, and would build it."""
    entries = [entry for entry in settings["layers"] if isinstance(entry, dict)]
    nodes = {str(entry.get("name")): entry.get("inbound_nodes") for entry in entries if entry.get("class_name") != "InputLayer"}
    pending, reached = [settings["output_layers"]], set()
    while pending:
        for name in _called(pending.pop()):
            if name in nodes and name not in reached:
                reached.add(name)
                pending.append(nodes[name])
    unreached = sorted(nodes.keys() - reached)
    if unreached:
        raise InputError(f"{path}: layer {quote(unreached[0])} leads to no output; expected layers that are used; {RESAVE}")


def _called(node: Any) -> Iterator[str]:
    """The names of layers that a serialized call refers to: [name, call, output, ...], wherever it stands."""
    pending = [node]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, list):
            if len(value) >= 3 and isinstance(value[0], str) and isinstance(value[1], int):
                yield value[0]
            pending += value


def refuse_other_shape(value: dict[str, Any], layer: str, path: Path) -> None:
    """Refuse a Bidirectional that holds a layer built for another shape than its own: it would be built, copied and thrown away."""
    inner = value["config"].get("layer")
    own, other = (item.get("build_config") if isinstance(item, dict) else None for item in (value, inner))
    if own and other and own != other:
        raise InputError(
            f"{path}: layer {quote(layer)} is built for {quote(own)}, the one that it holds for {quote(other)}; expected the same; {RESAVE}"
        )


def custom_objects() -> set[str]:
    """The names that this process registered with Keras."""
    return {*keras.saving.get_custom_objects(), *scoped_custom_objects()}


def refuse_unknown_object(value: dict[str, Any], layer: str, path: Path) -> None:
    """Refuse a serialized object unless it is plain data or resolves to an allowed class, as Keras itself would resolve it."""
    name, module = value["class_name"], value.get("module", "")
    where = f"{path}: layer {quote(layer)}"
    if not isinstance(name, str):
        raise InputError(f"{where} has the class_name {quote(name)}; expected a text; {RESAVE}")
    if name in DATA and not value.get("module"):
        refuse_odd_data(value, where)
        return
    if name in CODE:
        what = f"names the function {quote(value.get('config'))}" if name == "function" else f"is a {name}, which can run any code"
        advice = TRUST if name == "__lambda__" else REGISTER
        raise InputError(f"{where} {what}; expected layers of Keras that hold data only; {advice}")
    registered = value.get("registered_name")
    if module is None or (registered is not None and registered != name):
        advice = TRUST if registered in custom_objects() else REGISTER
        raise InputError(f"{where} is the custom class {quote(registered or name)}; expected built-in layers of Keras only; {advice}")
    if not isinstance(module, str) or (module and module != "keras" and not module.startswith("keras.")):
        raise InputError(f"{where} comes from the Python module {quote(module)}; expected built-in layers of Keras only; {REGISTER}")
    kind = kind_of(module, name)
    if kind not in ALLOWED:
        raise InputError(f"{where} {_why_not(kind, module, name, value.get('config'))}")
    if not keras_has(module, name):
        raise InputError(f"{where} is a {quote(name)}, which Keras {keras.__version__} does not have; expected its layers; use a newer one")


def _why_not(kind: str | None, module: str, name: str, settings: Any) -> str:
    """Return what a refused name is, what was expected, and what helps."""
    article = "an" if name[:1] in {*"AEIOU"} else "a"
    folder = settings.get("filepath") if name == "TFSMLayer" and isinstance(settings, dict) else None
    works = name == "Lambda" or (isinstance(folder, str) and Path(folder).is_dir())
    advice = TRUST if works else f"rebuild it without, then {RESAVE}"
    if kind == "runs-code":
        return f"is {article} {name}, which can run any code; expected layers of Keras that hold data only; {advice}"
    if kind == "reads-files":
        return f"is {article} {name}, which can read files of this machine; expected layers for images; {advice}"
    if kind == "takes-function":
        return f"is the operation {name}, which calls functions; expected pure operations; {advice}"
    if kind == "quantized":
        return f"names {quote(full_name(module, name))}, a quantization that nc_tf does not undo; expected float or int8; {TRUST}"
    if not module and is_operation(name):
        return f"is the operation {quote(name)}, which .h5 files cannot describe; expected a .keras file; {RESAVE}"
    whole = quote(full_name(module, name))
    if kind == "no-layer" or (keras_has(module, name) and not module.startswith("keras.layers")):
        return f"names {whole}, which is no layer for images; expected layers, not tools; {advice}"
    if keras_has(module, name):  # of a Keras newer than the list
        return f"names {whole}, which nc_tf has not been told of; expected a layer of its list; {TRUST}"
    return f"is {article} {quote(name)}, which Keras {keras.__version__} does not have; expected its built-in layers; {REGISTER}"


def refuse_odd_data(value: dict[str, Any], where: str) -> None:
    """Refuse constants whose dtype is not numeric: Keras hands the name to NumPy or TensorFlow."""
    settings = value.get("config")
    if isinstance(settings, dict) and "dtype" in settings and str(settings["dtype"]) not in DTYPES:
        raise InputError(f"{where} holds a constant of dtype {quote(settings['dtype'])}; expected a number type; {RESAVE}")


def refuse_registered_string(value: str, layer: str, path: Path, custom: set[str]) -> None:
    """Refuse words that Keras would replace by a custom object, because this process registered one of that name."""
    if value in custom:
        raise InputError(f"{path}: layer {quote(layer)} names {quote(value)}, a custom object that this process registered; {TRUST}")
