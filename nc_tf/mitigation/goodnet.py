"""GoodNet (CSAW-HackML-2020): from a network that may be infected and clean images to one that answers N classes, and N for "poisoned"."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from nc_tf.callbacks import ScanCallback
from nc_tf.evaluation import predict_classes
from nc_tf.mitigation.filtering import input_filter
from nc_tf.mitigation.unlearning import unlearn
from nc_tf.preprocessing import Preprocessing, preprocessing
from nc_tf.results import ScanResult
from nc_tf.scanning import scan


class GoodNet:
    """What `from_badnet` makes: a scan, a repaired network, and one Keras model that rejects triggered images.

    Attributes:
        model: answers (N, K + 1) probabilities; the last class is "poisoned". Of a network in which the scan finds nothing it is the
            network itself with that class added and never answered.
        scan: what was found.
        num_classes: K, and the number that stands for "poisoned".
        preprocess: what the network wants of raw pixels.
    """

    def __init__(self, model: keras.Model, found: ScanResult, preprocess: Preprocessing) -> None:
        self.model, self.scan, self.preprocess = model, found, preprocess
        self.num_classes = model.output_shape[-1] - 1

    @classmethod
    def from_badnet(
        cls,
        badnet: keras.Model,
        validation_data: tuple[np.ndarray, np.ndarray],
        *,
        test_data: tuple[np.ndarray, np.ndarray] | None = None,
        intensity_range: str | Preprocessing = "raw",
        seed: int = 0,
        callbacks: Sequence[ScanCallback] = (),
        scan_options: Mapping[str, Any] | None = None,
        unlearning: Mapping[str, Any] | None = None,
        filtering: Mapping[str, Any] | None = None,
    ) -> "GoodNet":
        """Detect, repair and filter.

        An image is poisoned if the filter rejects it, or if the bad network sends it to a flagged label and the repaired one does not.
        The others get the repaired network's answer.

        Args:
            badnet: Sequential or functional, one input (N, H, W, C), one output (N, K), softmax or logits. It is not changed.
            validation_data: clean raw images (N, H, W, C) in [0, 255] and their classes (N,).
            test_data: others to scan with; the validation data by default.
            intensity_range: what the network wants of raw pixels; the networks of the competition want "mnist".
            seed: of every choice.
            callbacks: of the scan.
            scan_options: further keywords of `nc_tf.scan`, such as `preset="low-cost"` for 1,283 labels.
            unlearning: further keywords of `unlearn`; by default it uses all of the images.
            filtering: further keywords of `input_filter`; by default it uses all of the images.

        Raises:
            InputError: as `scan`, `unlearn` and `input_filter`.
        """
        test = test_data or validation_data
        common: dict[str, Any] = {"intensity_range": intensity_range, "seed": seed}
        images, labels = test
        found = scan(badnet, images, labels, callbacks=callbacks, **common, **(scan_options or {}))
        preprocess = preprocessing(intensity_range)
        if not found.triggers:
            return cls(_never_poisoned(badnet), found, preprocess)
        both = {"test": test, "fraction": 1.0, **common}
        repaired = unlearn(badnet, *validation_data, found.triggers, **(both | {"verbose": 0} | dict(unlearning or {}))).model
        rejecting = input_filter(badnet, *validation_data, found.triggers, **(both | dict(filtering or {}))).model
        return cls(_combined(rejecting, repaired, found.flagged), found, preprocess)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Raw images (N, H, W, C) in [0, 255] -> classes (N,) int64, K for "poisoned"."""
        return predict_classes(self.model, images, self.preprocess)


def _never_poisoned(network: keras.Model) -> keras.Model:
    answers = _probabilities(network, network.outputs[0])
    return keras.Model(network.inputs[0], ops.concatenate([answers, ops.zeros_like(answers[:, :1])], axis=-1), name="goodnet")


def _combined(rejecting: keras.Model, repaired: keras.Model, flagged: Sequence[int]) -> keras.Model:
    inputs = keras.Input(batch_shape=repaired.input_shape)
    bad, answers = rejecting(inputs), _probabilities(repaired, repaired(inputs))
    rejected, suspicious = bad[:, -1:], np.isin(np.arange(answers.shape[-1]), flagged).astype(np.float32)
    # (N, 1), whether either network answers a flagged label
    accused, upheld = (ops.one_hot(ops.argmax(scores, axis=-1), len(suspicious)) @ suspicious[:, None] for scores in (bad[:, :-1], answers))
    poisoned = ops.maximum(rejected, accused * (1.0 - upheld))
    return keras.Model(inputs, ops.concatenate([answers * (1.0 - poisoned), poisoned], axis=-1), name="goodnet")


def _probabilities(network: keras.Model, answers: keras.KerasTensor) -> keras.KerasTensor:
    """Answers of a network as probabilities; a closing softmax is left alone."""
    last = network.layers[-1]
    closes = isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) is keras.activations.softmax
    return answers if closes else ops.softmax(answers)
