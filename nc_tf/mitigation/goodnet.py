"""GoodNet (CSAW-HackML-2020): a network of N classes and an (N + 1)-th for poisoned images."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from nc_tf.detection.recognition import AUTO, RangeChoice
from nc_tf.evaluation import predict_classes
from nc_tf.mitigation.filtering import input_filter
from nc_tf.mitigation.repair import Repair
from nc_tf.mitigation.unlearning import unlearn
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import ScanResult
from nc_tf.scanning.callbacks import ScanCallback
from nc_tf.scanning.scan import scan


class GoodNet:
    """A Keras model that rejects triggered images, and the scan behind it. `from_badnet` makes it.

    Attributes:
        model: reads images and answers (N, K + 1) probabilities; the last class is "poisoned". If the scan finds nothing, it is the given
            network with that class added and never answered.
        scan: of the given network.
        num_classes: K, and the number of the class "poisoned".
        preprocess: from raw pixels to the network's input.
    """

    def __init__(self, model: keras.Model, found: ScanResult, preprocess: Preprocessing) -> None:
        """Take the parts; see the attributes."""
        self.model, self.scan, self.preprocess = model, found, preprocess
        self.num_classes = model.output_shape[-1] - 1

    @classmethod
    def from_badnet(
        cls,
        badnet: keras.Model,
        validation_data: tuple[np.ndarray, np.ndarray],
        *,
        test_data: tuple[np.ndarray, np.ndarray] | None = None,
        intensity_range: str | Preprocessing | RangeChoice = AUTO,
        seed: int = 0,
        callbacks: Sequence[ScanCallback] = (),
        scan_options: Mapping[str, Any] | None = None,
        unlearning: Mapping[str, Any] | None = None,
        filtering: Mapping[str, Any] | None = None,
    ) -> "GoodNet":
        """Detect, repair and filter; returns the combined network.

        An image is poisoned if the filter rejects it. It is also poisoned if the bad network sends it to a flagged label and the repaired
        one to another. All other images get the repaired network's answer.

        Args:
            badnet: any that `nc_tf.adapt` takes, with softmax or logits. It is not changed.
            validation_data: clean raw images (N, H, W, C) in [0, 255] and their classes (N,).
            test_data: others to scan with; the validation data by default.
            intensity_range: range of the network's input; the networks of the competition want "mnist".
            seed: of every choice.
            callbacks: of the scan.
            scan_options: further keywords of `nc_tf.scan`, such as `preset="low-cost"` for 1,283 labels.
            unlearning: further keywords of `unlearn`; by default it uses all of the images.
            filtering: further keywords of `input_filter`; by default it uses all of the images.

        Raises:
            InputError: as `scan`, `unlearn` and `input_filter`.
        """
        test = test_data or validation_data
        repair = Repair.of(badnet, (), test=test, intensity_range=intensity_range, seed=seed)
        choice = repair.range_choice
        found = scan(badnet, *test, callbacks=callbacks, intensity_range=choice, seed=seed, **(scan_options or {}))
        if not found.triggers:
            return cls(_never_poisoned(repair.copy(), repair.probabilities), found, repair.preprocess)
        both = {"fraction": 1.0, **repair.keywords}
        repaired = unlearn(badnet, *validation_data, found.triggers, **(both | {"verbose": 0} | dict(unlearning or {}))).classifier
        rejecting = input_filter(badnet, *validation_data, found.triggers, **(both | dict(filtering or {}))).classifier
        flagged = (*found.flagged, *(target for _, target in found.flagged_pairs))
        return cls(_combined(rejecting, repaired, flagged, repair.probabilities), found, repair.preprocess)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the classes of raw images, K for "poisoned".

        Args:
            images: (N, H, W, C) in [0, 255].

        Returns:
            (N,) int64.
        """
        return predict_classes(self.model, images, self.preprocess)


def _never_poisoned(network: keras.Model, probabilities: bool) -> keras.Model:
    answers = network.outputs[0] if probabilities else ops.softmax(network.outputs[0])
    return keras.Model(network.inputs[0], ops.concatenate([answers, ops.zeros_like(answers[:, :1])], axis=-1), name="goodnet")


def _combined(rejecting: keras.Model, repaired: keras.Model, flagged: Sequence[int], probabilities: bool) -> keras.Model:
    """Return one network, made of the rejecting and the repaired one.

    Args:
        rejecting: answers (N, K + 1), from `input_filter`.
        repaired: answers (N, K).
        flagged: labels that the scan flags, those of pairs among them.
        probabilities: whether `repaired` answers probabilities, not logits.
    """
    inputs = keras.Input(batch_shape=repaired.input_shape)
    bad, answers = rejecting(inputs), repaired(inputs)
    answers = answers if probabilities else ops.softmax(answers)
    num_classes = answers.shape[-1]
    before, after = (ops.one_hot(ops.argmax(scores, axis=-1), num_classes) for scores in (bad[:, :-1], answers))
    sent_to_flagged = before @ np.isin(np.arange(num_classes), flagged).astype(np.float32)[:, None]
    agreed = ops.sum(before * after, axis=-1, keepdims=True)
    poisoned = ops.maximum(bad[:, -1:], sent_to_flagged * (1.0 - agreed))
    return keras.Model(inputs, ops.concatenate([answers * (1.0 - poisoned), poisoned], axis=-1), name="goodnet")
