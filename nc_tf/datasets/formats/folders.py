"""A folder of pictures: its sets, its classes, and the number of each class."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nc_tf.datasets.formats import tables
from nc_tf.datasets.formats.pictures import SUFFIXES, read_pictures
from nc_tf.datasets.labelled import Found, FoundSubset, ImageShape, LeftOut, Loaded, Subset
from nc_tf.errors import InputError

# Names of sets in any letter case, or words of such names (`seg_train`, `training_set`). A validation set takes the place of a test set
# that is missing or has no classes.
ROLES = {**dict.fromkeys(("train", "training"), "train"), **dict.fromkeys(("test", "testing"), "test")}
ROLES |= dict.fromkeys(("val", "valid", "validation"), "val")
ORDER = {"test": ("test", "val", "train"), "train": ("train", "test", "val")}
META = "meta"  # one drawing a class, in the Kaggle copy of GTSRB

# Files of operating systems, archivers and notebooks; names that begin with a dot count as well.
CLUTTER = ("__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information")
DEEPEST = 8  # levels of sub-folders

EXPECTED = "expected a sub-folder for each class, with its pictures"


@dataclass(frozen=True, eq=False)
class Tree:
    """The content of a folder; links are not followed.

    Attributes:
        path: the folder.
        folders: sub-folders by name, in text order. A link to a folder counts as an empty one.
        pictures: files with the suffix of a picture, in text order.
        others: other files.
        clutter: names of hidden files, which are never read.
        links: names of links, which are never read.
        special: names of pipes and devices, which are never read.
    """

    path: Path
    folders: dict[str, "Tree"] = field(default_factory=dict)
    pictures: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    clutter: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)

    def walk(self) -> Iterator["Tree"]:
        """Yield this folder and all below it."""
        yield self
        for folder in self.folders.values():
            yield from folder.walk()

    def all_pictures(self) -> list[Path]:
        """Return the pictures of this folder and of all below it."""
        return [picture for folder in self.walk() for picture in folder.pictures]

    def filled(self) -> list["Tree"]:
        """Return the sub-folders that hold pictures, at any depth."""
        return [folder for folder in self.folders.values() if any(below.pictures for below in folder.walk())]


def tree(path: Path, depth: int = DEEPEST) -> Tree:
    """Return the content of a folder.

    Raises:
        InputError: its sub-folders are nested too deep.
    """
    if depth < 0:
        raise InputError(f"{path} lies more than {DEEPEST} folders deep: {EXPECTED}; move the folders up")
    found = Tree(path)
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith(".") or entry.name.casefold() in CLUTTER:
                found.clutter.append(entry.name)
            elif entry.is_symlink():
                found.links.append(entry.name)
                if entry.is_dir():
                    found.folders[entry.name] = Tree(path / entry.name)
            elif entry.is_dir():
                found.folders[entry.name] = tree(path / entry.name, depth - 1)
            elif not entry.is_file():
                found.special.append(entry.name)
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                found.pictures.append(path / entry.name)
            else:
                found.others.append(path / entry.name)
    return found


def find(path: Path, subset: Subset, image_shape: ImageShape | None, *, one_class: bool) -> Found:
    """Find one set of a folder of pictures.

    Args:
        path: the folder.
        subset: the set to find; if it is missing, another takes its place.
        image_shape: (H, W, C) to resize the pictures to; None for their own size.
        one_class: whether a single sub-folder is a class, and not a folder around the classes.

    Raises:
        InputError: no classes or no pictures in them, or classes that are ambiguous.
    """
    top, left_out = tree(path), LeftOut()
    root = top if one_class else _unwrapped(top, into_sets=False)
    sets = _sets(root)
    chosen, found = _chosen(root, sets, subset, left_out) if sets else (root, "only")
    table = tables.table_of(root, chosen)
    if table and not chosen.filled():
        names, (files, labels) = None, tables.labelled(root, chosen, table, left_out)
        if _numbers([_unwrapped(each) for each in sets.values()], path, left_out)[0]:
            raise InputError(f"{table} numbers the classes, the folders beside it name them: expected numbers; rename the folders")
    else:
        _check_classes(chosen, path)
        names, number_of = _numbers([_unwrapped(each) for each in sets.values()] or [chosen], path, left_out)
        pairs = [(file, number_of[name]) for name, folder in chosen.folders.items() if name in number_of for file in folder.all_pictures()]
        if names is None:
            pairs.sort(key=lambda pair: pair[1])  # stable: the files of each stay in their order
        files, labels = [file for file, _ in pairs], np.array([label for _, label in pairs])
        if chosen.pictures:
            left_out.add("picture beside the class folders", "pictures beside the class folders", count=len(chosen.pictures))
    _account(top, root, chosen, table, left_out)
    if not files:
        given = "; ".join(["has sub-folders without pictures", *left_out.phrases()])
        raise InputError(f"{path} {given}: expected {' '.join(SUFFIXES)} files in them; convert the pictures")

    def load(rows: np.ndarray | None) -> Loaded:
        chosen_rows = np.arange(len(files)) if rows is None else rows
        pictures = read_pictures(path, [files[row] for row in chosen_rows], image_shape)
        if pictures.problems:
            left_out.add("picture that cannot be read", "pictures that cannot be read", *pictures.problems, count=len(pictures.problems))
        read = chosen_rows[pictures.rows]
        return Loaded(pictures.images, labels[read], read, left_out.phrases())

    return Found(labels, load, names, found)


def _sets(root: Tree) -> dict[str, Tree]:
    """Return the sets by their role; empty if the sub-folders are classes.

    Raises:
        InputError: the sub-folders may be sets or classes, or two of them are the same set.
    """
    sets: dict[str, Tree] = {}
    named = [folder for folder in root.filled() if _role(folder)]
    exact = [folder for folder in named if folder.path.name.casefold() in ROLES]
    usable = [folder for folder in named if _has_classes(root, folder)]
    for folder in usable or exact:
        other = sets.setdefault(_role(folder), folder)
        if other is not folder:
            two = f"{other.path.name} and {folder.path.name}"
            raise InputError(f"{root.path} holds {two}: expected one set of each kind; give one of them as DATA")
    beside = [folder.path.name for folder in root.filled() if folder not in named and folder.path.name.casefold() != META]
    if len(sets) > 1 or (sets and not beside):
        if not usable:
            raise InputError(f"{exact[0].path} has no sub-folders: {EXPECTED}; sort the pictures into folders{_hint(exact[0].path)}")
        return {_role(folder): folder for folder in exact} | sets
    if not sets or not exact or len(_unwrapped(exact[0]).filled()) < 2:
        return {}  # no set, or a class that is called train, among others
    raise InputError(
        f"{root.path} holds {exact[0].path.name} with folders of pictures, and beside it {_first_names(beside)}: expected sets or classes, "
        f"not both; give {exact[0].path} as DATA, or move the other away"
    )


def _role(folder: Tree) -> str:
    """Return the kind of set by the folder's name; empty for none."""
    return next((ROLES[word] for word in re.split(r"[\W_]+", folder.path.name.casefold()) if word in ROLES), "")


def _has_classes(root: Tree, folder: Tree) -> bool:
    inner = _unwrapped(folder)
    return bool(inner.filled() or tables.table_of(root, inner))


def _chosen(root: Tree, sets: Mapping[str, Tree], subset: Subset, left_out: LeftOut) -> tuple[Tree, FoundSubset]:
    """Return the set `subset`, or the first that takes its place."""
    present = [role for role in ORDER[subset] if role in sets]
    role = next(role for role in present if _has_classes(root, sets[role]))
    for skipped in present[: present.index(role)]:
        left_out.add("set without classes", "sets without classes", sets[skipped].path.name)
    return _unwrapped(sets[role]), "train" if role == "train" else "test"


def _unwrapped(folder: Tree, *, into_sets: bool = True) -> Tree:
    """Return the innermost folder around all others, as in many archives."""
    while not folder.pictures and len(folder.folders) == 1:
        (inner,) = folder.folders.values()
        if (_role(inner) and not into_sets) or not (inner.filled() or (inner.pictures and tables.table_of(folder, inner))):
            break
        folder = inner
    return folder


def _check_classes(chosen: Tree, path: Path) -> None:
    """Refuse a folder without sub-folders, or whose sub-folders are not all classes."""
    if not chosen.folders:
        raise InputError(f"{chosen.path} has no sub-folders: {EXPECTED}; sort the pictures into folders{_hint(chosen.path)}")
    flat = [folder.path.name for folder in chosen.folders.values() if folder.pictures]
    nested = [folder for folder in chosen.folders.values() if not folder.pictures and len(folder.filled()) > 1]
    if flat and nested:
        raise InputError(
            f"{path}: {nested[0].path.name} holds {len(nested[0].filled())} folders of pictures, {_first_names(flat)} pictures: "
            f"expected a folder for each class; give {nested[0].path} as DATA if that holds the classes, or move the others away"
        )


def _numbers(sets: Sequence[Tree], path: Path, left_out: LeftOut) -> tuple[tuple[str, ...] | None, dict[str, int]]:
    """Return the names of the classes, and the number of each folder.

    The names are None where the folders are numbers. A folder has the same number in every set.
    """
    filled = {folder.path.name for each in sets for folder in each.filled()}
    every_name = sorted({name for each in sets for name in each.folders})
    numbers, others = [name for name in every_name if name.isdecimal()], [name for name in every_name if not name.isdecimal()]
    if numbers and len(numbers) > len(others):
        strays = [name for name in others if name in filled]
        if strays:
            raise InputError(
                f"{path} has {len(numbers)} folders named by numbers, and {_first_names(strays)}: expected numbers or names; "
                "move away what is no class, or give every class a name"
            )
        if others:
            left_out.add("folder that is no number", "folders that are no numbers", *others, count=len(others))
        for each in sets:
            _refuse_duplicates([name for name in each.folders if name.isdecimal()], each.path)
        return None, {name: int(name) for name in numbers}
    empty = [name for name in every_name if name not in filled]
    if empty:
        many = "classes without pictures, which keep their numbers"
        left_out.add("class without pictures, which keeps its number", many, *empty, count=len(empty))
    return tuple(every_name), {name: number for number, name in enumerate(every_name)}


def _refuse_duplicates(names: Sequence[str], path: Path) -> None:
    by_number: dict[int, str] = {}
    for name in names:
        if int(name) in by_number:
            raise InputError(f"{path} has the folders {by_number[int(name)]} and {name}: expected one for each number; put them together")
        by_number[int(name)] = name


def _account(top: Tree, root: Tree, chosen: Tree, table: Path | None, left_out: LeftOut) -> None:
    """Count the files and folders that are not read, by reason."""
    folders = [*({top.path: top, root.path: root} | {below.path: below for below in chosen.walk()}).values()]
    others = [file for folder in folders for file in folder.others if file != table]
    if others:
        suffixes = sorted({file.suffix.lower() or file.name for file in others})
        left_out.add("file of another kind", "files of other kinds", *suffixes, count=len(others))
    for one, many, part in (
        ("hidden file or folder", "hidden files and folders", "clutter"),
        ("link", "links", "links"),
        ("pipe or device", "pipes and devices", "special"),
    ):
        names = [name for folder in folders for name in getattr(folder, part)]
        if names:
            left_out.add(one, many, *names, count=len(names))
    if chosen is not root:
        beside = [folder.path.name for folder in root.filled() if not _role(folder)]
        if beside:
            left_out.add("folder beside the sets", "folders beside the sets", *beside, count=len(beside))
        if root.pictures:
            left_out.add("picture beside the sets", "pictures beside the sets", count=len(root.pictures))


def _hint(folder: Path) -> str:
    """Return advice on a folder without sub-folders, or an empty text."""
    table = next((file for file in folder.parent.glob("*.csv") if file.stem.casefold() == folder.name.casefold()), None)
    if table:
        return f", or give {folder.parent} as DATA, where {table.name} says their classes"
    arrays = next((file for file in sorted(folder.iterdir()) if file.suffix.lower() in (".npz", ".h5", ".hdf5")), None)
    return f", or give {arrays} as DATA" if arrays else ""


def _first_names(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
