"""Use a defence of your own on an infected network, with the measurements of nc_tf.

    python examples/own_defence.py

The defence fine-tunes the output layer alone. It is a bad one: the table shows that the backdoor stays.
"""

from collections.abc import Mapping, Sequence

import keras
import numpy as np

import nc_tf
from nc_tf.attacks.patch import patch
from nc_tf.datasets.rendered import signs
from nc_tf.demo import shipped_model
from nc_tf.mitigation.repair import Repair
from nc_tf.results import Backdoor


def tune_output(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    triggers: Sequence[nc_tf.Trigger] = (),
    *,
    test: tuple[np.ndarray, np.ndarray],
    known_triggers: Mapping[str, Backdoor] | None = None,
    fraction: float = 0.5,
    seed: int = 0,
) -> nc_tf.Mitigation:
    """Return a copy whose output layer was fine-tuned on clean images."""
    repair = Repair.of(model, triggers, test=test, known_triggers=known_triggers, seed=seed)
    images, labels = repair.sample(images, labels, fraction)
    repaired = repair.copy()
    for layer in repaired.layers[:-1]:
        layer.trainable = False
    repaired.compile(optimizer=keras.optimizers.Adam(1e-3), loss=repair.cross_entropy())
    repaired.fit(np.asarray(repair.preprocess(images.astype(np.float32))), labels, epochs=2, verbose=0)
    return repair.done(repaired, "tuning of the output layer", images=len(images))


def main() -> nc_tf.Mitigation:
    """Apply the defence to the network that ships with nc_tf, and print the table."""
    model = nc_tf.load_model(shipped_model("signs_infected.keras"))
    x, y = signs.render(800, seed=1)
    planted = patch(x.shape[1:], 33)  # a white square of 4x4 in the bottom-right corner
    done = tune_output(model, x[200:], y[200:], test=(x[:200], y[:200]), known_triggers={"true": planted})
    print(f"{'':20}{'before':>8}{'after':>8}")
    print(f"{'clean accuracy':20}{done.before.clean_accuracy:8.1%}{done.after.clean_accuracy:8.1%}")
    for name, rate in done.before.attack_success_rate.items():
        print(f"{'ASR, ' + name + ' trigger':20}{rate:8.1%}{done.after.attack_success_rate[name]:8.1%}")
    return done


if __name__ == "__main__":
    main()
