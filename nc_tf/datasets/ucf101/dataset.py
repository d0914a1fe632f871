"""UCF-101, or a part of it, as clips that are decoded once and cached as JPEGs.

Soomro et al., "UCF101: A Dataset of 101 Human Actions Classes From Videos in The Wild", CRCV-TR-12-01, 2012. `splits` has the
layout of the files, `decoding` the format of a clip.
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
    """Return training and test clips of official split 1.

    They are in the order of the split files.

    Args:
        folder: UCF-101 as `splits` describes it. Decoded clips are cached there, unless the folder is read-only.
        form: the format of a clip.
        classes: the classes to read; all by default.
        num_classes: number of classes to read, the first ones in alphabetical order.

    Returns:
        Clips (N, T, H, W, 3) uint8 RGB in [0, 255] with their labels and the names of the classes, for training and for testing. Clips that
        cannot be read are left out and named on stderr.

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
    """Return the clips as JPEGs, from an up-to-date cache or decoded anew.

    Args:
        folder: UCF-101 as `splits` describes it.
        form: the format of a clip.
        classes: the classes to read; all by default.
        num_classes: number of classes to read, the first ones in alphabetical order.
        cache: the folder of the cache; by default `folder`, unless that is read-only: then clips are not cached.
        one_class: whether all readable clips may be of the same class.

    Returns:
        Training clips first. Clips left out are named on stderr; `skipped` has a message for each that could not be decoded.

    Raises:
        InputError: as `splits.list_clips`; a single class where two are expected; no decoder; or `cache` cannot be written to.
    """
    folder = Path(folder)
    listing = list_clips(folder, classes=classes, num_classes=num_classes)
    settings = _settings(listing, form)
    path = Path(cache or folder) / cache_name(listing.classes, form, chosen=classes is not None)
    cached, problem = _read_cache(path, settings) if path.exists() else (None, None)
    if problem:
        _say(f"{path} {problem}: it is made again")
    archive = cached or _decoded(listing, form, json.dumps(settings))
    for reason in (*listing.skipped, *archive.skipped):
        _say(reason)
    if len(archive.labels) < listing.named:
        _say(f"{listing.named - len(archive.labels)} of {listing.named} clips are left out")
    present = np.unique(archive.labels)
    if len(present) < 2 and not one_class:
        raise InputError(
            f"{folder}: the only class with clips that can be read is {listing.classes[present[0]]}: expected two or more; "
            "complete the videos or the split files"
        )
    if cached is None:
        _write_cache(path, archive, folder, required=cache is not None)
    return archive


def _say(text: str) -> None:
    """Print a line on stderr, with control characters escaped.

    Names in a cache may come from an untrusted file.
    """
    Console(stderr=True, markup=False, highlight=False, soft_wrap=True).print(printable(text))


def _write_cache(path: Path, archive: JpegArchive, folder: Path, *, required: bool) -> None:
    """Write the cache; unless it is required, a failure is only printed.

    Raises:
        InputError: it is required, and cannot be written.
    """
    if not required and not _writable(folder):
        _say(f"{folder} is read-only, so nothing is kept: `nc-tf data ucf101 --from {folder}` writes a file to use in its place")
        return
    try:
        jpegs.save(path, archive)
    except InputError as error:
        if required:
            raise
        _say(f"nothing is kept: {error}")


def cache_name(classes: Sequence[str], form: ClipFormat, *, chosen: bool = False) -> str:
    """Return the file name of a cache: `ucf10_16x64x64_even.npz`.

    For `chosen` classes it has a hash of their names: `ucf10-1a2b3c4d_...`.
    """
    which = f"-{hashlib.sha256('/'.join(classes).encode()).hexdigest()[:8]}" if chosen else ""
    seed = form.seed if form.sampling == "random" else ""
    return f"ucf{len(classes)}{which}_{form.frames}x{form.height}x{form.width}_{form.sampling}{seed}.npz"


def format_for(image_shape: ImageShape | None, name: str) -> ClipFormat:
    """Return the format of clips for a model.

    Args:
        image_shape: the model's input, (T, H, W, 3), None in a place for any size; None for the default format.
        name: the name of the data in error messages.

    Raises:
        InputError: a model for images, or for clips without three colours.
    """
    if image_shape is None:
        return DEFAULT
    if len(image_shape) != 4 or image_shape[3] not in (None, 3):
        raise InputError(f"{name} holds colour videos, the model takes {tuple(image_shape)}: expected (T, H, W, 3); choose other data")
    frames, height, width, _ = image_shape
    return ClipFormat(frames or DEFAULT.frames, height or DEFAULT.height, width or DEFAULT.width)


def _settings(listing: Listing, form: ClipFormat) -> dict[str, Any]:
    """Return all settings and files that a cache depends on.

    A cache with a difference in any of them is out of date.
    """
    clips = hashlib.sha256()
    for clip in listing.clips:
        status = clip.path.stat()
        # With the time of change: a damaged video is often replaced by one of the same size.
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


def _read_cache(path: Path, settings: dict[str, Any]) -> tuple[JpegArchive | None, str | None]:
    """Return the archive in the cache, or None and the reason."""
    try:
        with npz_arrays(path, text=jpegs.TEXT) as arrays:
            archive = jpegs.unpack(arrays, str(path))
        found = json.loads(archive.settings)
    except DAMAGE:  # InputError and what json raises are among them
        return None, "is damaged"
    changed = [key for key, value in settings.items() if not isinstance(found, dict) or found.get(key) != value]
    return (None, f"is of other {', '.join(changed)}") if changed else (archive, None)


def _writable(folder: Path) -> bool:
    """Tell whether the folder may be written to, by its mode.

    An administrator may write anywhere, so that access alone does not tell.
    """
    return os.access(folder, os.W_OK) and bool(folder.stat().st_mode & 0o222)


def _decoded(listing: Listing, form: ClipFormat, settings: str) -> JpegArchive:
    """Decode the clips of a listing, and return them as JPEGs."""
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
