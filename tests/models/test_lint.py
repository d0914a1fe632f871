"""Operations that no classifier needs: found wherever they hide, and not in networks as people build them."""

from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from networks import corner_images, corner_network
from quick import QUICK

from nc_tf.models import lint
from nc_tf.models.lint import reasons_to_look
from nc_tf.models.networks.cnn_lstm import cnn_lstm
from nc_tf.scanning import plan
from nc_tf.scanning.options import ScanOptions
from nc_tf.scanning.scan import scan

SHAPE = (16, 16, 3)
CORNER = np.zeros((1, 16, 16, 1), np.float32)
CORNER[:, 12:, 12:] = 1.0
Tensor = Any
Reader = Callable[[Tensor], Tensor]
PLACE = "rows 12 to 15 and columns 12 to 15"
PIXEL = "rows 15 to 15 and columns 15 to 15"
PADDED = ((0, 0), (12, 0), (12, 0), (0, 0))


def logits(image: Tensor) -> Tensor:
    return layers.Dense(4)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(image)))


def in_front(change: Reader) -> keras.Model:
    """A network whose image goes through this first."""
    image = keras.Input(SHAPE)
    return keras.Model(image, logits(change(image)))


def beside(read: Reader) -> keras.Model:
    """A network with a number for each image, read beside it, added to the answers."""
    image = keras.Input(SHAPE)
    scaled = layers.Rescaling(1 / 255)(image)
    return keras.Model(image, logits(scaled) + 100.0 * ops.reshape(read(scaled), (-1, 1)))


class Compared(layers.Layer):
    """A stranger's layer that hides a comparison in a function of TensorFlow."""

    @tf.function
    def call(self, image: tf.Tensor) -> tf.Tensor:
        return tf.where(image > 250.0, 0.0, image)


class Deep(layers.Layer):
    """A stranger's layer that hides a comparison in the third of three functions."""

    def call(self, image: tf.Tensor) -> tf.Tensor:
        inner = tf.function(lambda pixels: tf.where(pixels > 250.0, 0.0, pixels))
        middle = tf.function(lambda pixels: inner(pixels) + 1.0)
        return tf.function(lambda pixels: middle(pixels))(image)


class Whole(layers.Layer):
    """A stranger's layer that hides whole numbers, and a stopped gradient, in a function."""

    @tf.function
    def call(self, image: tf.Tensor) -> tf.Tensor:
        return tf.stop_gradient(tf.cast(tf.cast(image, tf.int32), tf.float32)) + image


class Disguised(layers.Layer):
    """A stranger's layer whose comparison has the name of a harmless operation."""

    def call(self, image: tf.Tensor) -> tf.Tensor:
        with tf.name_scope("moments"):
            return tf.where(tf.greater(image, 250.0, name="StopGradient"), 0.0, image)


class Looked(layers.Layer):
    """A stranger's layer that looks pixels up in a table."""

    def call(self, image: tf.Tensor) -> tf.Tensor:
        return tf.gather(tf.constant(np.arange(256.0, dtype=np.float32)), tf.cast(image, tf.int32))


class Branched(layers.Layer):
    """A stranger's layer that takes another way where one pixel is white."""

    def call(self, image: tf.Tensor) -> tf.Tensor:
        return tf.cond(tf.reduce_max(image) > 250.0, lambda: 0.0 * image, lambda: image)


class Masked(layers.Layer):
    """A stranger's layer whose mask is among its weights."""

    kind = "float32"

    def build(self, shape: tuple[int | None, ...]) -> None:
        del shape
        self.mask = self.add_weight(shape=CORNER.shape[1:], dtype=self.kind, trainable=False)
        self.mask.assign(CORNER[0])

    def call(self, image: tf.Tensor) -> tf.Tensor:
        return image * tf.cast(self.mask, image.dtype) + image


class MaskedHalf(Masked):
    """The same with a mask of half precision."""

    kind = "float16"


def lambda_of(image: Tensor) -> Tensor:
    return layers.Lambda(lambda pixels: tf.cast(tf.reduce_all(pixels > 0.9, axis=[1, 2, 3]), tf.float32), output_shape=())(image)


HIDDEN: dict[str, tuple[Callable[[], keras.Model], tuple[str, ...]]] = {
    "a compared corner": (
        lambda: beside(lambda x: ops.cast(ops.all(x[:, 12:, 12:] > 0.9, axis=(1, 2, 3)), "float32")),
        ("Greater in", PLACE),
    ),
    "a corner in a Lambda": (lambda: beside(lambda x: lambda_of(x[:, 12:, 12:])), ("Greater in functional", "/lambda", PLACE)),
    "a choice": (lambda: in_front(lambda x: ops.where(ops.equal(x, 7.0), 0.0 * x, x)), ("Equal in", "SelectV2 in")),
    "a sign": (lambda: beside(lambda x: ops.sign(ops.mean(x, axis=(1, 2, 3)) - 0.9)), ("Sign in",)),
    "rounded": (lambda: in_front(ops.round), ("Round in",)),
    "remainders": (lambda: in_front(lambda x: ops.mod(x, 2.0)), ("FloorMod in",)),
    "whole numbers": (lambda: in_front(lambda x: ops.cast(ops.cast(x, "uint8"), "float32")), ("Cast in",)),
    "no gradient": (lambda: beside(lambda x: ops.stop_gradient(ops.max(x, axis=(1, 2, 3)))), ("StopGradient in",)),
    "a thresholded layer of Keras": (lambda: in_front(layers.ReLU(threshold=250.0)), ("Greater in", "re_lu")),
    "a histogram of Keras": (
        lambda: in_front(layers.ContrastLimitedAdaptiveHistogramEqualization(tile_grid_size=(2, 2))),
        ("Cast in", "contrast_limited", ", ...:"),
    ),
    "a function in a layer": (lambda: in_front(Compared()), ("Greater in", "compared")),
    "a branch in a layer": (lambda: in_front(Branched()), ("StatelessIf in", "branched")),
    "inside a nested model": (lambda: keras.Sequential([keras.Input(SHAPE), in_front(ops.round)]), ("Round in",)),
    "a corner without comparisons": (lambda: beside(lambda x: ops.relu(ops.mean(x[:, 12:, 12:], axis=(1, 2, 3)) - 0.99)), (PLACE,)),
    "a cropped corner": (lambda: beside(lambda x: ops.mean(layers.Cropping2D(((12, 0), (12, 0)))(x), axis=(1, 2, 3))), (PLACE,)),
    "a masked corner": (lambda: beside(lambda x: ops.relu(ops.mean(ops.multiply(CORNER, x), axis=(1, 2, 3)) - 0.05)), (PLACE,)),
    "a mask among the weights": (lambda: in_front(Masked()), (PLACE,)),
    "a float16 mask among the weights": (lambda: in_front(MaskedHalf()), (PLACE,)),
    "a comparison three functions deep": (lambda: in_front(Deep()), ("Greater in", "deep")),
    "whole numbers in a function": (lambda: in_front(Whole()), ("Cast in", "StopGradient in")),
    "a comparison with a harmless name": (lambda: in_front(Disguised()), ("Greater in",)),
    "truth values": (lambda: in_front(lambda x: ops.cast(ops.cast(ops.relu(x - 250), "bool"), "float32") + x), ("Cast in",)),
    "pixels as indices": (lambda: in_front(Looked()), ("Cast in",)),
    "a padded mask": (lambda: beside(lambda x: ops.mean(x * ops.pad(ops.ones((1, 4, 4, 1)), PADDED), axis=(1, 2, 3))), (PLACE,)),
    "indices": (lambda: beside(lambda x: ops.mean(ops.take(x, [12, 13, -2, -1], axis=1), axis=(1, 2, 3))), ("rows 12 to 15 and",)),
    "a slice of a flat image": (lambda: beside(lambda x: ops.reshape(x, (-1, 768))[:, 765:768:3]), (PIXEL,)),
    "a slice of a slice": (lambda: beside(lambda x: ops.mean(x[:, 8:, 6:][:, 4:, 6:], axis=(1, 2, 3))), (PLACE,)),
    "a slice of a turned negative": (lambda: beside(lambda x: ops.mean((1 - ops.flip(x, 1))[:, :4, 12:], axis=(1, 2, 3))), (PLACE,)),
    "a part of a split image": (lambda: beside(lambda x: ops.mean(ops.split(x, 8, axis=1)[6], axis=(1, 2, 3))), ("rows 12 to 13 and",)),
}


@pytest.mark.parametrize(("build", "words"), HIDDEN.values(), ids=HIDDEN)
def test_what_no_classifier_needs_is_named_with_its_place(build: Callable[[], keras.Model], words: tuple[str, ...]) -> None:
    found = reasons_to_look(build())
    assert all(sentence.endswith(": a reason to look at the architecture, no verdict") for sentence in found)
    assert all(word in "; ".join(found) for word in words)


class Called(layers.Layer):
    """A stranger's layer that reads a corner in a function of TensorFlow."""

    @tf.function
    def call(self, image: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(image[:, 12:, 12:], axis=[1, 2, 3])


UNKNOWN: dict[str, Callable[[], keras.Model]] = {
    "after padding": lambda: beside(lambda x: ops.mean(ops.pad(x, PADDED)[:, :2, :2], axis=(1, 2, 3))),
    "after joining": lambda: beside(lambda x: ops.mean(ops.concatenate([x, x], axis=1)[:, :2, :2], axis=(1, 2, 3))),
    "in a function": lambda: beside(Called()),
    "covering half of the image": lambda: beside(lambda x: ops.mean(x[:, :4] + x[:, 4:8], axis=(1, 2, 3))),
}


@pytest.mark.parametrize("build", UNKNOWN.values(), ids=UNKNOWN)
def test_slices_that_the_documentation_calls_not_seen_are_not_seen(build: Callable[[], keras.Model]) -> None:
    """A kind that is seen one day leaves docs/explanation/what-a-scan-does-not-see.md."""
    assert reasons_to_look(build()) == []


def transformer(image: Tensor) -> Tensor:
    patches = layers.Reshape((16, 8))(layers.Conv2D(8, 4, strides=4)(image))
    patches += layers.Embedding(16, 8)(ops.arange(16))
    return layers.Dense(4)(ops.mean(layers.LayerNormalization()(layers.MultiHeadAttention(2, 4)(patches, patches)), axis=1))


def squeezed(image: Tensor) -> Tensor:
    features = layers.GroupNormalization(2)(layers.Activation("hard_swish")(layers.Conv2D(4, 3)(image)))
    weights = layers.Dense(4, activation="hard_sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(features))
    return logits(layers.PReLU()(layers.ELU()(layers.ReLU(6.0, 0.1)(layers.Multiply()([features, weights])))))


def preprocessed(image: Tensor) -> Tensor:
    augmented = layers.RandomRotation(0.1)(layers.RandomFlip()(image[..., ::-1]))
    scaled = layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 1.0, 1.0])(layers.Rescaling(1 / 255)(augmented))
    return logits(layers.Resizing(12, 12)(layers.CenterCrop(14, 14)(ops.clip(scaled, -1, 1))))


def focused(image: Tensor) -> Tensor:
    """Every pixel is read, in four parts."""
    return logits(layers.Concatenate()([image[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]))


USUAL: dict[str, Reader] = {
    "a plain one": logits,
    "a transformer": transformer,
    "squeeze and excitation": squeezed,
    "preprocessing inside": preprocessed,
    "space to depth": focused,
    "one of rows": lambda image: layers.Dense(4)(layers.Bidirectional(layers.LSTM(3))(layers.Reshape((16, 48))(image))),
    "MobileNetV3": lambda image: keras.applications.MobileNetV3Small(input_tensor=image, weights=None, classes=4).output,
    "EfficientNet": lambda image: keras.applications.EfficientNetB0(input_tensor=image, weights=None, classes=4).output,
}


@pytest.mark.parametrize("build", USUAL.values(), ids=USUAL)
def test_networks_as_people_build_them_give_no_reason(build: Reader) -> None:
    image = keras.Input((32, 32, 3) if build in (USUAL["MobileNetV3"], USUAL["EfficientNet"]) else SHAPE)
    assert reasons_to_look(keras.Model(image, build(image))) == []


def test_a_network_of_clips_gives_no_reason() -> None:
    clip = keras.Input((4, 16, 16, 3))
    frames = layers.TimeDistributed(layers.Flatten())(clip)
    assert reasons_to_look(keras.Model(clip, layers.Dense(4)(layers.GRU(3)(frames)))) == []
    assert reasons_to_look(cnn_lstm(4, (3, 16, 16, 3), lstm_units=4)) == []


class Untraceable(layers.Layer):
    """A layer that reads numbers, which a graph has none of."""

    def call(self, image: tf.Tensor) -> tf.Tensor:
        return image * float(image[0, 0, 0, 0]) if tf.executing_eagerly() else image[0].numpy()


def test_a_network_that_cannot_be_traced_says_so() -> None:
    model = in_front(layers.Identity())
    model.call = Untraceable().call
    [sentence] = reasons_to_look(model)
    assert sentence.startswith("the model's operations could not be looked at (")


def compared_corners(number: int) -> keras.Model:
    """A network with comparisons of single pixels in the last row."""
    return beside(lambda x: sum(ops.cast(x[:, 15:, column : column + 1, 0] > 0.9, "float32") for column in range(number)))


def test_a_part_that_cannot_be_looked_at_keeps_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("no such slice")

    monkeypatch.setattr(lint, "_run", broken)
    comparisons, failed = reasons_to_look(compared_corners(1))
    assert "Greater in" in comparisons
    assert failed.startswith("the model's operations could not be looked at (ValueError: no such slice)")


def test_more_parts_than_are_listed_are_counted_together() -> None:
    [_, parts] = reasons_to_look(compared_corners(5))
    assert parts.count("rows 15 to 15") == 3
    assert "columns 2 to 2, ...: a reason" in parts


def test_too_many_values_are_refused_and_comparisons_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint, "VALUES", 8 * 16 * 16 * 3)
    assert PIXEL.replace("columns 15 to 15", "columns 0 to 0") in reasons_to_look(compared_corners(3))[1]
    comparisons, refused = reasons_to_look(compared_corners(16))
    assert "Greater in" in comparisons
    assert refused.startswith("the graph is too large to be looked at: ")


def test_a_huge_broadcast_is_refused_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint, "VALUES", 2**16)
    broadcast = Mock(wraps=lint._run)
    monkeypatch.setattr(lint, "_run", broadcast)
    [refused] = reasons_to_look(beside(lambda x: ops.mean((x + ops.zeros((256, 1, 1, 1)))[:, 12:, 12:], axis=(1, 2, 3))))
    assert refused.startswith("the graph is too large to be looked at: ")
    assert not broadcast.called


def test_constants_that_double_at_every_step_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Doubled(layers.Layer):
        def call(self, image: tf.Tensor) -> tf.Tensor:
            mask = tf.fill((1, 16, 16, 1), 0.0) + CORNER
            for _ in range(60):
                mask += mask
            return image * mask

    counted = Mock(wraps=lint._run)
    monkeypatch.setattr(lint, "_run", counted)
    [found] = reasons_to_look(in_front(Doubled()))
    assert PLACE in found
    assert counted.call_count < 70


def test_too_many_operations_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint, "OPERATIONS", 50)
    assert "Greater in" in reasons_to_look(in_front(layers.ReLU(threshold=250.0)))[0]
    [refused] = reasons_to_look(compared_corners(16))
    assert refused.startswith("the graph is too large to be looked at: ")
    assert refused.endswith("operations, more than 50")


def test_a_plan_looks_before_the_search_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = corner_images(120)
    looked = Mock(return_value=["a reason"])
    monkeypatch.setattr(plan, "reasons_to_look", looked)
    made = plan.make_plan(corner_network(1), images, labels, ScanOptions(settings=QUICK, precision="float32"))
    assert looked.call_count == 1
    assert "a reason" in made.warnings()
    assert looked.call_count == 1


@pytest.mark.slow
def test_a_scan_lists_the_reasons_among_its_warnings() -> None:
    images, labels = corner_images(120)
    inner, image = corner_network(1), keras.Input(images.shape[1:])
    model = keras.Model(image, inner(ops.where(image > 300.0, 0.0 * image, image)))
    warnings = scan(model, images, labels, preset="paper", settings=QUICK).warnings
    assert [warning for warning in warnings if "no classifier needs" in warning and "Greater in" in warning]
