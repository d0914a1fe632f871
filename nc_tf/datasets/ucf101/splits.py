"""The layout of UCF-101 on disk: its clips, their classes, and the official split.

    FOLDER/videos/<Class>/v_<Class>_gNN_cNN.avi      or FOLDER/UCF-101/<Class>/, as the archive unpacks, or FOLDER/<Class>/
    FOLDER/splits/trainlist01.txt, testlist01.txt    or FOLDER/ucfTrainTestlist/, as the archive unpacks

Soomro et al., "UCF101: A Dataset of 101 Human Actions Classes From Videos in The Wild", CRCV-TR-12-01, 2012.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nc_tf.errors import InputError

VIDEO_FOLDERS = ("videos", "UCF-101")
SPLIT_FOLDERS = ("splits", "ucfTrainTestlist")
TRAIN_LIST, TEST_LIST = "trainlist01.txt", "testlist01.txt"
LARGEST_LIST = 2**24  # bytes; the longest list of the official splits has 0.5 MB, a zip bomb has more
LONGEST_NAME = 255  # bytes of the name of a file or a folder; file systems raise an error on longer ones

# `Class/v_Class_g08_c01.avi`, in the training list followed by the official number of the class. That number is not used: labels count
# the classes that are named, in the same order. Neither part can lead out of the folder.
LINE = re.compile(r"([^\s/\\.][^\s/\\]*)/([^\s/\\.][^\s/\\]*\.avi)(?:\s+\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Clip:
    """One video file of a split.

    Attributes:
        path: path of the file.
        name: `Class/file`, as the split files write it.
        label: number of the class, from 0.
        is_test: whether the clip is of the test set.
    """

    path: Path
    name: str
    label: int
    is_test: bool


@dataclass(frozen=True)
class Listing:
    """The clips of both split files, in their order: training first.

    Attributes:
        clips: clips whose file exists; it may still be unreadable.
        classes: the name of each class by its label, in the official order, which is alphabetical in any letter case. A class keeps its
            number if all of its clips are missing.
        named: number of clips of these classes in the split files.
        skipped: one message for each other clip, and for each line that is of no use.
    """

    clips: tuple[Clip, ...]
    classes: tuple[str, ...]
    named: int
    skipped: tuple[str, ...]


def split_folder(folder: Path) -> Path | None:
    """Return the folder of the split files, or None."""
    return next((folder / name for name in SPLIT_FOLDERS if (folder / name / TRAIN_LIST).is_file()), None)


def video_folder(folder: Path) -> Path:
    """Return the folder that holds the folders of the classes."""
    return next((folder / name for name in VIDEO_FOLDERS if (folder / name).is_dir()), folder)


def list_clips(folder: str | Path, *, classes: Sequence[str] | None = None, num_classes: int | None = None) -> Listing:
    """Return the clips of official split 1.

    Args:
        folder: the folder of UCF-101, or of a part of it.
        classes: the classes to list; by default all of the split files.
        num_classes: number of classes to list, the first ones in alphabetical order.

    Raises:
        InputError: no split files; one that cannot be read or has no valid line; classes that are not in them; fewer than two classes;
            no clip.
    """
    folder = Path(folder)
    lists = split_folder(folder)
    if lists is None:
        raise InputError(
            f"{folder} has no {SPLIT_FOLDERS[0]}/{TRAIN_LIST}: expected UCF-101, its videos and its split files; "
            "check the path, or run `nc-tf data ucf101`"
        )
    skipped: list[str] = []
    lines = {is_test: list(_lines(lists / name, skipped)) for is_test, name in ((False, TRAIN_LIST), (True, TEST_LIST))}
    for in_both in sorted(set(lines[False]) & set(lines[True])):
        skipped.append(f"{'/'.join(in_both)} is in both lists of {lists}: expected one; it is kept for testing only")
        lines[False].remove(in_both)
    chosen = _chosen(_alphabetical({line[0] for named in lines.values() for line in named}), lists, classes, num_classes)
    label_of = {name: label for label, name in enumerate(chosen)}
    videos = video_folder(folder)
    listed = [
        Clip(videos / name / file, f"{name}/{file}", label_of[name], is_test)
        for is_test, named in lines.items()
        for name, file in named
        if name in label_of
    ]
    expected = Counter(clip.label for clip in listed)
    absent = {label for label, name in enumerate(chosen) if not (videos / name).is_dir()}
    for label in sorted(absent):
        skipped.append(
            f"{videos / chosen[label]} is missing with {expected[label]} clips: expected the folder of a class; "
            "unpack it, or choose other classes"
        )
    present = []
    for clip in listed:
        if clip.path.is_file():
            present.append(clip)
        elif clip.label not in absent:
            skipped.append(f"{clip.path} is missing: expected a clip of the split files; unpack it again")
    if not present:
        raise InputError(f"{videos} has none of the {len(listed)} clips of {lists}: expected <Class>/v_<Class>_gNN_cNN.avi; check the path")
    return Listing(tuple(present), chosen, len(listed), tuple(skipped))


def _lines(path: Path, skipped: list[str]) -> Iterator[tuple[str, str]]:
    """Yield (class, file) of every valid line.

    Other lines add a message to `skipped`.
    """
    try:
        if path.stat().st_size > LARGEST_LIST or not path.is_file():  # a pipe would never end
            raise ValueError(f"no regular file of at most {LARGEST_LIST:,} bytes")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # text that is not UTF-8 is a ValueError
        raise InputError(f"{path} cannot be read ({error}): expected a list of clips; download the split files again") from error
    seen = set()
    for number, line in enumerate(text.splitlines(), 1):
        match = LINE.fullmatch(line.strip())
        if match and not all(name.isprintable() and len(name.encode()) <= LONGEST_NAME for name in match.groups()):
            match = None
        if match and match.groups() not in seen:
            seen.add(match.groups())
            yield match[1], match[2]
        elif line.strip():
            given = "a clip named before" if match else repr(line.strip()[:80])
            skipped.append(f"{path}, line {number}: {given}: expected Class/v_Class_g01_c01.avi, once; correct the line")
    if not seen:
        raise InputError(f"{path} names no clip: expected lines such as Class/v_Class_g01_c01.avi; download the split files again")


def _alphabetical(names: set[str]) -> list[str]:
    """Return names in the order of the official list of classes.

    Hammering comes before HammerThrow, and JumpingJack before JumpRope.
    """
    return sorted(names, key=lambda name: (name.casefold(), name))


def _chosen(names: Sequence[str], lists: Path, classes: Sequence[str] | None, num_classes: int | None) -> tuple[str, ...]:
    if classes is not None and num_classes is not None:
        raise InputError("classes and num_classes: expected one of them; leave the other out")
    if classes is not None:
        unknown = sorted(set(classes) - set(names))
        if unknown:
            raise InputError(f"class {unknown[0]!r} is not in {lists}: expected some of {', '.join(names)}; choose others")
        names = _alphabetical(set(classes))
    if num_classes is not None:
        if not 2 <= num_classes <= len(names):
            raise InputError(f"{num_classes} classes: expected 2 to {len(names)}, those in {lists}; choose another number")
        names = names[:num_classes]
    if len(names) < 2:
        raise InputError(f"{len(names)} classes: expected 2 or more of those in {lists}; choose more, or complete the lists")
    return tuple(names)
