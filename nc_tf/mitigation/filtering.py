"""The input filter (paper section VI-A): images that excite the backdoor's neurons are rejected."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import layers

from nc_tf.detection.recognition import AUTO, RangeChoice
from nc_tf.errors import InputError
from nc_tf.evaluation import predict_classes, share
from nc_tf.mitigation.layers import find_layer, mean_activations, suspicious_units
from nc_tf.mitigation.repair import Repair
from nc_tf.models.adapting import adapt_to, original_form
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Backdoor, Mitigation, Trigger
from nc_tf.runtime.random_state import random_state_kept

# Those of the paper's figure 8.
FALSE_POSITIVE_RATES = (0.001, 0.005, 0.01, 0.05)
# Makes a step at the threshold of a slope that is cut off at 0 and 1: a comparison is no layer, and .h5 files hold layers only.
STEEPNESS = 1e6


@random_state_kept()
def input_filter(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    triggers: Sequence[Trigger],
    *,
    test: tuple[np.ndarray, np.ndarray],
    known_triggers: Mapping[str, Backdoor] | None = None,
    layer: str | None = None,
    units: float = 0.01,
    false_positive_rate: float = 0.05,
    fraction: float = 0.1,
    intensity_range: str | Preprocessing | RangeChoice = AUTO,
    seed: int = 0,
) -> Mitigation:
    """A copy of `model` that also says whether an image looks triggered.

    It looks at the units of one layer that the reversed triggers excite most beyond clean images, and rejects what excites them, on
    average, more than all but a chosen share of clean images do.

    Args:
        model: what `nc_tf.adapt` takes, with one output. It is not changed.
        images: (N, H, W, C) clean raw images in [0, 255], to calibrate on.
        labels: (N,) true classes, integers or one-hot.
        triggers: what to look for, usually `ScanResult.triggers`.
        test: clean images and labels to measure on, before and after.
        known_triggers: further triggers to measure, by name, such as the true one under "true".
        layer: name of a hidden layer; None is what the output layer is fed with, the paper's choice.
        units: share of the layer's units to look at, (0, 1]; at least one is. The paper's is 1 %.
        false_positive_rate: share of the clean images that may be rejected, (0, 1).
        fraction: share of the images used, chosen at random, (0, 1].
        intensity_range: what the model wants of raw pixels; "auto" finds out, by the test images.
        seed: of that choice.

    Returns:
        A model that answers (N, K + 1) probabilities: those of `model` and a 0, or, for an image that is rejected, zeros and a 1. It reads
        what `model` reads; of a model with one value K is 2. With both measurements, in which a rejected image is neither recognised nor
        sent to the target. `details` has the `units`; `rates`, a row for each of `FALSE_POSITIVE_RATES` with what is measured on the test
        images at the threshold that has this rate on the calibration images: rejected clean images, triggered ones that pass, and among
        all triggered ones those that pass and reach the target (some pass because the trigger does not work on them); the area under the
        ROC curve by trigger; and the mean activation of the units, clean and by trigger (the paper's table III).

    Raises:
        InputError: bad images, shares or layer, no trigger, or a model that cannot be copied, has a filter or several outputs.
    """
    if not (0 < units <= 1 and 0 < false_positive_rate < 1):
        raise InputError(f"units {units}, false positive rate {false_positive_rate}: expected shares above 0; the paper's are .01 and .05")
    repair = Repair(model, triggers, test=test, known_triggers=known_triggers, intensity_range=intensity_range, seed=seed)
    repair.required("the filter")
    original = original_form(repair.model)
    if len(original.outputs) > 1:
        many = len(original.outputs)
        raise InputError(f"a model with {many} outputs: expected one, which the filter adds a class to; keep that output only")
    if any(layer.name == "filter" for layer in original.layers):
        raise InputError("the model has an input filter already: expected one without; give the model that this one was made of")
    images, labels = repair.some(images, labels, fraction)
    network = repair.graph()
    chosen = find_layer(network, layer)
    order = suspicious_units(network, chosen, images, labels, repair.triggers, repair.preprocess)
    looked_at = np.sort(order[: max(1, round(units * len(order)))])

    def scores(images: np.ndarray, backdoor: Backdoor | None = None) -> np.ndarray:
        return mean_activations(network, chosen, images, repair.preprocess, backdoor)[:, looked_at].mean(axis=1)

    calibration = scores(images)
    threshold = float(np.quantile(calibration, 1.0 - false_positive_rate))
    test_images, test_labels = repair.test
    clean = scores(test_images)
    triggered, obeyed = {}, {}
    for name, backdoor in repair.measured.items():
        wanted = backdoor.wanted(test_labels)
        victims = wanted != test_labels
        triggered[name] = scores(test_images[victims], backdoor)
        obeyed[name] = predict_classes(network, test_images[victims], repair.preprocess, backdoor) == wanted[victims]
    return repair.done(
        _with_flag(repair, chosen.name, looked_at, threshold),
        "filter",
        {
            "units": looked_at.tolist(),
            "rates": [_rates(calibration, clean, triggered, obeyed, rate) for rate in FALSE_POSITIVE_RATES],
            "roc_auc": {name: _roc_auc(clean, found) for name, found in triggered.items()},
            "mean_activation": {name: share(found) for name, found in {"clean": clean, **triggered}.items()},
        },
        layer=chosen.name,
        threshold=threshold,
        false_positive_rate=false_positive_rate,
        images=len(images),
    )


def _rates(
    calibration: np.ndarray, clean: np.ndarray, triggered: Mapping[str, np.ndarray], obeyed: Mapping[str, np.ndarray], rate: float
) -> dict[str, object]:
    threshold = np.quantile(calibration, 1.0 - rate)
    return {
        "false_positive_rate": rate,
        "measured_false_positive_rate": float(np.mean(clean > threshold)),
        "false_negative_rate": {name: share(found <= threshold) for name, found in triggered.items()},
        "attack_success_rate": {name: share((found <= threshold) & obeyed[name]) for name, found in triggered.items()},
    }


def _roc_auc(clean: np.ndarray, triggered: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    if not len(triggered):
        return float("nan")
    return float(roc_auc_score(np.repeat([0, 1], [len(clean), len(triggered)]), np.concatenate([clean, triggered])))


def _with_flag(repair: Repair, name: str, units: np.ndarray, threshold: float) -> keras.Model:
    """The model with one class more, in layers that any Keras loads: the mean of some units against the threshold."""
    model = original_form(repair.copy())
    activations = model.get_layer(name).output
    if len(activations.shape) == 4:
        activations = layers.GlobalAveragePooling2D(name="filter_places")(activations)
    score = layers.Dense(1, trainable=False, name="filter_score")
    rejected = layers.ReLU(max_value=1.0, name="filter_rejected")(score(activations))
    kernel = np.zeros((activations.shape[-1], 1), np.float32)
    kernel[units] = STEEPNESS / len(units)
    score.set_weights([kernel, np.array([-STEEPNESS * threshold], np.float32)])
    answers, number = model.outputs[0], model.outputs[0].shape[-1]
    if not repair.probabilities:
        answers = (layers.Softmax(name="filter_softmax") if number > 1 else layers.Activation("sigmoid", name="filter_sigmoid"))(answers)
    if number == 1:
        others = layers.Rescaling(-1.0, offset=1.0, name="filter_class_0")(answers)
        answers = layers.Concatenate(name="filter_classes")([others, answers])
    kept = layers.Multiply(name="filter_kept")([answers, layers.Rescaling(-1.0, offset=1.0, name="filter_accepted")(rejected)])
    flagged = keras.Model(model.inputs[0], layers.Concatenate(name="filter")([kept, rejected]), name=f"{model.name}_filter")
    return adapt_to(flagged, repair.image_shape)
