"""How calls of TensorFlow's functions are written in operations of Keras 3; `legacy_ops` says which function is which."""

from collections.abc import Callable
from typing import Any

Tensor = dict[str, Any]  # a serialized keras tensor
Translation = Callable[..., Tensor]


def keras_tensor(layer: str, node: int, tensor: int) -> Tensor:
    """Describe the output of a layer's call as Keras 3 does; its shape is found out when the network is built."""
    return {"class_name": "__keras_tensor__", "config": {"shape": [], "dtype": "float32", "keras_history": [layer, node, tensor]}}


class Operations:
    """The operations that stand for one TFOpLambda; the last of them bears its name, which others refer to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.entries: list[dict[str, Any]] = []

    def __call__(self, operation: str, *arguments: Any, **settings: Any) -> Tensor:
        """Add an operation, such as "numpy.Add", and return what it puts out."""
        module, kind = operation.split(".")
        name = f"{self.name}_part{len(self.entries)}"
        self.entries.append(
            {
                "module": f"keras.src.ops.{module}",
                "class_name": kind,
                "config": {"name": name, **settings},
                "registered_name": kind,
                "name": name,
                "inbound_nodes": [{"args": [_constant(argument) for argument in arguments], "kwargs": {}}],
            }
        )
        return keras_tensor(name, 0, 0)

    def named(self) -> list[dict[str, Any]]:
        """All entries, the last under the name of the layer that they replace."""
        last = self.entries[-1]
        last["name"] = last["config"]["name"] = self.name
        return self.entries


def _constant(argument: Any) -> Any:
    """A list of numbers is an array of them; a list of tensors stays a list."""
    flat = argument
    while isinstance(flat, list) and flat:
        flat = flat[0]
    if isinstance(argument, list) and isinstance(flat, int | float) and not isinstance(flat, bool):
        return {"class_name": "__numpy__", "config": {"value": argument, "dtype": "float32"}}
    return argument


def _number(value: Any) -> bool:
    return isinstance(value, int | float)


def _plain(*values: Any) -> None:
    """Settings must be numbers, texts or lists of them, never tensors."""
    for value in values:
        if isinstance(value, dict):
            raise TypeError("a tensor where a number is expected")
        if isinstance(value, list):
            _plain(*value)


def unary(operation: str, **settings: Any) -> Translation:
    def write(emit: Operations, x: Any) -> Tensor:
        return emit(operation, x, **settings)

    return write


def binary(operation: str) -> Translation:
    def write(emit: Operations, x: Any, y: Any) -> Tensor:
        return emit(operation, x, y)

    return write


def reduction(operation: str) -> Translation:
    def write(emit: Operations, x: Any, axis: Any = None, keepdims: bool | None = False) -> Tensor:
        _plain(axis)
        return emit(operation, x, axis=axis, keepdims=bool(keepdims))

    return write


def activation(operation: str) -> Translation:
    def write(emit: Operations, x: Any, axis: int | None = None) -> Tensor:
        return emit(operation, x, axis=-1 if axis is None else axis)

    return write


def silu(emit: Operations, x: Any, beta: float = 1.0) -> Tensor:
    return emit("nn.Silu", x) if beta == 1.0 else emit("numpy.Multiply", x, emit("nn.Sigmoid", emit("numpy.Multiply", x, beta)))


def cast(emit: Operations, x: Any, dtype: Any) -> Tensor:
    return emit("core.Cast", x, dtype=dtype)


def concat(emit: Operations, values: Any, axis: int) -> Tensor:
    return emit("numpy.Concatenate", values, axis=axis)


def stack(emit: Operations, values: Any, axis: int = 0) -> Tensor:
    return emit("numpy.Stack", values, axis=axis)


def split(emit: Operations, x: Any, num_or_size_splits: Any, axis: int = 0, num: None = None) -> Tensor:
    del num
    _plain(num_or_size_splits)
    if isinstance(num_or_size_splits, list):
        places = [sum(num_or_size_splits[: index + 1]) for index in range(len(num_or_size_splits) - 1)]
        return emit("numpy.Split", x, indices_or_sections=places, axis=axis)
    return emit("numpy.Split", x, indices_or_sections=num_or_size_splits, axis=axis)


def unstack(emit: Operations, x: Any, num: int | None = None, axis: int = 0) -> Tensor:
    return emit("core.Unstack", x, num=num, axis=axis)


def reshape(emit: Operations, x: Any, shape: list[int]) -> Tensor:
    _plain(shape)
    return emit("numpy.Reshape", x, newshape=shape)


def transpose(emit: Operations, x: Any, perm: list[int] | None = None, conjugate: bool = False) -> Tensor:
    _plain(perm, conjugate)
    return emit("numpy.Transpose", x, axes=perm)


def expand(emit: Operations, x: Any, axis: int) -> Tensor:
    return emit("numpy.ExpandDims", x, axis=axis)


def squeeze(emit: Operations, x: Any, axis: Any = None) -> Tensor:
    for place in sorted([axis] if _number(axis) else axis, reverse=True):
        x = emit("numpy.Squeeze", x, axis=place)
    return x


def tile(emit: Operations, x: Any, multiples: list[int]) -> Tensor:
    _plain(multiples)
    return emit("numpy.Tile", x, repeats=multiples)


def pad(emit: Operations, x: Any, paddings: Any, mode: str = "CONSTANT", constant_values: float = 0) -> Tensor:
    _plain(paddings, constant_values)
    if mode == "CONSTANT" and constant_values:
        raise ValueError(f"constant_values={constant_values}")
    return emit("numpy.Pad", x, pad_width=paddings, mode=mode.lower())


def reverse(emit: Operations, x: Any, axis: Any) -> Tensor:
    _plain(axis)
    return emit("numpy.Flip", x, axis=axis)


def flip(axis: int) -> Translation:
    def write(emit: Operations, image: Any) -> Tensor:
        return emit("numpy.Flip", image, axis=axis)

    return write


def repeat(emit: Operations, x: Any, repeats: int, axis: int | None = None) -> Tensor:
    _plain(repeats)
    return emit("numpy.Repeat", x, repeats=repeats, axis=axis)


def roll(emit: Operations, x: Any, shift: Any, axis: Any) -> Tensor:
    _plain(shift, axis)
    return emit("numpy.Roll", x, shift=shift, axis=axis)


def gather(emit: Operations, x: Any, indices: Any, validate_indices: None = None, axis: int | None = None, batch_dims: int = 0) -> Tensor:
    del validate_indices
    _plain(indices)
    if batch_dims:
        raise ValueError(f"batch_dims={batch_dims}")
    places = {"class_name": "__numpy__", "config": {"value": indices, "dtype": "int32"}}
    return emit("numpy.Take", x, places, axis=axis or 0)


def getitem(emit: Operations, x: Any, slice_spec: Any) -> Tensor:
    def part(item: Any) -> Any:
        if isinstance(item, dict) and item.get("class_name") == "__ellipsis__":
            return {"class_name": "__ellipsis__", "config": {}}
        if isinstance(item, dict) and item.keys() == {"start", "stop", "step"}:
            _plain(*item.values())
            return {"class_name": "__slice__", "config": dict(item)}
        _plain(item)
        return item

    key = [part(item) for item in slice_spec] if isinstance(slice_spec, list) else part(slice_spec)
    tensor = emit("numpy.GetItem", x)
    emit.entries[-1]["inbound_nodes"][0]["args"].append(key)
    return tensor


def where(emit: Operations, condition: Any, x: Any, y: Any) -> Tensor:
    return emit("numpy.Where", condition, x, y)


def clip(emit: Operations, x: Any, clip_value_min: Any, clip_value_max: Any) -> Tensor:
    return emit("numpy.Minimum", emit("numpy.Maximum", x, clip_value_min), clip_value_max)


def l2_normalize(emit: Operations, x: Any, axis: Any = None, epsilon: float = 1e-12) -> Tensor:
    _plain(axis)
    total = emit("numpy.Sum", emit("numpy.Square", x), axis=axis, keepdims=True)
    return emit("numpy.Multiply", x, emit("math.Rsqrt", emit("numpy.Maximum", total, epsilon)))


def bias_add(emit: Operations, x: Any, bias: Any, data_format: str | None = None) -> Tensor:
    if data_format not in (None, "NHWC", "N...C"):
        raise ValueError(f"data_format={data_format!r}")
    return emit("numpy.Add", x, bias)


def add_n(emit: Operations, inputs: list[Any]) -> Tensor:
    total = inputs[0]
    for item in inputs[1:]:
        total = emit("numpy.Add", total, item)
    return total


def resize(
    emit: Operations, images: Any, size: Any, method: str = "bilinear", preserve_aspect_ratio: bool = False, antialias: bool = False
) -> Tensor:
    _plain(size)
    if preserve_aspect_ratio or method not in ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5"):
        raise ValueError(f"method={method!r}, preserve_aspect_ratio={preserve_aspect_ratio}")
    return emit("image.Resize", images, size=size, interpolation=method, antialias=antialias, data_format="channels_last")


def gray(emit: Operations, images: Any) -> Tensor:
    return emit("image.RGBToGrayscale", images, data_format="channels_last")


def pool(operation: str) -> Translation:
    def write(emit: Operations, x: Any, ksize: Any, strides: Any, padding: str, data_format: str = "NHWC") -> Tensor:
        _plain(ksize, strides)
        if data_format != "NHWC" or not all(_number(value) or len(value) == 2 for value in (ksize, strides)):
            raise ValueError(f"ksize={ksize}, strides={strides}, data_format={data_format!r}")
        return emit(operation, x, pool_size=ksize, strides=strides, padding=padding.lower(), data_format="channels_last")

    return write


def matmul(emit: Operations, a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False) -> Tensor:
    a = emit("numpy.Swapaxes", a, axis1=-1, axis2=-2) if transpose_a else a
    return emit("numpy.Matmul", a, emit("numpy.Swapaxes", b, axis1=-1, axis2=-2) if transpose_b else b)


def gelu(emit: Operations, x: Any, approximate: bool = False) -> Tensor:
    return emit("nn.Gelu", x, approximate=approximate)


def leaky_relu(emit: Operations, x: Any, alpha: float = 0.2) -> Tensor:
    return emit("nn.LeakyRelu", x, negative_slope=alpha)


def blocks(operation: str) -> Translation:
    def write(emit: Operations, x: Any, block_size: int, data_format: str = "NHWC") -> Tensor:
        if data_format != "NHWC":
            raise ValueError(f"data_format={data_format!r}")
        return emit(operation, x, block_size=block_size, data_format="channels_last")

    return write


def scaled_sum(emit: Operations, both: list[Any], scale: float) -> Tensor:
    """The layer of InceptionResNetV2 that adds a branch."""
    return emit("numpy.Add", both[0], emit("numpy.Multiply", both[1], scale))


def squared_difference(emit: Operations, x: Any, y: Any) -> Tensor:
    return emit("numpy.Square", emit("numpy.Subtract", x, y))
