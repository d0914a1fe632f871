"""The input filter (paper section VI-A), which rejects images that excite the backdoor's neurons."""

from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
from keras import layers

from nc_tf.detection.recognition import AUTO, RangeChoice
from nc_tf.errors import InputError
from nc_tf.evaluation import predict_classes, share
from nc_tf.mitigation.layers import find_layer, mean_activations, suspicious_units
from nc_tf.mitigation.repair import Repair
from nc_tf.models.adapting import adapt_to, original_form
from nc_tf.models.random_state import random_state_kept
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Backdoor, FoundTrigger, Mitigation

FALSE_POSITIVE_RATES = (0.001, 0.005, 0.01, 0.05)  # the paper's figure 8
# Slope of a clipped line that stands for a step at the threshold: a comparison is no layer, and .h5 files hold layers only.
STEEPNESS = 1e6

Scores = Callable[..., np.ndarray]  # raw images (N, ...), and a backdoor to stamp first -> mean activation (N,)


@random_state_kept()
def input_filter(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    triggers: Sequence[FoundTrigger],
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
    """Return a copy of `model` with one more class, "rejected".

    The filter looks at the units of one layer that the reversed triggers excite most beyond clean images. It rejects an image whose mean
    activation there is above a quantile of the clean images'.

    Args:
        model: any that `nc_tf.adapt` takes, with one output. It is not changed.
        images: (N, H, W, C) clean raw images in [0, 255], to calibrate on.
        labels: (N,) true classes, integers or one-hot.
        triggers: the triggers to reject, usually `ScanResult.triggers`.
        test: clean images and labels to measure on, before and after.
        known_triggers: further triggers to measure, by name, such as the true one under "true".
        layer: name of a hidden layer; by default the one that feeds the output layer, the paper's choice.
        units: share of the layer's units to look at, at least one unit, (0, 1]; the paper's is .01.
        false_positive_rate: share of clean images that may be rejected, (0, 1).
        fraction: share of the images used, a random sample, (0, 1].
        intensity_range: range of the model's input; "auto" tries all on the test images.
        seed: of the random sample.

    Returns:
        A model that answers (N, K + 1) probabilities: those of `model` and a 0 or, for a rejected image, zeros and a 1. Its input is that
        of `model`; for a model with one value K is 2. With both measurements, in which a rejected image is neither recognised nor sent to
        the target. `details` has

        - `units`: those looked at;
        - `rates`: a row for each of `FALSE_POSITIVE_RATES`, measured on the test images at the threshold that has this rate on the
          calibration images: clean images rejected, triggered ones that pass, and triggered ones that pass and reach the target.
          Some pass because the trigger does not work on them;
        - `roc_auc`: area under the ROC curve, by trigger;
        - `mean_activation`: of the units, clean and by trigger (the paper's table III).

    Raises:
        InputError: bad images, shares or layer, no trigger, or a model that cannot be copied, has a filter or several outputs.
    """
    if not (0 < units <= 1 and 0 < false_positive_rate < 1):
        raise InputError(f"units {units}, false positive rate {false_positive_rate}: expected shares above 0; the paper's are .01 and .05")
    repair = Repair.of(model, triggers, test=test, known_triggers=known_triggers, intensity_range=intensity_range, seed=seed)
    repair.required("the filter")
    _check_can_be_filtered(original_form(repair.model))
    images, labels = repair.sample(images, labels, fraction)
    network = repair.graph()
    chosen = find_layer(network, layer)
    order = suspicious_units(network, chosen, images, labels, repair.triggers, repair.preprocess)
    looked_at = np.sort(order[: max(1, round(units * len(order)))])

    def scores(images: np.ndarray, backdoor: Backdoor | None = None) -> np.ndarray:
        return mean_activations(network, chosen, images, repair.preprocess, backdoor)[:, looked_at].mean(axis=1)

    calibration = scores(images)
    threshold = float(np.quantile(calibration, 1.0 - false_positive_rate))
    return repair.done(
        _with_flag(repair, chosen.name, looked_at, threshold),
        "filter",
        {"units": looked_at.tolist(), **_measured(repair, network, scores, calibration)},
        layer=chosen.name,
        threshold=threshold,
        false_positive_rate=false_positive_rate,
        images=len(images),
    )


def in_words(done: Mitigation) -> list[str]:
    """Return the filter's error rates, as lines for the command."""
    lines = ["clean images rejected, and triggered ones that pass:"]
    for row in done.details["rates"]:
        missed = ", ".join(f"{name} {rate:.3f}" for name, rate in row["false_negative_rate"].items())
        lines.append(f"  calibrated for {row['false_positive_rate']:.3f}: {row['measured_false_positive_rate']:.3f}; {missed}")
    return lines


def _check_can_be_filtered(original: keras.Model) -> None:
    """Check that a model has one output and no filter.

    Raises:
        InputError: several outputs, or a filter.
    """
    if len(original.outputs) > 1:
        many = len(original.outputs)
        raise InputError(f"a model with {many} outputs: expected one, which the filter adds a class to; keep that output only")
    if any(layer.name == "filter" for layer in original.layers):
        raise InputError("the model has an input filter already: expected one without; give the model that this one was made of")


def _measured(repair: Repair, network: keras.Model, scores: Scores, calibration: np.ndarray) -> dict[str, object]:
    """Return rates, ROC areas and mean activations on the test images."""
    test_images, test_labels = repair.test
    clean = scores(test_images)
    triggered, obeyed = {}, {}
    for name, backdoor in repair.measured.items():
        wanted = backdoor.wanted(test_labels)
        victims = wanted != test_labels
        triggered[name] = scores(test_images[victims], backdoor)
        obeyed[name] = predict_classes(network, test_images[victims], repair.preprocess, backdoor) == wanted[victims]
    return {
        "rates": [_rates(calibration, clean, triggered, obeyed, rate) for rate in FALSE_POSITIVE_RATES],
        "roc_auc": {name: _roc_auc(clean, found) for name, found in triggered.items()},
        "mean_activation": {name: share(found) for name, found in {"clean": clean, **triggered}.items()},
    }


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
    """Return the model with one more class, in layers any Keras loads."""
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
