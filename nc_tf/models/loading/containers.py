"""Container of a model file: its kind, its zip members, its HDF5 links, storage and filters. Keras is not used here.

The attacks that these checks stand against: HDF5 external links, soft links, external storage and virtual datasets, which read other
files of the host (CVE-2026-1669), and files of a few kilobytes that unpack to gigabytes.
"""

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NoReturn

import h5py

from nc_tf.errors import InputError, quote

MAX_BYTES = 8 << 30  # weights, unpacked; the largest networks of keras.applications need 1.5 GiB
MAX_CONFIG_BYTES = 16 << 20  # EfficientNet-B7 needs about 1 MiB
MAX_OBJECTS = 100_000  # groups, datasets, links and attributes
MAX_GROUP_DEPTH = 200  # groups in groups; a model in a model takes two
MAX_RATIO = 100  # unpacked to stored; float weights rarely pass 2, heavily pruned ones 20
FREE_BYTES = 1 << 20  # below this no ratio is judged: empty and constant arrays pack well
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
BUILT_IN_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
RESAVE = "save the network again with model.save('name.keras')"
Kind = Literal["hdf5", "zip", "savedmodel"]


def file_kind(path: Path) -> Kind:
    """Tell the format of a model by its first bytes, whatever its suffix says.

    Raises:
        InputError: missing, empty, unreadable, a pickle, or nothing that Keras writes.
    """
    expected = "expected a model file (.keras, .h5, .hdf5) or a SavedModel folder"
    if not path.exists():
        raise InputError(f"{path}: no such file; {expected}; check the path")
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "savedmodel"
        raise InputError(f"{path}: a folder without saved_model.pb; {expected}; name the file inside it, or {RESAVE}")
    if not path.is_file():  # opening a pipe would wait for ever
        raise InputError(f"{path}: not a regular file; {expected}; copy the model into a file first")
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {expected}; check its permissions") from error
    if not head:
        raise InputError(f"{path}: an empty file (0 bytes); {expected}; copy or download it again")
    if head == b"\x89HDF\r\n\x1a\n":
        return "hdf5"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head[0] == 0x80 and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise InputError(f"{path}: a pickle, which runs code while it is read; refused always, with --trust-model too; {RESAVE}")
    raise InputError(f"{path}: starts with {quote(head)}, so it is neither HDF5 nor a .keras archive; {expected}; {RESAVE}")


@contextmanager
def open_hdf5(path: Path, label: str | Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading.

    Raises:
        InputError: the file is cut short or damaged, also where that shows only while it is read; the message names `label`.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        refuse_damaged(label, "HDF5 file", error)
    with file:
        try:
            yield file
        except InputError:
            raise
        except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
            refuse_damaged(label, "HDF5 file", error)


def refuse_damaged(label: str | Path, what: str, error: Exception) -> NoReturn:
    """Refuse a file that is cut short or damaged."""
    reason = " ".join(str(error).split())[:120]
    raise InputError(f"{label}: {what} cut short or damaged ({reason}); expected a whole file; copy or download it again") from error


def check_hdf5(file: h5py.File, label: str | Path, file_bytes: int) -> int:
    """Walk every object of an HDF5 file without reading any array.

    Args:
        file: the open file.
        label: what messages call it.
        file_bytes: its size on disk, the most that its datasets can store.

    Returns:
        The number of array elements outside the optimiser's groups.

    Raises:
        InputError: links, external storage, virtual datasets, foreign filters, references or sizes that cannot be honest.
    """
    pending: list[tuple[h5py.Group, str, int]] = [(file, "", 0)]  # HDF5 itself finds out a name by walking up to the root
    seen: set[int] = set()  # addresses: hard links may form a ring
    elements = logical = stored = 0
    objects, pointers = count_attributes(file, "/", label, file_bytes)
    while pending:
        group, folder, depth = pending.pop()
        objects += len(group)
        refuse_many_objects(objects, label)
        if depth > MAX_GROUP_DEPTH:
            raise InputError(f"{label}: HDF5 groups nested more than {MAX_GROUP_DEPTH} deep; no network needs that; {RESAVE}")
        for key in group:
            name = f"{folder}/{key}"
            refuse_link(group, key, name, label)
            item = group[key]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            attributes, texts = count_attributes(item, name, label, file_bytes)
            objects, pointers = objects + attributes, max(pointers, texts)
            refuse_many_objects(objects, label)
            if isinstance(item, h5py.Group):
                pending.append((item, name, depth + 1))
            elif isinstance(item, h5py.Dataset):
                refuse_foreign_storage(item, name, label)
                refuse_bomb(item, name, label, file_bytes)
                logical += item.nbytes
                stored += item.id.get_storage_size()
                elements += 0 if name.split("/")[1].startswith("optimizer") else int(item.size or 0)
            else:
                raise InputError(f"{label}: {quote(name)} is an HDF5 named type; expected groups and arrays only; {RESAVE}")
    if logical > MAX_BYTES:
        raise InputError(f"{label}: its arrays need {logical >> 30} GiB; the limit is {MAX_BYTES >> 30} GiB; {RESAVE}, without optimizer")
    if stored > file_bytes:
        raise InputError(f"{label}: its arrays claim {stored} stored bytes in a file of {file_bytes}: cut short or forged; copy it again")
    if pointers * (file_bytes - stored) > MAX_BYTES:  # a list of pointers, each to the largest text there can be
        raise InputError(f"{label}: a list of {pointers} texts may unpack to over {MAX_BYTES >> 30} GiB; expected names; {RESAVE}")
    return elements


def refuse_many_objects(objects: int, label: str | Path) -> None:
    """Refuse more parts than any network has, before all of them are looked at."""
    if objects > MAX_OBJECTS:
        raise InputError(f"{label}: more than {MAX_OBJECTS} HDF5 objects; no network has so many; {RESAVE}")


def refuse_link(group: h5py.Group, key: str, name: str, label: str | Path) -> None:
    """Refuse every link but a hard one: the others name other files, or places that were not checked."""
    link = group.get(key, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        raise InputError(
            f"{label}: {quote(name)} is an external link to {quote(link.filename)}, another file of this machine; "
            f"expected all weights inside; {RESAVE}"
        )
    if isinstance(link, h5py.SoftLink):
        raise InputError(f"{label}: {quote(name)} is a soft link to {quote(link.path)}; expected the weights themselves; {RESAVE}")


def refuse_foreign_storage(dataset: h5py.Dataset, name: str, label: str | Path) -> None:
    """Refuse arrays whose values lie elsewhere, need a plug-in to be read, or are no numbers."""
    if dataset.external:
        raise InputError(
            f"{label}: {quote(name)} keeps its values in the external file {quote(dataset.external[0][0])}; "
            f"expected all weights inside; {RESAVE}"
        )
    if dataset.is_virtual:
        raise InputError(f"{label}: {quote(name)} is a virtual dataset, assembled from other files; expected all weights inside; {RESAVE}")
    if dataset.dtype.kind not in "fiubSV" or dataset.dtype.names or dataset.dtype.itemsize > MAX_CONFIG_BYTES:
        raise InputError(f"{label}: {quote(name)} holds {quote(str(dataset.dtype))} values; expected plain numbers; {RESAVE}")
    settings = dataset.id.get_create_plist()
    for index in range(settings.get_nfilters()):
        code, *_ = settings.get_filter(index)
        if code not in BUILT_IN_FILTERS:  # HDF5 would look for a shared library to run
            raise InputError(f"{label}: {quote(name)} needs the HDF5 plug-in filter {code}; expected gzip or no filter; {RESAVE}")


def refuse_bomb(dataset: h5py.Dataset, name: str, label: str | Path, file_bytes: int) -> None:
    """Refuse arrays that unpack to far more than the file stores, in all or in one chunk."""
    stored = min(dataset.id.get_storage_size(), file_bytes)
    chunk = dataset.dtype.itemsize
    for side in dataset.chunks or ():
        chunk *= side
    if max(dataset.nbytes, chunk) > FREE_BYTES + MAX_RATIO * stored:
        raise InputError(
            f"{label}: {quote(name)} unpacks {stored} stored bytes to {max(dataset.nbytes, chunk)}, more than {MAX_RATIO} times as many: "
            f"a decompression bomb, or a file cut short; {RESAVE}"
        )


def count_attributes(item: h5py.Group | h5py.Dataset, name: str, label: str | Path, file_bytes: int) -> tuple[int, int]:
    """Refuse attributes that declare more than the file holds.

    Returns:
        The number of attributes, and of texts in the longest list of texts of variable length, which may all be one large text.
    """
    plain = (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING, h5py.h5t.ENUM)
    texts = 0
    attributes = h5py.h5a.get_num_attrs(item.id)
    refuse_many_objects(attributes, label)
    for index in range(attributes):
        attribute = h5py.h5a.open(item.id, index=index)
        kind, points = attribute.get_type(), attribute.get_space().get_simple_extent_npoints()
        if isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str() and points > 1:
            texts = max(texts, points)
        foreign = kind.get_class() not in plain  # an array of texts is one value, and a sequence may hold sequences
        if foreign or points * kind.get_size() > file_bytes:
            where = quote(f"{name}@{attribute.name.decode(errors='replace')}")
            what = "holds lists or records" if foreign else f"declares {points} values that {file_bytes} bytes cannot hold"
            raise InputError(f"{label}: the attribute {where} {what}; expected texts, numbers and short lists of names; {RESAVE}")
    return attributes, texts


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield a private folder that disappears on exit.

    Raises:
        InputError: no folder for temporary files can be written to, or its disk is full; the message names it and `path`.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="nc_tf_")
    except OSError as error:
        raise _no_room(path, "the folder for temporary files", error) from error
    with folder:
        try:
            yield Path(folder.name)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise _no_room(path, tempfile.gettempdir(), error) from error
            raise


def _no_room(path: Path, folder: str, error: OSError) -> InputError:
    """Return the error for a disk without room for unpacked weights."""
    return InputError(
        f"{path}: cannot be unpacked into {folder} ({error.strerror}): expected room for its weights; free some, or name another folder "
        "with TMPDIR"
    )
