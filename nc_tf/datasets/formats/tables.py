"""Tables with the classes of pictures: Test.csv of the Kaggle copy of GTSRB, GT-final_test.csv of the official one."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nc_tf.datasets.labelled import LeftOut
from nc_tf.errors import InputError

if TYPE_CHECKING:
    from nc_tf.datasets.formats.folders import Tree

FILE_COLUMNS, LABEL_COLUMN = ("Path", "Filename"), "ClassId"
LONGEST_NUMBER = 9  # digits of a class
LARGEST_TABLE = 2**26  # bytes; the table of GTSRB has half a million


def table_of(root: "Tree", folder: "Tree") -> Path | None:
    """Return the table for the pictures in a folder, or None.

    The table is FOLDER.csv beside the folder, or GT-*.csv in it.
    """
    if not folder.pictures:
        return None
    names = {folder.path.name.casefold(), *(part.casefold() for part in folder.path.relative_to(root.path).parts[:1])}
    beside = [file for file in root.others if file.suffix.lower() == ".csv" and file.stem.casefold() in names]
    within = [file for file in folder.others if file.suffix.lower() == ".csv" and file.stem.startswith("GT-")]
    return next(iter([*beside, *within]), None)


def labelled(root: "Tree", folder: "Tree", table: Path, left_out: LeftOut) -> tuple[list[Path], np.ndarray]:
    """Return the pictures of a table, in its order, and their labels.

    A name in the table can reach no other file.

    Raises:
        InputError: the file is no such table.
    """
    places = {picture.name: picture for picture in folder.pictures}
    places |= {picture.relative_to(root.path).as_posix(): picture for picture in folder.pictures}
    files: dict[Path, int] = {}
    missing = []
    for name, label in _rows(table):
        if name in places:
            files[places[name]] = label
        else:
            missing.append(name)
    if missing:
        left_out.add(f"picture of {table.name} that is missing", f"pictures of {table.name} that are missing", *missing, count=len(missing))
    unnamed = [picture.name for picture in folder.pictures if picture not in files]
    if unnamed:
        many = f"pictures that {table.name} does not name"
        left_out.add(f"picture that {table.name} does not name", many, *unnamed, count=len(unnamed))
    return list(files), np.array(list(files.values()), np.int64)


def _rows(table: Path) -> list[tuple[str, int]]:
    expected = f"expected a table with the columns {' or '.join(FILE_COLUMNS)}, and {LABEL_COLUMN}"
    if table.stat().st_size > LARGEST_TABLE:
        raise InputError(f"{table} has {table.stat().st_size:,} bytes: {expected}; check the file")
    try:
        text = table.read_text(encoding="utf-8-sig")
        header = text.partition("\n")[0]
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=";" if ";" in header else ",")
        column = next((name for name in FILE_COLUMNS if name in (reader.fieldnames or ())), None)
        if column is None or LABEL_COLUMN not in (reader.fieldnames or ()):
            raise InputError(f"{table} begins with {header.strip()[:80]!r}: {expected}; correct the first line")
        rows = []
        for line, row in enumerate(reader, 2):
            label = row[LABEL_COLUMN] or ""
            if not label.isdecimal() or len(label) > LONGEST_NUMBER:
                raise InputError(f"{table}, line {line}: class {label[:80]!r}: expected a whole number from 0; correct the line")
            rows.append((row[column] or "", int(label)))
        return rows
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table} cannot be read ({error}): {expected}; copy or download it again") from error
