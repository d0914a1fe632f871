"""Members of a `.keras` archive, checked before any is unpacked."""

import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nc_tf.errors import InputError, quote
from nc_tf.models.loading.containers import (
    CONFIG,
    FREE_BYTES,
    MAX_BYTES,
    MAX_CONFIG_BYTES,
    MAX_RATIO,
    METADATA,
    RESAVE,
    WEIGHTS,
    refuse_damaged,
    scratch_folder,
)


@contextmanager
def open_keras_archive(path: Path) -> Iterator[tuple[bytes, Path]]:
    """Check a `.keras` zip and unpack its weights into a private folder, so that what is loaded is what was checked.

    Yields:
        The bytes of `config.json` and the path of the unpacked `model.weights.h5`, which disappears on exit.

    Raises:
        InputError: damaged, unexpected members, encryption, or sizes out of bounds.
    """
    try:
        with zipfile.ZipFile(path) as archive, scratch_folder(path) as folder:
            check_members(archive.infolist(), path)
            config = archive.read(CONFIG)
            weights = folder / WEIGHTS
            with archive.open(WEIGHTS) as source, weights.open("wb") as target:
                shutil.copyfileobj(source, target)
            yield config, weights
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, zlib.error) as error:  # a damaged offset is an OSError
        refuse_damaged(path, ".keras archive", error)


def refuse_damaged_archive(path: Path) -> None:
    """Refuse a zip that lost its end, where its list of members is."""
    try:
        zipfile.ZipFile(path).close()
    except zipfile.BadZipFile as error:
        refuse_damaged(path, ".keras archive", error)


def check_members(members: list[zipfile.ZipInfo], path: Path) -> None:
    """Accept exactly what Keras writes: config.json, metadata.json, model.weights.h5 and an empty assets folder.

    Raises:
        InputError: one message for each way in which a member differs.
    """
    names = [member.orig_filename for member in members]
    for member in members:
        refuse_member(member, names, path)
    for needed in (CONFIG, WEIGHTS):
        if needed not in names:
            raise InputError(f"{path}: no member {needed}; expected a .keras archive with {CONFIG} and {WEIGHTS}; {RESAVE}")
    packed, file_bytes = sum(member.compress_size for member in members), path.stat().st_size
    if packed > file_bytes:
        raise InputError(f"{path}: its members claim {packed} packed bytes in a file of {file_bytes}: they overlap; {RESAVE}")


def refuse_member(member: zipfile.ZipInfo, names: list[str], path: Path) -> None:
    """Refuse one zip member by its name, flags and declared sizes."""
    name = member.orig_filename
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or parts[0] == "" or ":" in parts[0]:
        raise InputError(f"{path}: member {quote(name)} points outside the archive; expected {CONFIG} and {WEIGHTS}; {RESAVE}")
    if names.count(name) > 1:
        raise InputError(f"{path}: member {quote(name)} occurs {names.count(name)} times, so readers may disagree; {RESAVE}")
    if parts[-1].endswith((".pkl", ".pickle")):
        raise InputError(f"{path}: holds the pickle {quote(name)}, which runs code while it is read; refused always; {RESAVE}")
    if name == "model.weights.npz":
        raise InputError(f"{path}: keeps its weights in {quote(name)}, which nc_tf does not read; expected {WEIGHTS}; {RESAVE}")
    if parts[0] == "assets" and parts[1:] not in ([], [""]):
        raise InputError(f"{path}: holds the asset {quote(name)}, a file for a layer to read; expected no assets; {RESAVE}")
    if name not in (CONFIG, METADATA, WEIGHTS, "assets/"):
        raise InputError(f"{path}: unexpected member {quote(name)}; expected {CONFIG}, {METADATA} and {WEIGHTS}; {RESAVE}")
    if member.flag_bits & 1:
        raise InputError(f"{path}: member {quote(name)} is encrypted; expected a plain archive; unpack it and {RESAVE}")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{path}: member {quote(name)} is packed by method {member.compress_type}; expected stored or deflated; {RESAVE}")
    limit = MAX_BYTES if name == WEIGHTS else MAX_CONFIG_BYTES
    if member.file_size > limit:
        raise InputError(f"{path}: member {quote(name)} has {member.file_size} bytes; the limit is {limit}; {RESAVE}")
    if member.file_size > FREE_BYTES + MAX_RATIO * member.compress_size:
        raise InputError(
            f"{path}: member {quote(name)} unpacks {member.compress_size} bytes to {member.file_size}, "
            f"more than {MAX_RATIO} times as many: a zip bomb; {RESAVE}"
        )
