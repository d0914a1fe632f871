"""A trigger as pictures: alone, and stamped on images; each with the words that say what is on it."""

import numpy as np

from nc_tf.backdoor import Painted
from nc_tf.report.film_strip import moving_picture
from nc_tf.report.pictures import Picture, picture
from nc_tf.results import Unit

GRAY = 127.5
_PLACES = ("top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right")


def trigger_pictures(trigger: Painted, called: str, unit: Unit) -> list[Picture]:
    """Return pictures of mask, pattern, and pattern times mask.

    Args:
        trigger: the trigger.
        called: the name of the label.
        unit: images or clips.

    Returns:
        Three pictures.
    """
    mask, pattern = trigger.mask, trigger.pattern
    where, colour = mask_words(trigger, unit), colour_words(trigger)
    return [
        picture(mask[..., None] * 255.0, f"Mask of {called}, white where it covers: {where}", "mask"),
        picture(pattern, f"Pattern of {called}: {colour}", "pattern"),
        picture(trigger.overlay, f"Trigger of {called}, pattern times mask: {where}; {colour}", "trigger"),
    ]


def stamped_pair(trigger: Painted, image: np.ndarray, what: str, called: str) -> tuple[Picture, Picture]:
    """Return an image or clip without and with the trigger.

    Args:
        trigger: the trigger.
        image: (H, W, C), or a clip (T, H, W, C), raw, in [0, 255].
        what: the content of the image in words.
        called: the name of the label.

    Returns:
        Both pictures.
    """
    image, draw = image.astype(np.float32), moving_picture if image.ndim == 4 else picture
    return draw(image, f"{what}, clean", "clean"), draw(trigger(image), f"The same, with the trigger of {called}", "stamped")


def mask_words(trigger: Painted, unit: Unit) -> str:
    """Return the place, size and strength of the mask in words.

    The place is the ninth of the image that holds more than half of the mask, if there is one. Where each frame has a mask of its own,
    their mean counts.
    """
    mask, total = trigger.mask.reshape(-1, *trigger.mask.shape[-2:]).mean(axis=0), trigger.l1_norm
    ninths = [part.sum() for row in np.array_split(mask, 3, axis=0) for part in np.array_split(row, 3, axis=1)]
    fullest = int(np.argmax(ninths))
    where = f"mostly in the {_PLACES[fullest]}" if ninths[fullest] > total / 2 else f"spread over the {unit}"
    return f"{where}, {total:.1f} pixels in all, at most {float(trigger.mask.max()):.0%} opaque"


def colour_words(trigger: Painted) -> str:
    """Return the mean colour of the pattern under the mask in words."""
    weights = trigger.mask[..., None] + 1e-9  # an empty mask weighs all pixels alike
    mean = (trigger.pattern * weights).reshape(-1, trigger.pattern.shape[-1]).sum(axis=0) / weights.sum()
    if len(mean) == 3:
        return "mean colour under the mask: red {:.0f}, green {:.0f}, blue {:.0f} of 255".format(*mean)
    return f"mean brightness under the mask: {mean.mean():.0f} of 255"
