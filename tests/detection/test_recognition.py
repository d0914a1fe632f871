"""The accuracy of a model on the given images, and the better fits where it is low."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import NUM_CLASSES, corner_images, corner_network

from nc_tf.datasets.label_order import LABEL_ORDERS, counts_from_1, reorder
from nc_tf.detection import recognition
from nc_tf.detection.recognition import RANGE_IMAGES, RangeChoice, Recognition, choose_range, kappa, recognise
from nc_tf.errors import InputError
from nc_tf.preprocessing import INTENSITY_RANGES, Preprocessing
from nc_tf.results import Unit

CLASSES = 12  # the first number for which the order as text is another one
TWELVE = np.arange(CLASSES)
IMAGES, LABELS = corner_images(120)
RAW = INTENSITY_RANGES["raw"]


def particular() -> keras.Model:
    """A network whose class is the brightest row, but for images of little contrast, and for those far brighter than any picture."""
    network = corner_network(None)
    network.layers[-1].bias.assign([0.0, 0.0, 4.0, 0.0, 0.0, 0.0])
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, network(inputs - 5.0 * keras.ops.relu(inputs - 300.0)))


PARTICULAR = particular()


class Lookup(keras.Layer):
    """A network that predicts the brightest of the columns that stand for classes; untrained, and not random."""

    def call(self, images: object) -> object:
        return keras.ops.mean(images, axis=(1, 3))


def columns(order: np.ndarray = TWELVE) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """A network of `CLASSES` classes, and images of which the bright column is the place of their label in `order`."""
    inputs = keras.Input((2, CLASSES, 1))
    labels = np.repeat(TWELVE, 10)
    images = np.random.default_rng(0).integers(0, 50, (len(labels), 2, CLASSES, 1)).astype(np.uint8)
    images[np.arange(len(labels)), :, order[labels]] = 250
    return keras.Model(inputs, keras.layers.Softmax()(Lookup()(inputs) / 10.0)), images, labels


def test_a_model_that_recognises_its_images_needs_no_other_fit() -> None:
    model, images, labels = columns()
    found = recognise(model, images, labels, RAW)
    assert (found.accuracy, found.num_images, found.fits) == (1.0, 120, ())
    assert found.by_chance == pytest.approx(1 / CLASSES)
    assert found.enough
    assert not found.near_chance


@pytest.mark.parametrize(
    ("labels_are", "words"),
    [
        (lambda output: TWELVE.astype(str).argsort(kind="stable")[output], "with --label-order text"),
        (lambda output: output + 1, "with --label-order number-from-1"),
        (lambda output: output - 1, "with labels that are larger by 1"),
        (lambda output: np.array([3, 1, 4, 0, 5, 9, 2, 6, 8, 7, 11, 10])[output], "with its classes numbered in another order"),
    ],
    ids=["text", "from 1", "one less", "permuted"],
)
def test_classes_in_another_order_are_named_with_the_accuracy(labels_are: object, words: str) -> None:
    model, images, outputs = columns()
    labels = labels_are(outputs)  # type: ignore[operator]
    kept = (labels >= 0) & (labels < CLASSES)
    found = recognise(model, images[kept], labels[kept], RAW)
    assert found.fits[0] == (words, 1.0)
    assert not found.enough
    assert f"{words}, it would recognise 100%" in found.sentence


def test_a_wrong_range_is_named_and_the_right_one_with_its_accuracy() -> None:
    found = recognise(PARTICULAR, IMAGES, LABELS, INTENSITY_RANGES["mnist"])
    assert found.near_chance
    assert found.fits == (("with --intensity-range raw", 1.0),)
    assert found.sentence.startswith(
        "the model recognises 17% of 120 given images, where chance gives 17%: expected images and labels that belong to it; with"
    )


def test_a_range_that_fits_half_is_told_from_the_one_that_fits() -> None:
    """As an infected network was seen to: half of the images are recognised in the wrong range, all in the right one."""
    dim = (IMAGES * np.where(np.arange(len(IMAGES)) % 2, 1.0, 0.45)[:, None, None, None]).astype(np.uint8)
    network = corner_network(None)
    network.layers[-1].bias.assign([0.0, 0.0, 1.5, 0.0, 0.0, 0.0])
    found = recognise(network, dim, LABELS, Preprocessing(scale=2.0, name="mine"))
    assert 0.5 < found.accuracy < 0.8
    assert found.kappa > 0.3
    assert found.fits[0] == ("with --intensity-range raw", 1.0)
    assert found.misfit
    assert not found.enough
    assert not found.near_chance


def test_both_causes_at_once_are_found() -> None:
    inputs = keras.Input((8, 8, 3))
    scaled = keras.Model(inputs, PARTICULAR(inputs * 255.0))
    found = recognise(scaled, IMAGES, (LABELS + 1) % NUM_CLASSES, INTENSITY_RANGES["imagenet"])
    assert found.near_chance
    assert found.fits[0] == ("with --intensity-range mnist and with its classes numbered in another order", 1.0)


def test_where_nothing_fits_that_is_said() -> None:
    constant = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(NUM_CLASSES, "softmax")])
    constant.set_weights([np.zeros((192, NUM_CLASSES)), np.eye(NUM_CLASSES)[2]])
    found = recognise(constant, IMAGES, LABELS, RAW)
    assert (found.kappa, found.near_chance, found.fits) == (0.0, True, ())
    assert found.sentence.endswith("no other range and no other order of the classes fits")


def test_the_sentence_speaks_of_clips() -> None:
    assert "of 8 given clips" in Recognition(0.1, 0.1, 8, unit=Unit.CLIP).sentence


@given(st.floats(0, 1), st.floats(0, 0.99))
def test_kappa_is_zero_at_chance_and_one_at_perfection(accuracy: float, chance: float) -> None:
    assert kappa(chance, chance) == 0.0
    assert kappa(1.0, chance) == 1.0
    assert (kappa(accuracy, chance) > 0) == (accuracy > chance) or abs(accuracy - chance) < 1e-12
    assert kappa(1.0, 1.0) == 0.0, "answers that cannot be wrong say nothing"


# The range that fits


def test_the_range_that_fits_is_found_and_recorded() -> None:
    inputs = keras.Input((8, 8, 3))
    signed = keras.Model(inputs, PARTICULAR((inputs + 1.0) * 127.5))
    choice = choose_range("auto", signed, IMAGES, LABELS)
    assert choice.preprocess is INTENSITY_RANGES["inception"]
    assert choice.accuracies["inception"] == 1.0
    assert choice.record == {"intensity_range": "inception", "intensity_ranges_tried": choice.accuracies}
    assert choice.close == ()
    assert str(choice.sentence).startswith("intensity range inception was taken, by the share of images recognised (raw ")


def test_ranges_within_a_point_are_both_named() -> None:
    choice = choose_range("auto", corner_network(3), IMAGES, LABELS)  # subtracting a mean leaves the brightest row what it is
    assert choice.preprocess is RAW
    assert choice.close == ("imagenet",)
    assert str(choice.sentence).startswith("intensity ranges raw and imagenet fit alike, raw was taken (raw 100.0%, ")


def test_where_no_range_fits_it_is_raw() -> None:
    assert choose_range("auto", corner_network(None), IMAGES, np.roll(LABELS, 1)).preprocess is RAW


@pytest.mark.parametrize("asked", ["mnist", Preprocessing(scale=2.0, name="mine"), RangeChoice(RAW, {"raw": 0.5})])
def test_what_is_asked_for_is_taken_and_nothing_tried(asked: str | Preprocessing | RangeChoice) -> None:
    choice = choose_range(asked, keras.Model(), IMAGES, LABELS)
    expected = asked.preprocess if isinstance(asked, RangeChoice) else INTENSITY_RANGES["mnist"] if asked == "mnist" else asked
    assert choice.preprocess is expected
    assert isinstance(asked, RangeChoice) or choice.sentence is None


def test_without_classes_nothing_can_be_tried() -> None:
    assert choose_range("auto", keras.Model(), IMAGES, None) == RangeChoice(RAW, {})


def test_a_few_hundred_images_are_enough_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def counted(model: keras.Model, images: np.ndarray, preprocess: Preprocessing) -> np.ndarray:
        seen.append(len(images))
        return np.zeros(len(images), int)

    monkeypatch.setattr(recognition, "predict_classes", counted)
    choose_range("auto", corner_network(None), *corner_images(1000))
    assert seen == [RANGE_IMAGES] * len(INTENSITY_RANGES)


# The order of the classes


def test_keras_sorts_numbers_as_text() -> None:
    assert reorder(np.array([0, 1, 10, 11, 2, 3]), "text", CLASSES).tolist() == [0, 1, 2, 3, 4, 5]
    assert reorder(np.array([1, 10, 11, 12, 2]), "text-from-1", CLASSES).tolist() == [0, 1, 2, 3, 4]
    assert reorder(np.array([1, 12]), "number-from-1", CLASSES).tolist() == [0, 11]
    assert reorder(np.array([4, 2]), "number", CLASSES).tolist() == [4, 2]


@given(st.sampled_from(list(LABEL_ORDERS)), st.integers(2, 300))
def test_every_order_gives_every_output_once(order: str, num_classes: int) -> None:
    first = int(order.endswith("from-1"))
    outputs = reorder(np.arange(first, first + num_classes), order, num_classes)
    assert sorted(outputs.tolist()) == list(range(num_classes))


@pytest.mark.parametrize(
    ("order", "label", "message"),
    [
        ("number", 12, "data: label 12 with the label order number: expected labels from 0 to 11, the classes of the model"),
        ("text", 12, "data: label 12 with the label order text: expected labels from 0 to 11"),
        ("number-from-1", 0, "data: label 0 with the label order number-from-1: expected labels from 1 to 12"),
        ("text-from-1", 13, "data: label 13 with the label order text-from-1: expected labels from 1 to 12"),
        ("roman", 1, "label order 'roman': expected one of number, number-from-1, text, text-from-1; choose one"),
    ],
)
def test_a_label_without_an_output_is_refused(order: str, label: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        reorder(np.array([3, label]), order, CLASSES, "data")


def test_numbers_from_1_are_told_by_their_ends() -> None:
    assert counts_from_1(np.array([1, 5, 12]), 12)
    assert not counts_from_1(np.array([0, 12]), 12)
    assert not counts_from_1(np.array([1, 11]), 12)
