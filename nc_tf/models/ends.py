"""Inputs and outputs of a network: images or flat rows, one output or several, a score a class or one value."""

import math
from enum import StrEnum
from typing import Any

import keras
import numpy as np
from keras import tree

from nc_tf.errors import InputError, quote
from nc_tf.models.keras_internals import call_of, maker_of

ImageShape = tuple[int, ...]

GIVE_SHAPE = "give --image-shape HxWxC (image_shape=(H, W, C) of nc_tf.adapt)"
IMAGES = "expected images (N, H, W, C) or clips (N, T, H, W, C)"
SCORES = "expected a sigmoid (class 1 above .5), or no activation (class 1 above 0), or a score a class"
# Sides of an image that is recognised by itself in a flat or gray input: fewer values are more likely the columns of a table.
SMALLEST_SIDE = 8
# Layers and operations that arrange values anew or take their mean, so that probabilities stay such, and logits too.
PASS_ON = ("Dropout", "Identity", "Flatten", "Reshape", "Squeeze", "ExpandDims", "Cast", "Average", "GlobalAveragePooling2D")
LISTED = 20  # outputs in a message
LOOK_AT = 8  # random images, where the activation cannot be read off the network


class Ending(StrEnum):
    """Meaning of the only value that a network for two classes puts out."""

    PROBABILITY = "one sigmoid output"
    LOGIT = "one linear output, the logit of class 1"


def check_ends(model: Any, name: str) -> None:
    """Check that a model is a network of Keras with one input.

    Raises:
        InputError: another object, a network whose input and output are not known, or several inputs.
    """
    if not isinstance(model, keras.Model):
        raise InputError(f"{name} is of type {type(model).__name__}; expected a keras.Model of Keras 3; load it with nc_tf.load_model")
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise InputError(
            f"{name}: the network has no known input and output; expected a Sequential or functional model; "
            "make one: keras.Model(images, model(images)) with images = keras.Input((H, W, C))"
        )
    if len(model.inputs) != 1:
        raise InputError(f"{name}: the network has {len(model.inputs)} inputs; expected one, of images or clips; cut out the image branch")


def output_names(model: keras.Model) -> list[str]:
    """A name for each output, in the order of `model.outputs`: its key in a dict, or the name of its layer."""
    if isinstance(model, keras.Sequential):
        return [model.layers[-1].name]
    paths = [[part for part in path if isinstance(part, str)] for path, _ in tree.flatten_with_path(model.output)]
    return [".".join(path) or layer for path, layer in zip(paths, model.output_names, strict=True)]


def chosen_output(model: keras.Model, output: str | None, name: str) -> int:
    """Which of the outputs has the class scores: the only one, or the one that is asked for by name or number.

    Raises:
        InputError: there are several and none is asked for, or one that is not there.
    """
    names, layers = output_names(model), getattr(model, "output_names", ())
    if output is None and len(names) == 1:
        return 0
    for known in (names, list(layers), [str(number) for number in range(len(names))]):
        if output is not None and known.count(output) == 1:
            return known.index(output)
    shapes = [tuple(tensor.shape) for tensor in model.outputs]
    listed = ", ".join(f"{number}: {quote(names[number])} {shape}" for number, shape in enumerate(shapes[:LISTED]))
    listed += ", ..." if len(shapes) > LISTED else ""
    if output is None:
        raise InputError(
            f"{name}: the network has {len(names)} outputs; expected one, of class scores; "
            f"choose with --output (output= of nc_tf.adapt) one of {listed}"
        )
    raise InputError(f"{name}: the network has no single output {quote(output)}; expected one of {listed}; name it, or give its number")


def reshaped_from(model: keras.Model, image_shape: ImageShape | None, name: str) -> ImageShape | None:
    """Shape of the images that are reshaped to the network's input; None where it reads images or clips as they are.

    Args:
        model: with one input.
        image_shape: what was asked for.
        name: for the messages.

    Raises:
        InputError: the input holds no images, or it is not known which, or those asked for do not fit.
    """
    shape = tuple(model.inputs[0].shape)
    own = shape[1:]
    if len(own) in (3, 4):
        if image_shape not in (None, own):
            raise InputError(f"{name}: the network reads images of shape {own}, {by(image_shape)} was asked for; leave --image-shape out")
        return None
    if len(own) not in (1, 2) or None in own:
        raise InputError(f"{name}: the network reads arrays of shape {shape}; {IMAGES}")
    if image_shape is not None:
        if len(image_shape) not in (3, 4) or min(image_shape) < 1 or math.prod(image_shape) != math.prod(own):
            raise InputError(
                f"{name}: the network reads {math.prod(own)} values {own}, {by(image_shape)} are {math.prod(image_shape)}; "
                "expected as many, HxWxC or TxHxWxC; correct --image-shape"
            )
        return image_shape
    if len(own) == 2 and min(own) >= SMALLEST_SIDE:
        return (*own, 1)
    for channels in (1, 3):
        side = math.isqrt(own[0] // channels)
        if len(own) == 1 and side >= SMALLEST_SIDE and side**2 * channels == own[0]:
            return (side, side, channels)
    such_as = _such_as(math.prod(own))
    raise InputError(f"{name}: the network reads arrays of shape {shape}; {IMAGES}, or as many values; {GIVE_SHAPE}{such_as}")


def by(shape: ImageShape | None) -> str:
    """A shape as `--image-shape` takes it: 28x28x1."""
    return "x".join(map(str, shape or ()))


def _such_as(values: int) -> str:
    """Return the image shape nearest to a square with this number of values."""
    found = []
    for channels in (1, 3):
        pixels = values // channels
        height = next((side for side in range(math.isqrt(pixels), SMALLEST_SIDE - 1, -1) if pixels % side == 0), None)
        if height and values % channels == 0:
            found.append(by((height, pixels // height, channels)))
    return f", such as {' or '.join(found)}" if found else ""


def ending_of(model: keras.Model, output: int, name: str) -> Ending | None:
    """Return the meaning of an output's one value (N, 1); None where there is a score a class.

    The last activation tells; that of a layer which is not Keras's own is guessed from what the network answers for random images.

    Raises:
        InputError: the value is no class score.
    """
    if tuple(model.outputs[output].shape[1:]) != (1,):
        return None
    activation = _last_activation(model.outputs[output])
    if activation in ("sigmoid", "hard_sigmoid"):
        return Ending.PROBABILITY
    if activation == "linear":
        return Ending.LOGIT
    if activation == "softmax":
        raise InputError(f"{name}: the network puts out one value, through softmax, which is always 1; {SCORES}; train it again so")
    if activation is not None:
        raise InputError(f"{name}: the network puts out one value, through {quote(activation)}, which is no class score; {SCORES}")
    answers = _random_answers(model, output)
    if answers is None or answers.min() < 0 or answers.max() > 1:
        seen = "cannot be tried" if answers is None else f"answers {answers.min():.3g} to {answers.max():.3g} for random images"
        raise InputError(f"{name}: the network puts out one value and {seen}, so it is not known what that means; {SCORES}")
    return Ending.PROBABILITY


def _last_activation(tensor: Any) -> str | None:
    """The activation that a tensor comes from, followed into nested networks, or the layer that hides it; None for a stranger's layer."""
    waiting, seen = [tensor], set()
    found: set[str | None] = set()
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen:  # files from strangers may lead to one tensor on more ways than can be counted
            continue
        seen.add(id(tensor))
        operation, call, number = maker_of(tensor)
        kind, activation = type(operation).__name__, getattr(operation, "activation", None)
        name = None if activation is None else getattr(activation, "__name__", type(activation).__name__)
        if isinstance(operation, keras.Model) and getattr(operation, "outputs", None):
            waiting.append(operation.outputs[number])
        elif kind in PASS_ON or (kind == "Activation" and name == "linear"):  # such as a closing cast to float32
            waiting += call_of(operation, call).input_tensors
        elif name is None and (kind == "TFSMLayer" or not type(operation).__module__.startswith("keras.")):
            found.add(None)
        else:
            found.add(name or {"Sigmoid": "sigmoid", "HardSigmoid": "hard_sigmoid", "Softmax": "softmax"}.get(kind, kind))
    return found.pop() if len(found) == 1 else ", ".join(sorted(map(str, found)))


def _random_answers(model: keras.Model, output: int) -> np.ndarray | None:
    """Return answers to random images of both usual ranges; None where Keras cannot compute them or they are not finite."""
    shape = [LOOK_AT, *(side or 64 for side in model.inputs[0].shape[1:])]
    images = np.random.default_rng(0).uniform(0.0, 1.0, shape).astype(np.float32)
    try:
        found = [tree.flatten(model(scale * images, training=False))[output] for scale in (1.0, 255.0)]
    except Exception:  # whatever a layer's own code happens to hit; what was not seen is not known
        return None
    answers = np.concatenate([np.asarray(keras.ops.cast(part, "float32")) for part in found])
    return answers if np.isfinite(answers).all() else None
