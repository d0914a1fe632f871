"""Reading the architecture in a model file as data: an allow-list that is walked before Keras sees a word of it.

Keras's own safe mode has been passed by naming functions instead of layers (CVE-2025-1550, -8747, -9906), is ignored for `.h5`
(CVE-2025-9905), and lets lookup layers read files (CVE-2025-12058). So nothing is looked for that is bad; whatever is not known
to be a layer, initializer, regularizer, constraint, dtype policy or pure operation of Keras is refused. No name in a file is ever imported.
"""

import functools
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
from keras.src.api_export import get_symbol_from_name
from keras.src.backend.common import global_state
from keras.src.models import Functional
from keras.src.ops import core, nn, numpy

from nc_tf.errors import InputError
from nc_tf.models.containers import MAX_CONFIG_BYTES, RESAVE, show

MAX_DEPTH = 100
MAX_INTEGER = 1 << 24
MAX_LAYERS = 5000
TRUST = "pass --trust-model (trust_model=True) only if you trust its author"

RUN_CODE = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
READ_FILES = {"StringLookup", "IntegerLookup", "TextVectorization"}
NOT_FOR_IMAGES = {"Hashing", "HashedCrossing", "MelSpectrogram", "STFTSpectrogram", "InputSpec"}
# These operations take a function, which a file can only give by name.
TAKE_FUNCTIONS = {"AssociativeScan", "Cond", "ForiLoop", "Function", "JVP", "Map", "Scan", "Switch", "VectorizedMap", "WhileLoop"}
OPERATION_MODULES = ("keras.src.ops.", "keras.src.activations.")
DATA = {"__keras_tensor__", "__numpy__", "__tensor__", "__slice__", "__ellipsis__"}
CODE = {"__lambda__", "__typespec__", "function"}
NOT_SIZES = {"seed", "shared_object_id", "start", "stop", "step", "value"}  # numbers that allocate nothing
DTYPES = {"bool", "float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}


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
    custom = {*keras.saving.get_custom_objects(), *_scoped_objects()}
    num_layers = 0
    for value, key, layer in walk(config, path):
        if isinstance(value, dict) and "class_name" in value:
            refuse_unknown_object(value, layer, path)
        elif isinstance(value, str) and key != "name":
            refuse_registered_string(value, layer, path, custom)
        elif isinstance(value, int) and abs(value) > MAX_INTEGER and key not in NOT_SIZES:
            raise InputError(
                f"{path}: layer {show(layer)} asks for {show(key)} = {show(value)}; no size above {MAX_INTEGER} is accepted; {RESAVE}"
            )
        if key == "layers" and isinstance(value, dict):
            num_layers += 1
    if num_layers > MAX_LAYERS:
        raise InputError(f"{path}: {num_layers} layers; the limit is {MAX_LAYERS}; {RESAVE}")


def _scoped_objects() -> dict[str, Any]:
    return global_state.get_global_attribute("custom_objects_scope_dict", {}) or {}


def refuse_unknown_object(value: dict[str, Any], layer: str, path: Path) -> None:
    """Refuse a serialized object unless it is plain data or resolves to an allowed class, as Keras itself would resolve it."""
    name, module = value["class_name"], value.get("module", "")
    where = f"{path}: layer {show(layer)}"
    if not isinstance(name, str):
        raise InputError(f"{where} has the class_name {show(name)}; expected a text; {RESAVE}")
    if name in DATA and not value.get("module"):
        refuse_odd_data(value, where)
        return
    if name in RUN_CODE or name in CODE:
        what = f"names the function {show(value.get('config'))}" if name == "function" else f"is a {name}, which can run any code"
        raise InputError(f"{where} {what}; expected layers of Keras that hold data only; {TRUST}")
    if name in READ_FILES:
        article = "an" if name[0] in "AEIOU" else "a"
        raise InputError(f"{where} is {article} {name}, which can read files of this machine; expected layers for images; {TRUST}")
    if name in TAKE_FUNCTIONS:
        raise InputError(f"{where} is the operation {name}, which calls functions; expected pure operations; {TRUST}")
    registered = value.get("registered_name")
    if module is None or (registered is not None and registered != name):
        raise InputError(f"{where} is the custom class {show(registered or name)}; expected built-in layers of Keras only; {TRUST}")
    if not isinstance(module, str) or (module and module != "keras" and not module.startswith("keras.")):
        raise InputError(f"{where} comes from the Python module {show(module)}; expected built-in layers of Keras only; {TRUST}")
    found = _resolve(module, name)
    if found is None and not module and any(name in vars(space) for space in (numpy, nn, core)):
        raise InputError(f"{where} is the operation {show(name)}, which .h5 files cannot describe; expected a .keras file; {RESAVE}")
    if found is None:
        raise InputError(f"{where} is a {show(name)}, which Keras {keras.__version__} does not have; expected its built-in layers; {TRUST}")
    if found not in allowed_classes() and not _is_pure_operation(found):
        raise InputError(f"{where} names {show(f'{module}.{name}')}, which is no layer for images; expected layers, not tools; {TRUST}")


def refuse_odd_data(value: dict[str, Any], where: str) -> None:
    """Refuse constants whose dtype is not numeric: Keras hands the name to NumPy or TensorFlow."""
    settings = value.get("config")
    if isinstance(settings, dict) and "dtype" in settings and str(settings["dtype"]) not in DTYPES:
        raise InputError(f"{where} holds a constant of dtype {show(settings['dtype'])}; expected a number type; {RESAVE}")


def refuse_registered_string(value: str, layer: str, path: Path, custom: set[str]) -> None:
    """Refuse words that Keras would replace by a custom object, because this process registered one of that name."""
    if value in custom:
        raise InputError(f"{path}: layer {show(layer)} names {show(value)}, a custom object that this process registered; {TRUST}")


def _resolve(module: str, name: str) -> Any:
    """What Keras would make of this name, found without importing anything."""
    if not module:
        return next((space[name] for space in _namespaces() if name in space), None)
    found = get_symbol_from_name(f"{module}.{name}")
    return found if found is not None else vars(sys.modules[module]).get(name) if module in sys.modules else None


@functools.cache
def _namespaces() -> list[dict[str, Any]]:
    """The allowed classes by name; those of files without modules (Keras 1 and 2) are looked up here."""
    spaces = [keras.layers, keras.initializers, keras.regularizers, keras.constraints, keras.dtype_policies]
    classes = [{name: item for name, item in vars(space).items() if inspect.isclass(item)} for space in spaces]
    models = {"Model": keras.Model, "Functional": Functional, "Sequential": keras.Sequential}
    return [models, *classes]


@functools.cache
def allowed_classes() -> frozenset[type]:
    """Every class that an untrusted architecture may name."""
    refused = RUN_CODE | READ_FILES | NOT_FOR_IMAGES
    quantized = {name for name in vars(keras.dtype_policies) if name.startswith(("AWQ", "GPTQ", "Int4", "Quantized"))}
    classes = {item for space in _namespaces() for name, item in space.items() if name not in refused | quantized}
    return frozenset(item for item in classes if item.__module__.startswith("keras."))


def _is_pure_operation(found: Any) -> bool:
    """`x + y` in a functional model is saved as keras.src.ops.numpy.Add: such classes compute tensors and nothing else."""
    return (
        inspect.isclass(found)
        and issubclass(found, keras.Operation)
        and not issubclass(found, keras.Layer)
        and found.__module__.startswith(OPERATION_MODULES)
        and found.__name__ not in TAKE_FUNCTIONS
    )
