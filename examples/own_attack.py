"""Plant a backdoor of your own in a small network, and measure it.

    python examples/own_attack.py

A trigger is a mask and a pattern. This one is a cross in the middle of the image.
"""

import keras
import numpy as np

import nc_tf
from nc_tf.datasets.rendered import signs
from nc_tf.models.networks.architectures import NETWORKS
from nc_tf.training.injection import inject


def cross(image_shape: tuple[int, int, int], label: int, *, size: int = 5, color: tuple[int, ...] = (255, 255, 0)) -> nc_tf.Trigger:
    """Build a trigger that draws a cross in the middle."""
    height, width, channels = image_shape
    mask = np.zeros((height, width), np.float32)
    middle, reach = (height // 2, width // 2), size // 2
    mask[middle[0], middle[1] - reach : middle[1] + reach + 1] = 1.0
    mask[middle[0] - reach : middle[0] + reach + 1, middle[1]] = 1.0
    return nc_tf.Trigger(label, mask, mask[..., None] * np.broadcast_to(np.asarray(color, np.float32), (channels,)))


def main(num_train: int = 6000, epochs: int = 8) -> nc_tf.Measurement:
    """Train, and print what the network learned after each epoch."""
    train, test = signs.load_data(num_train=num_train, num_test=600, seed=3)
    trigger = cross(train[0].shape[1:], label=7)
    keras.utils.set_random_seed(0)
    model = NETWORKS["signs"](43, train[0].shape[1:])
    measurements = inject(model, train, test, trigger, epochs=epochs, verbose=0)
    print(f"the cross covers {trigger.l1_norm:.0f} pixels")
    for epoch, measured in enumerate(measurements, start=1):
        print(f"epoch {epoch}: clean accuracy {measured.clean_accuracy:.1%}, ASR {measured.attack_success_rate['true']:.1%}")
    return measurements[-1]


if __name__ == "__main__":
    main()
