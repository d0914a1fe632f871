"""Preprocessing of raw pixels to the range that a network was trained on, and its inverse.

Triggers are in raw RGB pixels, [0, 255]; a network may expect another range. The four ranges are those of the original's
`INTENSITY_RANGE` (visualizer.py, `preprocess`); mean and standard deviation cover the normalisation of other toolkits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nc_tf.errors import InputError

# Channel means of ImageNet in BGR order, as the Caffe-style networks of keras.applications expect them.
IMAGENET_BGR_MEAN = (103.939, 116.779, 123.68)


@dataclass(frozen=True)
class Preprocessing:
    """A preprocessing `(raw[..., order] / scale - mean) / std`.

    Attributes:
        scale: divisor applied to raw pixels first.
        mean: subtracted after that, one value or one a channel (in the order the network sees).
        std: divisor applied last, one value or one a channel.
        bgr: whether the network takes its three channels reversed.
        name: its name in errors and in `verdict.json`.
    """

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    bgr: bool = False
    name: str = "raw"

    def __post_init__(self) -> None:
        if not all(0 < value < math.inf for value in (self.scale, *self.std)):
            raise InputError(
                f"preprocessing scale {self.scale}, std {self.std}: expected positive numbers, finite ones; "
                "give the standard deviation the network was trained with"
            )
        if not all(math.isfinite(value) for value in self.mean):
            raise InputError(f"preprocessing mean {self.mean}: expected finite numbers; give the mean the network was trained with")

    def __call__(self, images: Any) -> Any:
        """Preprocess raw images (..., C) float in [0, 255], array or tensor."""
        images = images[..., ::-1] if self.bgr else images
        images = images if self.scale == 1.0 else images / self.scale
        images = images if self.mean == (0.0,) else images - self.mean
        return images if self.std == (1.0,) else images / self.std

    def check_channels(self, channels: int) -> None:
        """Refuse images of another number of channels.

        Raises:
            InputError: the means or deviations are of another number, or the order is BGR and the channels are not three.
        """
        wrong = [values for values in (self.mean, self.std) if len(values) not in (1, channels)]
        if wrong or (self.bgr and channels != 3):
            raise InputError(
                f"preprocessing {self.name} for images of {channels} channels: expected one value, or one a channel, and imagenet "
                "for three only; give what the network was trained with"
            )

    def reverse(self, images: Any) -> Any:
        """Return the raw images in [0, 255] of preprocessed ones."""
        images = (images * self.std + self.mean) * self.scale
        return images[..., ::-1] if self.bgr else images


INTENSITY_RANGES = {
    "raw": Preprocessing(),
    "mnist": Preprocessing(scale=255.0, name="mnist"),
    "inception": Preprocessing(scale=127.5, mean=(1.0,), name="inception"),
    "imagenet": Preprocessing(mean=IMAGENET_BGR_MEAN, bgr=True, name="imagenet"),
}


def preprocessing(
    intensity_range: str | Preprocessing = "raw", *, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> Preprocessing:
    """Return the preprocessing of a named range, or of mean and std.

    Args:
        intensity_range: one of `INTENSITY_RANGES`, or a preprocessing, which is returned as it is.
        mean: channel means of pixels scaled to [0, 1], the usual convention.
        std: their standard deviations.

    Raises:
        InputError: the name is unknown, only one of mean and std is given, or they contradict the name.
    """
    if isinstance(intensity_range, Preprocessing):
        return intensity_range
    if intensity_range not in INTENSITY_RANGES:
        raise InputError(
            f"intensity range {intensity_range!r}: expected one of {', '.join(INTENSITY_RANGES)}; name what the network was trained on"
        )
    if mean is None and std is None:
        return INTENSITY_RANGES[intensity_range]
    if mean is None or std is None or intensity_range not in ("raw", "mnist"):
        raise InputError(
            f"mean {mean}, std {std} with intensity range {intensity_range}: expected both, with no other range; "
            "give them for pixels scaled to [0, 1]"
        )
    return Preprocessing(scale=255.0, mean=tuple(mean), std=tuple(std), name=f"mean {list(mean)} std {list(std)}")
