"""The German Traffic Sign Recognition Benchmark: from the official archives to the files that the original reads.

Stallkamp et al., "The German Traffic Sign Recognition Benchmark: A multi-class classification competition", IJCNN 2011.
"""

import csv
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from nc_tf.datasets.download import fetch
from nc_tf.datasets.formats.pictures import RESIZE_FILTER
from nc_tf.datasets.read import LabelledImages, read
from nc_tf.errors import InputError
from nc_tf.storage.hdf5_file import whole_hdf5

BASE_URL = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/"
SIDE = 32  # pixels; the input of the paper's network
IMAGES_A_CHUNK = 256  # 0.75 MiB unpacked: a few minibatches
LARGEST_MEMBER = 2**24  # bytes; the largest photograph of the set has 0.2 MB, a zip bomb has more
COLUMNS = ("Filename", "Width", "Height", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId")

CLASS_NAMES = (
    *("speed limit 20", "speed limit 30", "speed limit 50", "speed limit 60", "speed limit 70", "speed limit 80"),
    *("end of speed limit 80", "speed limit 100", "speed limit 120", "no passing", "no passing for trucks"),
    *("right of way at next crossing", "priority road", "yield", "stop", "no vehicles", "no trucks", "no entry", "danger"),
    *("curve left", "curve right", "double curve", "bumpy road", "slippery road", "road narrows right", "road works"),
    *("traffic lights", "pedestrians", "children", "bicycles", "ice or snow", "wild animals", "end of all limits"),
    *("turn right ahead", "turn left ahead", "ahead only", "straight or right", "straight or left", "keep right", "keep left"),
    *("roundabout", "end of no passing", "end of no passing for trucks"),
)
NUM_CLASSES = len(CLASS_NAMES)


class Archive(NamedTuple):
    """One file of the official archive."""

    name: str
    md5: str
    size: int


# The training set of the benchmark has 39,209 photographs. `GTSRB-Training_fixed.zip`, which torchvision fetches, is the training set of
# the competition of 2011 and has 26,640. The original's gtsrb_dataset.h5 and the paper's figures rest on the larger one.
ARCHIVES = (
    Archive("GTSRB_Final_Training_Images.zip", "f33fd80ac59bff73c82d25ab499e03a3", 276_294_756),
    Archive("GTSRB_Final_Test_Images.zip", "c7e4e6327067d32654124b0fe9e82185", 88_978_620),
    Archive("GTSRB_Final_Test_GT.zip", "fe31e9c9270bbcd7b84b7f21a9d9d9e5", 99_620),
)
COMPETITION_ARCHIVE = "GTSRB-Training_fixed.zip"

TRAINING_CSV = re.compile(r"(?:^|/)(Final_Training/Images|Training)/(\d{5})/GT-\2\.csv$")
TRAINING_PICTURE = re.compile(r"(?:^|/)(?:Final_Training/Images|Training)/(\d{5})/[^/]+\.ppm$")
TEST_CSV = "GT-final_test.csv"
TEST_PICTURE = re.compile(r"(?:^|/)Final_Test/Images/[^/]+\.ppm$")

Labelled = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def load_data(path: str | Path = "data/gtsrb_dataset.h5") -> Labelled:
    """Return the prepared training and test set, as `keras.datasets` does.

    Args:
        path: the file that `prepare` (or `nc-tf data gtsrb`) wrote, or the original's own file.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: 39,209 and 12,630 images (N, 32, 32, 3) uint8 in [0, 255], labels (N,) int64 in
        [0, 42]. The training images are sorted by class: shuffle before taking a part.

    Raises:
        InputError: the file is missing, damaged, or holds something else.
    """
    if not Path(path).exists():
        raise InputError(
            f"{path} does not exist: expected the GTSRB data set; `nc-tf data gtsrb` downloads and prepares it, `make demo` needs none"
        )
    return _subset(path, "train"), _subset(path, "test")


def prepare(folder: str | Path, *, source: str | Path | None = None, crop: bool = False, base_url: str = BASE_URL) -> tuple[Path, Path]:
    """Write the original's two HDF5 files, and return their paths.

    `gtsrb_dataset.h5` holds X_train (N, 32, 32, 3) uint8, Y_train one-hot (N, 43) uint8, X_test and Y_test; `gtsrb_dataset_int.h5`
    holds X_test and Y_test. Pictures are read out of the archives; no file is unpacked to the disk. The order is that of the classes and
    their CSV files (training) and of the CSV file (test). Pictures are resized by Pillow's bilinear filter, see `pictures.RESIZE_FILTER`.
    The filter of the authors' own file is not known, so pixels may differ from theirs by a little.

    Args:
        folder: folder of the two files and of the downloads (365 MB).
        source: a folder with the three zip files, or with the unpacked `GTSRB/` tree, in the place of a download. If it has only the
            smaller training set of the 2011 competition, that one is taken.
        crop: cut each picture to the sign first. The original's data has whole frames, so leave it off to compare with the paper.
        base_url: address of the folder of the archives.

    Returns:
        The paths of the two files.

    Raises:
        InputError: a download failed; a CSV file or a picture is missing or damaged; a class is missing or out of range; or `folder`
            cannot be written to.
    """
    folder = Path(folder)
    if source is None:
        for archive in ARCHIVES:
            fetch(base_url.rstrip("/") + "/" + archive.name, folder / archive.name, md5=archive.md5, size=archive.size)
    elif not Path(source).is_dir():
        raise InputError(f"{source} is not a folder: expected one with the GTSRB zip files or the GTSRB tree; check the path")
    with _members(folder if source is None else Path(source)) as members:
        x_train, y_train = _pictures(members, _training_rows(members), crop, "GTSRB training")
        x_test, y_test = _pictures(members, _test_rows(members), crop, "GTSRB test")
    test = {"X_test": x_test, "Y_test": y_test}
    whole, small = folder / "gtsrb_dataset.h5", folder / "gtsrb_dataset_int.h5"
    _write(whole, {"X_train": x_train, "Y_train": y_train, **test})
    _write(small, test)
    return whole, small


def _subset(path: str | Path, subset: str) -> tuple[np.ndarray, np.ndarray]:
    data: LabelledImages = read(path, subset="train" if subset == "train" else "test", image_shape=(SIDE, SIDE, 3))
    if data.subset != subset or data.labels.max() >= NUM_CLASSES:
        raise InputError(
            f"{path} lacks X_{subset} and Y_{subset} with {NUM_CLASSES} classes: expected gtsrb_dataset.h5; `nc-tf data gtsrb` writes it"
        )
    return data.images, data.labels


@dataclass(frozen=True, eq=False)
class _Members:
    """The files of archives or of a folder, by name; a name out of a CSV file can reach no other file."""

    where: Path
    places: dict[str, Path | tuple[zipfile.ZipFile, zipfile.ZipInfo]]

    def read(self, name: str) -> bytes:
        place = self.places.get(name)
        if place is None:
            raise InputError(f"{name} is missing in {self.where}: expected the whole GTSRB archive; download it again")
        try:
            size = place.stat().st_size if isinstance(place, Path) else place[1].file_size
            if size > LARGEST_MEMBER:
                raise InputError(f"{name} in {self.where} has {size:,} bytes: expected at most {LARGEST_MEMBER:,}; download it again")
            return place.read_bytes() if isinstance(place, Path) else place[0].read(place[1])
        except (OSError, RuntimeError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise InputError(f"{name} in {self.where} cannot be read ({error}): expected a whole file; download it again") from error


@contextmanager
def _members(source: Path) -> Iterator[_Members]:
    """Open the zip files in `source`, or the files below it."""
    training = source / ARCHIVES[0].name
    if not training.is_file() and (source / COMPETITION_ARCHIVE).is_file():
        training = source / COMPETITION_ARCHIVE
    zips = [path for path in (training, *(source / archive.name for archive in ARCHIVES[1:])) if path.is_file()]
    places: dict[str, Path | tuple[zipfile.ZipFile, zipfile.ZipInfo]] = {}
    with ExitStack() as stack:
        for path in zips:
            try:
                file = stack.enter_context(zipfile.ZipFile(path))
            except (OSError, zipfile.BadZipFile) as error:
                raise InputError(f"{path} is not a readable zip file ({error}): expected the GTSRB archive; download it again") from error
            places |= {info.filename: (file, info) for info in file.infolist()}
        if not zips:
            found = (path for path in source.rglob("*") if path.suffix in (".csv", ".ppm") and path.is_file() and not path.is_symlink())
            places |= {path.relative_to(source).as_posix(): path for path in found}
        yield _Members(source, places)


class _Row(NamedTuple):
    picture: str  # name among the members
    roi: tuple[int, int, int, int]  # x1, y1, x2, y2 of the sign, both ends inside
    label: int


def _training_rows(members: _Members) -> list[_Row]:
    matches = [match for match in map(TRAINING_CSV.search, members.places) if match]
    final = [match for match in matches if match[1] != "Training"]  # a tree may hold the smaller set as well
    tables = {int(match[2]): match.string for match in final or matches}
    # The pictures count too, so that a class without its CSV file is named and not silently left out.
    classes = sorted(tables.keys() | {int(match[1]) for match in map(TRAINING_PICTURE.search, members.places) if match})
    if classes and classes[-1] >= NUM_CLASSES:
        raise InputError(
            f"{members.where} has a class {classes[-1]}: expected {NUM_CLASSES} classes from 0; remove the files that are not of GTSRB"
        )
    missing = [f"{label:05d}/GT-{label:05d}.csv" for label in range(NUM_CLASSES) if label not in tables]
    if missing:
        raise InputError(
            f"{members.where} lacks {len(missing)} of {NUM_CLASSES} training tables, {missing[0]} first: "
            f"expected {ARCHIVES[0].name} or the tree GTSRB/Final_Training/Images; download it again"
        )
    rows = []
    for label in range(NUM_CLASSES):
        for row in _table(members, tables[label], tables[label].rpartition("/")[0]):
            if row.label != label:
                raise InputError(f"{row.picture}: class {row.label} in the folder of class {label}: expected one class; download it again")
            rows.append(row)
    return rows


def _test_rows(members: _Members) -> list[_Row]:
    tables = [name for name in members.places if name.rpartition("/")[2] == TEST_CSV]
    folders = {name.rpartition("/")[0] for name in members.places if TEST_PICTURE.search(name)}
    if not tables or not folders:
        absent, archive = (TEST_CSV, ARCHIVES[2]) if not tables else ("Final_Test/Images/*.ppm", ARCHIVES[1])
        raise InputError(f"{members.where} lacks {absent}: expected {archive.name} or the tree GTSRB/Final_Test/Images; download it again")
    return list(_table(members, tables[0], min(folders)))


def _table(members: _Members, name: str, folder: str) -> Iterator[_Row]:
    """Read a CSV file whose pictures lie in `folder`."""
    try:
        table = csv.DictReader(io.StringIO(members.read(name).decode("utf-8-sig"), newline=""), delimiter=";")
        absent = [column for column in COLUMNS if column not in (table.fieldnames or ())]
        if absent:
            raise InputError(f"{name} lacks the columns {', '.join(absent)}: expected {';'.join(COLUMNS)}; download it again")
        for line, entry in enumerate(table, 2):
            try:
                x1, y1, x2, y2, label = (int(entry[column]) for column in COLUMNS[3:])
            except (TypeError, ValueError) as error:
                raise InputError(f"{name}, line {line}: no whole numbers: expected them for Roi and ClassId; download it again") from error
            if not 0 <= label < NUM_CLASSES:
                raise InputError(f"{name}, line {line}: class {label}: expected 0 to {NUM_CLASSES - 1}; download it again")
            yield _Row(f"{folder}/{entry['Filename']}", (x1, y1, x2, y2), label)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{name} is not a table ({error}): expected {';'.join(COLUMNS)}; download it again") from error


def _pictures(members: _Members, rows: list[_Row], crop: bool, title: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, 32, 32, 3) and one-hot labels (N, 43), uint8."""
    if not rows:
        raise InputError(f"{members.where} has no {title} pictures: expected the whole GTSRB archive; download it again")
    images = np.empty((len(rows), SIDE, SIDE, 3), np.uint8)
    for image, row in zip(images, track(rows, title, console=Console(stderr=True)), strict=True):
        image[...] = _picture(members.read(row.picture), row, crop)
    return images, np.eye(NUM_CLASSES, dtype=np.uint8)[[row.label for row in rows]]


def _picture(content: bytes, row: _Row, crop: bool) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content), formats=("PPM",)) as opened:
            picture = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{row.picture} is not a whole PPM picture: expected one as in the official archive; download it again") from error
    if crop:
        x1, y1, x2, y2 = row.roi
        if not (0 <= x1 <= x2 < picture.width and 0 <= y1 <= y2 < picture.height):
            raise InputError(
                f"{row.picture}: Roi {row.roi}: expected one inside of its {picture.width}x{picture.height} pixels; download it again"
            )
        picture = picture.crop((x1, y1, x2 + 1, y2 + 1))
    return np.asarray(picture.resize((SIDE, SIDE), RESIZE_FILTER))


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with whole_hdf5(path) as file:
        for name, array in arrays.items():
            chunks = (min(IMAGES_A_CHUNK, len(array)), *array.shape[1:])
            file.create_dataset(name, data=array, chunks=chunks, compression="gzip")
