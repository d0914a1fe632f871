"""Settings and networks with which a scan of `networks.corner_network` takes half a second and a training two."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import h5py
import keras
import numpy as np
from keras import layers
from networks import IMAGE_SHAPE, NUM_CLASSES, SIDE, corner_images, corner_network

from nc_tf.inversion.cost_schedule import CostSchedule
from nc_tf.inversion.step import Loss, SearchSettings
from nc_tf.results import LabelResult, Status, Trigger

# The planted corner of `corner_network` comes out near 1.25 pixels with them, every other label near 3.9.
QUICK = SearchSettings(
    loss=Loss.CROSS_ENTROPY,
    batch_size=16,
    batches_per_round=4,
    max_rounds=40,
    cost=CostSchedule(init_cost=0.1, patience=2, threshold=0.95, reset_cost_to_zero=False),
)
# The gains of the rows: unlike each other, so that the norms of a clean network spread as those of a trained one do.
UNEVEN = (0.90, 0.95, 1.0, 1.05, 1.10, 1.15)


def uneven_network(label: int | None = None, unreachable: Sequence[int] = (), activation: str | None = "softmax") -> keras.Model:
    """`corner_network` whose rows weigh `UNEVEN`, and which no input brings to answer one of `unreachable`."""
    model = corner_network(label, activation=activation)
    *first, head, bias = model.get_weights()
    head[:NUM_CLASSES] *= np.array(UNEVEN)
    bias[list(unreachable)] = -1e4
    model.set_weights([*first, head, bias])
    return model


def eight_classes(label: int | None = None) -> keras.Model:
    """`corner_network` for `corner_images(..., num_classes=8)`, whose rows differ a little.

    Of six labels the robust rule suspects nothing that is not eight MAD away; with eight it has enough to judge by.
    """
    model = corner_network(label, 8)
    *first, head, bias = model.get_weights()
    head[:8] *= np.linspace(0.95, 1.05, 8)[:, None]
    model.set_weights([*first, head, bias])
    return model


def small_network(image_shape: tuple[int, int, int] = IMAGE_SHAPE, activation: str | None = "softmax") -> keras.Model:
    """An untrained classifier that learns `corner_images`, and a backdoor, in a second."""
    return keras.Sequential(
        [
            keras.Input(image_shape),
            layers.Rescaling(1 / 127.5, offset=-1.0),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(NUM_CLASSES, activation=activation),
        ]
    )


def data_file(path: Path, num_train: int = 240, num_test: int = 120) -> Path:
    """`corner_images` as an .npz with a training and a test set."""
    (x_train, y_train), (x_test, y_test) = corner_images(num_train, seed=1), corner_images(num_test, seed=2)
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


def made_up(label: int, norm: float, status: Status = Status.CONVERGED) -> LabelResult:
    """The result of a search that never was, with a mask of this norm."""
    mask = np.full((SIDE, SIDE), norm / SIDE**2, np.float32)
    return LabelResult(
        trigger=Trigger(label, mask, np.full(IMAGE_SHAPE, (10.0 * label + 5.0) % 256, np.float32)),
        status=status,
        attack_success_rate=0.99,
        zero_trigger_rate=0.01,
        starts=1,
        rounds=30,
    )


def digest(weights: Sequence[np.ndarray]) -> str:
    """A hash of weights, to prove that nobody touched them."""
    return hashlib.sha256(b"".join(array.tobytes() for array in weights)).hexdigest()


def published(path: Path, model: keras.Model, leave_out: str = "") -> Path:
    """A weights file in the layout of Keras 2.2: layer/layer/kernel:0, layers without weights named too."""
    with h5py.File(path, "w") as file:
        names = [layer.name for layer in model.layers if layer.name != leave_out]
        file.attrs["layer_names"] = [name.encode() for name in names]
        for layer in model.layers:
            if layer.name in names:
                group = file.create_group(layer.name)
                group.attrs["weight_names"] = [f"{layer.name}/{weight.name}:0".encode() for weight in layer.weights]
                for weight in layer.weights:
                    group[f"{layer.name}/{weight.name}:0"] = np.asarray(weight)
    return path
