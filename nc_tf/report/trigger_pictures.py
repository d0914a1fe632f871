"""A trigger as pictures: alone, and stamped on images; each with the words that say what is on it."""

import numpy as np

from nc_tf.backdoor import Painted, Warp
from nc_tf.report.film_strip import moving_picture
from nc_tf.report.pictures import Picture, picture
from nc_tf.results import Unit

GRAY = 127.5
_PLACES = ("top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right")


def trigger_pictures(trigger: Painted | Warp, called: str, unit: Unit) -> list[Picture]:
    """Return pictures of mask, pattern, and pattern times mask; of a warp, a chequered picture that it bends.

    Args:
        trigger: the trigger.
        called: the name of the label.
        unit: images or clips.

    Returns:
        Three pictures, or the one of a warp.
    """
    if isinstance(trigger, Warp):
        bent = trigger(chequered(trigger.image_shape)[None])[0]
        return [picture(bent, f"A chequered picture, bent by the warp of {called}: {trigger_words(trigger, unit)}", "squares, bent")]
    mask, pattern = trigger.mask, trigger.pattern
    where, colour = mask_words(trigger, unit), colour_words(trigger)
    return [
        picture(mask[..., None] * 255.0, f"Mask of {called}, white where it covers: {where}", "mask"),
        picture(pattern, f"Pattern of {called}: {colour}", "pattern"),
        picture(trigger.overlay, f"Trigger of {called}, pattern times mask: {where}; {colour}", "trigger"),
    ]


def chequered(image_shape: tuple[int, ...]) -> np.ndarray:
    """Return a picture of black and white squares.

    Args:
        image_shape: (H, W, C).

    Returns:
        (H, W, C) float32, 0 and 255.
    """
    height, width, channels = image_shape
    rows, columns = np.mgrid[:height, :width] // max(2, min(height, width) // 8)
    return np.repeat(((rows + columns) % 2)[..., None] * np.float32(255.0), channels, axis=-1)


def trigger_words(trigger: Painted | Warp, unit: Unit) -> str:
    """Return what a trigger does to an image, in words."""
    if not isinstance(trigger, Warp):
        return f"{mask_words(trigger, unit)}; {colour_words(trigger)}"
    moved = trigger.places - np.moveaxis(np.mgrid[: trigger.places.shape[0], : trigger.places.shape[1]], 0, -1)
    lengths = np.linalg.norm(moved, axis=-1)
    return f"pixels are read from {lengths.mean():.2f} pixels away on the mean, {lengths.max():.2f} at most"


def stamped_pair(trigger: Painted | Warp, image: np.ndarray, what: str, called: str) -> tuple[Picture, Picture]:
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
    return draw(image, f"{what}, clean", "clean"), draw(trigger(image[None])[0], f"The same, with the trigger of {called}", "stamped")


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
