"""Operations of TensorFlow in networks of Keras 2 (TFOpLambda, SlicingOpLambda), each written in operations of Keras 3.

`TABLE` is the whole list: what stands in it was compared with TensorFlow's answers, anything else is refused by name.
"""

import inspect
from typing import Any

from nc_tf.models.loading.legacy import op_writers as write


def translate(function: str, name: str, first: Any, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """Write one call of a TensorFlow function in operations of Keras 3.

    Args:
        function: its name below `tf.`, as Keras 2 records it.
        name: of the layer.
        first: the first argument: a tensor, a list of tensors or a constant.
        arguments: the others by the names that TensorFlow gives them.

    Raises:
        LookupError: the function is not in `TABLE`.
        TypeError, ValueError: an argument that the table does not know.
    """
    if function not in TABLE:
        raise LookupError(function)
    emit = write.Operations(name)
    arguments = {key: value for key, value in arguments.items() if key != "name"}
    bound = inspect.signature(TABLE[function]).bind(emit, first, **arguments)
    TABLE[function](*bound.args, **bound.kwargs)
    return emit.named()


TABLE: dict[str, write.Translation] = {
    "CustomScaleLayer": write.scaled_sum, "__operators__.getitem": write.getitem, "cast": write.cast, "concat": write.concat,
    "stack": write.stack, "split": write.split, "unstack": write.unstack,
    "reshape": write.reshape, "transpose": write.transpose, "compat.v1.transpose": write.transpose, "expand_dims": write.expand,
    "squeeze": write.squeeze,
    "compat.v1.squeeze": write.squeeze, "tile": write.tile, "pad": write.pad, "compat.v1.pad": write.pad, "reverse": write.reverse,
    "repeat": write.repeat, "roll": write.roll,
    "gather": write.gather, "compat.v1.gather": write.gather, "where": write.where, "compat.v2.where": write.where,
    "clip_by_value": write.clip,
    "nn.bias_add": write.bias_add, "math.add_n": write.add_n, "linalg.matmul": write.matmul,
    "math.squared_difference": write.squared_difference,
    **{f"{space}.l2_normalize": write.l2_normalize for space in ("math", "linalg", "nn")},
    "image.resize": write.resize, "image.flip_left_right": write.flip(-2), "image.flip_up_down": write.flip(-3),
    "image.rgb_to_grayscale": write.gray,
    "nn.max_pool2d": write.pool("nn.MaxPool"), "nn.avg_pool2d": write.pool("nn.AveragePool"),
    "nn.depth_to_space": write.blocks("nn.DepthToSpace"), "nn.space_to_depth": write.blocks("nn.SpaceToDepth"),
    "nn.silu": write.silu, "nn.swish": write.silu, "nn.gelu": write.gelu, "nn.leaky_relu": write.leaky_relu,
    "nn.softmax": write.activation("nn.Softmax"), "nn.log_softmax": write.activation("nn.LogSoftmax"),
    "math.softmax": write.activation("nn.Softmax"),
    **{f"nn.{name}": write.unary(f"nn.{name.capitalize()}") for name in ("relu", "relu6", "elu", "selu", "softplus", "softsign",
    "sigmoid")},
    "nn.tanh": write.unary("numpy.Tanh"), "math.sigmoid": write.unary("nn.Sigmoid"), "math.softplus": write.unary("nn.Softplus"),
    "math.rsqrt": write.unary("math.Rsqrt"), "math.erf": write.unary("math.Erf"), "math.log_sigmoid": write.unary("nn.LogSigmoid"),
    "identity": write.unary("numpy.Copy"), "stop_gradient": write.unary("core.StopGradient"), "round": write.unary("numpy.Round"),
    "math.round": write.unary("numpy.Round"),
    **{f"math.{name}": write.unary(f"numpy.{kind}") for name, kind in {
        "abs": "Absolute", "negative": "Negative", "square": "Square", "sqrt": "Sqrt", "exp": "Exp", "expm1": "Expm1", "log": "Log",
        "log1p": "Log1p",
        "sin": "Sin", "cos": "Cos", "tan": "Tan", "tanh": "Tanh", "sign": "Sign", "floor": "Floor", "ceil": "Ceil",
        "reciprocal": "Reciprocal",
        "logical_not": "LogicalNot"}.items()},
    **{name: write.binary(f"numpy.{kind}") for name, kind in {
        "__operators__.add": "Add", "math.add": "Add", "math.subtract": "Subtract", "math.multiply": "Multiply",
        "math.truediv": "TrueDivide",
        "math.divide": "TrueDivide", "math.divide_no_nan": "DivideNoNan", "math.pow": "Power", "math.floordiv": "FloorDivide",
        "compat.v1.floor_div": "FloorDivide",
        "math.floormod": "Mod", "math.maximum": "Maximum", "math.minimum": "Minimum", "math.greater": "Greater",
        "math.greater_equal": "GreaterEqual",
        "math.less": "Less", "math.less_equal": "LessEqual", "math.equal": "Equal", "math.not_equal": "NotEqual",
        "__operators__.eq": "Equal",
        "__operators__.ne": "NotEqual", "math.logical_and": "LogicalAnd", "math.logical_or": "LogicalOr"}.items()},
    **{f"math.reduce_{name}": write.reduction(f"numpy.{kind}") for name, kind in {
        "mean": "Mean", "sum": "Sum", "max": "Max", "min": "Min", "prod": "Prod", "std": "Std", "variance": "Var"}.items()},
    "math.reduce_logsumexp": write.reduction("math.Logsumexp"),
}  # fmt: skip
