"""Neuron pruning (paper section VI-B): the units that the reversed trigger excites most, switched off one after another."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from nc_tf.detection.recognition import AUTO, RangeChoice
from nc_tf.errors import InputError, printable
from nc_tf.evaluation import batches
from nc_tf.mitigation.layers import Switches, find_layer, suspicious_units, switched_off, with_behind
from nc_tf.mitigation.repair import Repair
from nc_tf.models.adapting import adapted_like, original_form
from nc_tf.models.random_state import random_state_kept
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Backdoor, FoundTrigger, Mitigation

Classify = Callable[[np.ndarray], np.ndarray]


@random_state_kept()
def prune(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    triggers: Sequence[FoundTrigger],
    *,
    test: tuple[np.ndarray, np.ndarray],
    known_triggers: Mapping[str, Backdoor] | None = None,
    layer: str | None = None,
    step: float = 0.01,
    most: float = 0.5,
    success_bound: float = 0.01,
    accuracy_bound: float = 0.1,
    margin: float = 2.0,
    fraction: float = 0.1,
    intensity_range: str | Preprocessing | RangeChoice = AUTO,
    seed: int = 0,
) -> Mitigation:
    """Return a copy of `model` without the units that the triggers excite.

    Pruning ends once the triggers have failed and `margin` times the units are pruned, or where more would cost too much accuracy. The
    paper prunes until the reversed trigger fails, in the second to last layer, and finds the last convolution to be the better place. The
    true trigger excites the same units more strongly and outlives the reversed one (docs/results/gtsrb-repairs.md), hence the margin.

    Args:
        model: any that `nc_tf.adapt` takes. It is not changed.
        images: (N, H, W, C) clean raw images in [0, 255].
        labels: (N,) true classes, integers or one-hot.
        triggers: the triggers to prune for, usually `ScanResult.triggers`.
        test: clean images and labels to measure on, before and after.
        known_triggers: further triggers to measure, by name, such as the true one under "true".
        layer: name of a hidden layer; by default the one that feeds the output layer.
        step: share of the layer's units that is pruned at once, (0, 1].
        most: share that is pruned at most, (0, 1].
        success_bound: attack success rate at which the triggers count as dead.
        accuracy_bound: clean accuracy that the pruning may cost on the images, [0, 1].
        margin: units to prune, as a multiple of those at the triggers' death, at least 1.
        fraction: share of the images used, a random sample, (0, 1].
        intensity_range: range of the model's input; "auto" tries all on the test images.
        seed: of the random sample.

    Returns:
        The pruned model, with both measurements. `settings["pruned"]` is the share of units, `settings["stopped"]` the reason that it is
        not more. `details["curve"]` has a row a step up to `most`, also beyond the stop, with `pruned`, `clean_accuracy` and
        `attack_success_rate` by trigger, on the test images. `details["units"]` are the pruned ones. `details["dead_at"]` is the share at
        which the triggers died; None if they did not.

    Raises:
        InputError: bad images, shares or layer, no trigger, or a model that cannot be copied.
    """
    if not (0 < step <= 1 and 0 < most <= 1 and 0 <= success_bound < 1 and 0 <= accuracy_bound <= 1):
        raise InputError(
            f"step {step}, most {most}, success bound {success_bound}, accuracy bound {accuracy_bound}: expected shares, the first two "
            "above 0; the defaults are .01, .5, .01 and .1"
        )
    if not 1 <= margin < math.inf:
        raise InputError(f"margin {margin}: expected 1 or more; 1 stops as soon as the triggers are dead")
    repair = Repair.of(model, triggers, test=test, known_triggers=known_triggers, intensity_range=intensity_range, seed=seed)
    found = {str(number): trigger for number, trigger in enumerate(repair.required("pruning"))}
    images, labels = repair.sample(images, labels, fraction)
    # One graph from end to end: the layers of a Sequential from a file refer to others, and it cannot be cut in two.
    network = repair.graph()
    chosen = find_layer(network, layer)
    if any(other.name == f"{chosen.name}_pruned" for other in network.layers):
        raise InputError(f"layer '{chosen.name}' is pruned already: expected another; choose {chosen.name}_pruned, the units that are left")
    order = suspicious_units(network, chosen, images, labels, repair.triggers, repair.preprocess)
    counts = np.unique(np.minimum(np.round(np.arange(0.0, most + step, step) * len(order)), np.floor(most * len(order))).astype(int))
    classify = _classifier(network, chosen, order, counts, repair.preprocess)
    curve = _curve(network, classify, counts / len(order), repair.test, repair.measured)
    costs = _curve(network, classify, counts / len(order), (images, labels), found)
    number, dead_at, stopped = _where_to_stop(costs, success_bound, accuracy_bound, margin)
    pruned = order[: counts[number]]
    return repair.done(
        adapted_like(switched_off(original_form(repair.copy()), chosen.name, pruned), repair.model),
        "pruning",
        {"curve": curve, "units": sorted(pruned.tolist()), "dead_at": dead_at},
        layer=chosen.name,
        pruned=len(pruned) / len(order),
        stopped=stopped,
        images=len(images),
        success_bound=success_bound,
        accuracy_bound=accuracy_bound,
        margin=margin,
    )


def in_words(done: Mitigation) -> list[str]:
    """Return what was pruned, as lines for the command."""
    return [f"pruned {done.settings['pruned']:.1%} of layer {printable(done.settings['layer'])}: {done.settings['stopped']}"]


def _where_to_stop(
    rows: Sequence[Mapping[str, Any]], success_bound: float, accuracy_bound: float, margin: float
) -> tuple[int, float | None, str]:
    """Return the last step, the triggers' share at death, and the reason."""
    losses = [rows[0]["clean_accuracy"] - row["clean_accuracy"] for row in rows]
    affordable = next((number - 1 for number, loss in enumerate(losses) if loss > accuracy_bound), len(rows) - 1)
    dead = [row["pruned"] for row in rows[: affordable + 1] if max(row["attack_success_rate"].values()) <= success_bound]
    if dead:
        wanted = sum(row["pruned"] <= margin * dead[0] for row in rows) - 1
        costly = ", and more would cost too much accuracy" if wanted > affordable else ""
        return min(wanted, affordable), dead[0], f"the triggers are dead{costly}"
    return affordable, None, "more would cost too much accuracy" if affordable < len(rows) - 1 else "as many as allowed"


def _curve(
    network: keras.Model,
    classify: Classify,
    shares: np.ndarray,
    clean: tuple[np.ndarray, np.ndarray],
    backdoors: Mapping[str, Backdoor],
) -> list[dict[str, Any]]:
    """Return clean accuracy and attack success rates by share pruned."""
    images, labels = clean

    def rates(rows: np.ndarray, wanted: np.ndarray, backdoor: Backdoor | None = None) -> list[float]:
        if not len(rows):
            return [float("nan")] * len(shares)
        answers = np.concatenate([classify(batch) for batch in batches(network, images, backdoor, rows)], axis=1)
        return np.mean(answers == wanted, axis=1).tolist()

    accuracies, successes = rates(np.arange(len(images)), labels), {}
    for name, backdoor in backdoors.items():
        wanted = backdoor.wanted(labels)
        victims = np.flatnonzero(wanted != labels)
        successes[name] = rates(victims, wanted[victims], backdoor)
    return [
        {
            "pruned": float(share),
            "clean_accuracy": accuracies[number],
            "attack_success_rate": {name: found[number] for name, found in successes.items()},
        }
        for number, share in enumerate(shares)
    ]


def _classifier(
    model: keras.Model, layer: keras.layers.Layer, order: np.ndarray, counts: np.ndarray, preprocess: Preprocessing
) -> Classify:
    """Return a function from raw images to classes (counts, N).

    Where no connection bypasses the layer, the layers up to it run once an image, and only those behind it once a count.
    """
    try:
        front, back = keras.Model(model.inputs[0], layer.output), keras.Model(layer.output, model.outputs[0])
    except ValueError:  # a residual network
        switches = Switches(len(order))
        whole = with_behind(model, layer.name, lambda: switches)

        def switch(batch: np.ndarray) -> np.ndarray:
            classes = []
            for count in counts:
                switches.on.assign(np.isin(np.arange(len(order)), order[:count], invert=True).astype(np.float32))
                classes.append(np.argmax(whole.predict_on_batch(preprocess(batch)), axis=-1))
            return np.stack(classes)

        return switch

    def classify(batch: np.ndarray) -> np.ndarray:
        answers, classes = np.array(front.predict_on_batch(preprocess(batch))), []
        for count in counts:
            answers[..., order[:count]] = 0.0
            classes.append(np.argmax(back.predict_on_batch(answers), axis=-1))
        return np.stack(classes)

    return classify
