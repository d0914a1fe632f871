"""The check that a backdoor fits images and classes."""

import numpy as np

from nc_tf.errors import InputError
from nc_tf.results import AllToAllTrigger, Backdoor, fits


def check_backdoor(backdoor: Backdoor, image_shape: tuple[int, ...], num_classes: int, *, name: str = "a trigger") -> np.ndarray:
    """Return the class that each class is sent to, (num_classes,).

    Args:
        backdoor: to check.
        image_shape: of images (H, W, C) or clips (T, H, W, C).
        num_classes: of the model.
        name: of the backdoor in messages.

    Raises:
        InputError: the shape differs, or a target is no class of the model.
    """
    if not fits(backdoor, image_shape):
        raise InputError(f"{name} of shape {backdoor.image_shape}: expected {tuple(image_shape)}, the images' own; make one of that shape")
    if isinstance(backdoor, AllToAllTrigger) and len(backdoor.targets) != num_classes:
        raise InputError(
            f"{name} with {len(backdoor.targets)} targets: expected one for each of the model's {num_classes} classes; scan again"
        )
    wanted = backdoor.wanted(np.arange(num_classes))
    beyond = wanted[(wanted < 0) | (wanted >= num_classes)]
    if beyond.size:
        raise InputError(
            f"{name} with target label {beyond[0]}: expected 0 to {num_classes - 1}, the classes of the model; choose one of them"
        )
    return wanted
