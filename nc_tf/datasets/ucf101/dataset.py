"""UCF-101, or a part of it, as clips: decoded once, kept as JPEGs, read from there ever after.

Soomro et al., "UCF101: A Dataset of 101 Human Actions Classes From Videos in The Wild", CRCV-TR-12-01, 2012. Where the files lie is the
business of `splits`, what a clip is that of `decoding`.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from nc_tf.datasets.checks import check_images
from nc_tf.datasets.formats import jpegs
from nc_tf.datasets.formats.arrays import DAMAGE
from nc_tf.datasets.formats.jpegs import JpegArchive
from nc_tf.datasets.labelled import ImageShape, LabelledImages, Subset
from nc_tf.datasets.ucf101.decoding import ClipFormat, check_decoder
from nc_tf.datasets.ucf101.pipeline import JPEG_QUALITY, clip_dataset, jpeg_dataset
from nc_tf.datasets.ucf101.splits import Listing, list_clips
from nc_tf.errors import InputError, printable
from nc_tf.storage.npz_file import npz_arrays

DEFAULT = ClipFormat()


def load_data(
    folder: str | Path, form: ClipFormat = DEFAULT, *, classes: Sequence[str] | None = None, num_classes: int | None = None
) -> tuple[LabelledImages, LabelledImages]:
    """Training and test clips of official split 1, in the order of the split files.

    Args:
        folder: UCF-101 as `splits` describes it. What is decoded is kept there, unless the folder is marked as read-only.
        form: what to make of the videos.
        classes: these classes alone.
        num_classes: the first so many alone, in alphabetical order.

    Returns:
        Clips (N, T, H, W, 3) uint8 RGB in [0, 255] with their labels and the names of the classes, for training and for testing. Clips that
        cannot be read are named on stderr and left out.

    Raises:
        InputError: as `load_archive`; or one of the two sets is empty or has a single class.
    """
    archive = load_archive(folder, form, classes=classes, num_classes=num_classes)

    def labelled(subset: Subset) -> LabelledImages:
        found = archive.found(subset, str(folder))
        if found.subset != subset:
            raise InputError(f"{folder} has no {subset} clip that can be read: expected some; complete the videos or the split files")
        loaded = found.load(None)
        checked = check_images(loaded.images, loaded.labels, name=f"{folder}, {subset} set")
        return LabelledImages(*checked, found.class_names, found.subset, loaded.left_out)

    return labelled("train"), labelled("test")


def load_archive(
    folder: str | Path,
    form: ClipFormat = DEFAULT,
    *,
    classes: Sequence[str] | None = None,
    num_classes: int | None = None,
    cache: str | Path | None = None,
    one_class: bool = False,
) -> JpegArchive:
    """The clips as JPEGs: out of the file where they are kept, if they are those asked for; else decoded, and kept.

    Args:
        folder: UCF-101 as `splits` describes it.
        form: what to make of the videos.
        classes: these classes alone.
        num_classes: the first so many alone, in alphabetical order.
        cache: the folder to keep them in; by default `folder`, unless that is marked as read-only: then they are not kept.
        one_class: whether all clips that can be read may be of the same class.

    Returns:
        Training clips first. What is left out is named on stderr; `skipped` holds the part of it that could not be decoded.

    Raises:
        InputError: as `splits.list_clips`; a single class where two are expected; no decoder; or `cache` cannot be written to.
    """
    folder = Path(folder)
    console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)

    def say(text: str) -> None:
        console.print(printable(text))  # a file of clips may be a stranger's, and so what it says was left out

    listing = list_clips(folder, classes=classes, num_classes=num_classes)
    settings = _settings(listing, form)
    path = Path(cache or folder) / cache_name(listing.classes, form, chosen=classes is not None)
    archive = None
    if path.exists():
        archive, reason = _kept(path, settings)
        if archive is None:
            say(f"{path} {reason}: it is made again")
    made = archive is None
    if archive is None:
        archive = _decoded(listing, form, json.dumps(settings))
    for reason in (*listing.skipped, *archive.skipped):
        say(reason)
    if len(archive.labels) < listing.named:
        say(f"{listing.named - len(archive.labels)} of {listing.named} clips are left out")
    left = np.unique(archive.labels)
    if len(left) < 2 and not one_class:
        raise InputError(
            f"{folder}: the only class with clips that can be read is {listing.classes[left[0]]}: expected two or more; "
            "complete the videos or the split files"
        )
    if made:
        if cache is not None:
            jpegs.save(path, archive)
        elif _writable(folder):
            try:
                jpegs.save(path, archive)
            except InputError as error:  # nobody asked for the file, only for the clips
                say(f"nothing is kept: {error}")
        else:
            say(f"{folder} is read-only, so nothing is kept: `nc-tf data ucf101 --from {folder}` writes a file to use in its place")
    return archive


def cache_name(classes: Sequence[str], form: ClipFormat, *, chosen: bool = False) -> str:
    """What the file of a data set is called: `ucf10_16x64x64_even.npz`; of `chosen` classes, `ucf10-1a2b3c4d_...`, by what they are."""
    which = f"-{hashlib.sha256('/'.join(classes).encode()).hexdigest()[:8]}" if chosen else ""
    seed = form.seed if form.sampling == "random" else ""
    return f"ucf{len(classes)}{which}_{form.frames}x{form.height}x{form.width}_{form.sampling}{seed}.npz"


def fitting(image_shape: ImageShape | None, name: str) -> ClipFormat:
    """The clips that a model wants.

    Args:
        image_shape: its input, (T, H, W, 3), None in a place for any; None for any clip.
        name: what error messages call the data.

    Raises:
        InputError: a model for images, or for clips without three colours.
    """
    if image_shape is None:
        return DEFAULT
    if len(image_shape) != 4 or image_shape[3] not in (None, 3):
        raise InputError(f"{name} holds colour videos, the model wants {tuple(image_shape)}: expected (T, H, W, 3); choose other data")
    frames, height, width, _ = image_shape
    return ClipFormat(frames or DEFAULT.frames, height or DEFAULT.height, width or DEFAULT.width)


def _settings(listing: Listing, form: ClipFormat) -> dict[str, Any]:
    """Everything that decides what is in the cache; a difference in any of it makes the cache stale."""
    clips = hashlib.sha256()
    for clip in listing.clips:
        status = clip.path.stat()
        # With the time: a video that was damaged is often replaced by one of the same size.
        clips.update(f"{clip.is_test} {clip.label} {clip.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return {
        "frames": form.frames,
        "height": form.height,
        "width": form.width,
        "sampling": form.sampling,
        "seed": form.seed if form.sampling == "random" else None,
        "decoder": form.decoder,
        "quality": JPEG_QUALITY,
        "classes": list(listing.classes),
        "clips": clips.hexdigest(),
    }


def _kept(path: Path, settings: dict[str, Any]) -> tuple[JpegArchive | None, str]:
    """What is in the cache, or None and why it is of no use."""
    try:
        with npz_arrays(path, text=jpegs.TEXT) as arrays:
            archive = jpegs.unpack(arrays, str(path))
        found = json.loads(archive.settings)
    except DAMAGE:  # InputError and what json raises are among them
        return None, "is damaged"
    changed = [key for key, value in settings.items() if not isinstance(found, dict) or found.get(key) != value]
    return (None, f"is of other {', '.join(changed)}") if changed else (archive, "")


def _writable(folder: Path) -> bool:
    """Whether the folder is meant to be written to; the mode is asked too, since the administrator may write anywhere."""
    return os.access(folder, os.W_OK) and bool(folder.stat().st_mode & 0o222)


def _decoded(listing: Listing, form: ClipFormat, settings: str) -> JpegArchive:
    check_decoder(form)
    buf, lengths, totals, clips, skipped = bytearray(), [0], [], [], []
    dataset = jpeg_dataset(clip_dataset([clip.path for clip in listing.clips], form))
    rows = track(dataset.as_numpy_iterator(), "decoding clips", total=len(listing.clips), console=Console(stderr=True))
    for clip, (frames, total, problem) in zip(listing.clips, rows, strict=True):
        if problem:
            skipped.append(problem.decode())
            continue
        buf += b"".join(frames)
        lengths += map(len, frames)
        totals.append(total)
        clips.append(clip)
    if not clips:
        raise InputError(f"none of {len(listing.clips)} clips can be read, the first because {skipped[0]}")
    return JpegArchive(
        buf=np.frombuffer(buf, np.uint8),
        offsets=np.cumsum(lengths, dtype=np.int64),
        labels=np.array([clip.label for clip in clips], np.int64),
        is_test=np.array([clip.is_test for clip in clips]),
        classes=listing.classes,
        n_frames=np.array(totals, np.int64),
        names=tuple(clip.path.name for clip in clips),
        settings=settings,
        skipped=tuple(skipped),
    )
