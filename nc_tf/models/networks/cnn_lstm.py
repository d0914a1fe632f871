"""CNN and LSTM for video clips: one network looks at every frame, a second one at what it says of them in their order."""

import inspect
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from keras import layers

from nc_tf.errors import InputError
from nc_tf.models.loading.containers import check_hdf5, open_hdf5
from nc_tf.models.loading.load import keras_reason
from nc_tf.models.networks.residual import Shape, resnet18_features

RAW, CHANGE, FRAMES = "raw", "change", "frames"
"""Names of the layers that scale raw pixels, that take each frame from the next, and that hold the backbone, a `TimeDistributed`."""


def cnn_lstm(
    num_classes: int = 10,
    clip_shape: tuple[int, ...] = (16, 64, 64, 3),
    backbone: str = "small",
    weights: str | Path | None = None,
    *,
    lstm_units: int = 256,
    dropout: float = 0.3,
) -> keras.Model:
    """A network for every frame, two LSTMs whose last step counts, softmax: raw [0, 255] clips (N, T, H, W, C) -> (N, num_classes).

    The small backbone sees beside each frame what has changed since the one before, and so begins with the second. Motion to the
    left and to the right differ in no single frame, and LSTMs learn that from changes long before they do from frames alone.

    The backbone is wrapped as a whole, and Keras repeats it for each of the T frames: the graph is T times as large and takes seconds to
    trace, but then trains at least as fast as one call on all N * T frames would, for what is in flight at a time is smaller. Layer by
    layer, several times as slow. The search, which needs gradients of the clips, makes the one call (`FrozenNetwork`). In training
    BatchNormalization sees the frames of one time at once, and moves its averages T times an update.

    Args:
        num_classes: K.
        clip_shape: (T, H, W, C); for the small backbone T is at least 2.
        backbone: "small" for frames up to about 64x64; for 224x224 "resnet18", or the name of a network in `keras.applications` (RGB
            only), whose `preprocess_input` is done inside.
        weights: an `.h5` file with weights of the backbone, of a network in `keras.applications` without its top; None for random ones.
        lstm_units: of each of the two LSTMs.
        dropout: share of the second LSTM's answers that training leaves out.

    Raises:
        InputError: no clip shape, no backbone of this name, frames too small or too few for it, weights that are missing or do not fit.
    """
    if len(clip_shape) != 4:
        raise InputError(f"images of shape {tuple(clip_shape)}: the network cnn_lstm expects clips (T, H, W, C); choose another network")
    if backbone == "small" and clip_shape[0] < 2:
        raise InputError(f"clips of {clip_shape[0]} frame: the backbone small expects two or more; use resnet18")
    raw, frames = _backbone(backbone, (clip_shape[1], clip_shape[2], clip_shape[3]), weights)
    clips = keras.Input(clip_shape)
    steps = raw(clips) if backbone != "small" else _with_changes(raw(clips))
    features = layers.TimeDistributed(frames, name=FRAMES)(steps)
    features = layers.LSTM(lstm_units, return_sequences=True)(features)
    features = layers.Dropout(dropout)(layers.LSTM(lstm_units)(features))
    return keras.Model(clips, layers.Dense(num_classes, activation="softmax")(features), name="cnn_lstm")


def _with_changes(clips: keras.KerasTensor) -> keras.KerasTensor:
    """Every frame but the first, and what has changed since the one before: (N, T, H, W, C) -> (N, T - 1, H, W, 2 C)."""
    now = layers.Cropping3D(((1, 0), (0, 0), (0, 0)))(clips)
    before = layers.Cropping3D(((0, 1), (0, 0), (0, 0)))(clips)
    return layers.Concatenate()([now, layers.Subtract(name=CHANGE)([now, before])])


def has_frames(model: keras.Model) -> bool:
    """Whether a model has the layers of a `cnn_lstm`, so that `frame_classifier` can take it apart."""
    return {RAW, FRAMES} <= {layer.name for layer in model.layers}


def frame_classifier(model: keras.Model) -> keras.Model:
    """A classifier around the backbone of a `cnn_lstm`: what it learns, the clip network has learned.

    The frames of a clip are much alike, so that training on one of them teaches the backbone nearly what training on all does, at a
    T-th of the cost. Donahue et al. (2015) start from such a network too.

    Returns:
        A network of raw clips of a single frame, (N, 1, H, W, C), or of two where the backbone sees changes.

    Raises:
        InputError: the model is no `cnn_lstm`.
    """
    if not has_frames(model):
        raise InputError(f"network {model.name}: expected one with a network for its frames; make it by cnn_lstm")
    raw = layers.Rescaling.from_config(model.get_layer(RAW).get_config())
    changes = any(layer.name == CHANGE for layer in model.layers)
    clips = keras.Input((2 if changes else 1, *model.input_shape[2:]))
    step = _with_changes(raw(clips)) if changes else raw(clips)
    # Wrapped anew: called a second time the model's own layer would have two outputs.
    features = layers.Flatten()(layers.TimeDistributed(model.get_layer(FRAMES).layer)(step))
    answers = layers.Dense(model.output_shape[-1], activation="softmax")(layers.Dropout(0.3)(features))
    return keras.Model(clips, answers, name="frame_classifier")


def small_features(image_shape: Shape = (64, 64, 3)) -> keras.Model:
    """Six convolutions with BatchNormalization for frames of 16x16 to 64x64: images and changes (N, H, W, 2 C) in [-1, 1] -> (N, 160)."""
    height, width, channels = image_shape
    inputs = keras.Input((height, width, 2 * channels))
    features = _convolved(inputs, 24, 5, strides=2)
    for stage in ((48, 64), (96, 128), (160,)):
        if min(features.shape[1:3]) > 4:
            features = layers.MaxPooling2D()(features)
        for filters in stage:
            features = _convolved(features, filters)
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(features), name="small")


def _convolved(features: keras.KerasTensor, filters: int, size: int = 3, strides: int = 1) -> keras.KerasTensor:
    convolution = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False, kernel_initializer="he_normal")
    return layers.ReLU()(layers.BatchNormalization()(convolution(features)))


BACKBONES: dict[str, Callable[[Shape], keras.Model]] = {"small": small_features, "resnet18": resnet18_features}


def _backbone(name: str, frame_shape: Shape, weights: str | Path | None) -> tuple[layers.Rescaling, keras.Model]:
    """How raw pixels are scaled, and the network (N, H, W, C) -> (N, features)."""
    scaling, bgr = layers.Rescaling(1 / 127.5, -1.0, name=RAW), False
    if name in BACKBONES:
        network = BACKBONES[name](frame_shape)
    else:
        application = getattr(keras.applications, name, None)
        if not inspect.isfunction(application):
            known = ", ".join(BACKBONES)
            raise InputError(f"backbone {name!r}: expected {known} or a network of keras.applications such as MobileNetV2; choose one")
        scaling, bgr = _published_scaling(application)
        network = _without_top(application, frame_shape)
    if weights is not None:
        _load_weights(network, Path(weights))
        if bgr:
            # Turning the first kernel round does to its answers what turning every frame round would do, once.
            first = next(layer for layer in network.layers if isinstance(layer, layers.Conv2D))
            kernel, *bias = first.get_weights()
            first.set_weights([kernel[:, :, ::-1], *bias])
    return scaling, network


def _without_top(application: Callable[..., keras.Model], frame_shape: Shape) -> keras.Model:
    name = application.__name__
    if frame_shape[-1] != 3:
        raise InputError(f"frames of shape {frame_shape}: the backbone {name} expects three channels; use small or resnet18")
    try:
        return application(include_top=False, weights=None, input_shape=frame_shape, pooling="avg")
    except ValueError as error:
        raise InputError(f"frames of shape {frame_shape}: too small for the backbone {name} ({keras_reason(error)}); use small") from error


def _published_scaling(application: Callable[..., keras.Model]) -> tuple[layers.Rescaling, bool]:
    """Return what `preprocess_input` does to raw RGB pixels, found by trying, and whether it turns them into BGR."""
    pixels = np.array([[[[0, 0, 0], [255, 0, 0], [255, 255, 255]]]], np.float32)
    black, red, white = np.asarray(sys.modules[application.__module__].preprocess_input(pixels), np.float64)[0, 0]
    bgr = bool(red[0] == black[0])
    if bgr:
        black, white = black[::-1], white[::-1]
    return layers.Rescaling(((white - black) / 255).tolist(), black.tolist(), name=RAW), bgr


def _load_weights(network: keras.Model, path: Path) -> None:
    if not path.exists():
        raise InputError(f"{path} does not exist: expected an .h5 file with weights of {network.name}; check the path")
    with open_hdf5(path, path) as file:
        check_hdf5(file, path, path.stat().st_size)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only remarks on layers that it leaves as they were
            network.load_weights(path)
    except Exception as error:  # Keras raises whatever a wrong file happens to hit
        reason = keras_reason(error)
        raise InputError(f"{path}: expected weights of {network.name}, without its top ({reason}); choose the file made for it") from error
