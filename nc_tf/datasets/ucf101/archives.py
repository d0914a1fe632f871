"""The official archives of UCF-101, downloaded or found on the disk, and unpacked into the layout of `splits`.

The videos come as a RAR. No free library unpacks this format, so a program of the machine does.
"""

import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from nc_tf.datasets.download import fetch, md5_of
from nc_tf.datasets.formats.arrays import DAMAGE
from nc_tf.datasets.ucf101.splits import LARGEST_LIST, SPLIT_FOLDERS, TRAIN_LIST, VIDEO_FOLDERS, split_folder, video_folder
from nc_tf.errors import InputError
from nc_tf.storage.files import whole_file


class Archive(NamedTuple):
    """One of the two files."""

    name: str
    url: str
    md5: str
    size: int


VIDEOS = Archive("UCF101.rar", "https://www.crcv.ucf.edu/data/UCF101/UCF101.rar", "6463accf4bbc20fa6418ab7f159e6149", 6_932_971_618)
SPLITS = Archive(
    "UCF101TrainTestSplits-RecognitionTask.zip",
    "https://www.crcv.ucf.edu/wp-content/uploads/2019/03/UCF101TrainTestSplits-RecognitionTask.zip",
    "4426308e815a5108ba976f4a2bb47c5e",
    113_943,
)

# Arguments by which each program unpacks everything to a folder without asking; the first installed one is taken. bsdtar comes last,
# because it stops at solid RARs.
UNPACKERS: dict[str, Callable[[Path, Path], list[str]]] = {
    "unar": lambda archive, folder: ["-quiet", "-force-overwrite", "-no-directory", "-output-directory", str(folder), str(archive)],
    "unrar": lambda archive, folder: ["x", "-idq", "-y", "-p-", str(archive), f"{folder}/"],
    "bsdtar": lambda archive, folder: ["-x", "-f", str(archive), "-C", str(folder)],
}


def obtain(folder: str | Path, source: str | Path | None = None) -> Path:
    """Return a folder with videos and split files, made if needed.

    Args:
        folder: folder of the downloaded archives (6.9 GB) and of the unpacked files (6.9 GB); unpacked files there are taken as they are.
        source: a folder in the layout of `splits`, taken as it is, or one with the two archives. None: download them.

    Returns:
        The folder for `ucf101.load_archive`.

    Raises:
        InputError: no such folder, or neither videos nor archives in it; archives other than the official ones; no program to unpack a
            RAR; a failed download or unpacking.
    """
    folder, where = Path(folder), Path(source or folder)
    if source is not None and not where.is_dir():
        raise InputError(f"{where} is not a folder: expected UCF-101, or its two archives; check the path")
    if source is not None and split_folder(where):
        return where
    if split_folder(folder) and video_folder(folder) != folder:
        return folder
    if source is None:
        _unpacker()  # before the download, not after
    for archive in (VIDEOS, SPLITS):
        if source is None:
            fetch(archive.url, folder / archive.name, md5=archive.md5, size=archive.size)
        else:
            _check_archive(where, archive)
    # The lists last: a folder with lists counts as complete.
    if not (folder / VIDEO_FOLDERS[1]).is_dir():
        _unpack_videos(where / VIDEOS.name, folder)
    _unpack_splits(where / SPLITS.name, folder)
    return folder


def _check_archive(folder: Path, archive: Archive) -> None:
    path = folder / archive.name
    if not path.is_file():
        raise InputError(
            f"{folder} has neither {SPLIT_FOLDERS[0]}/ nor {archive.name}: expected UCF-101, or its two archives; "
            "check the path, or leave --from out for a download"
        )
    try:
        right = path.stat().st_size == archive.size and md5_of(path) == archive.md5  # the size first: the checksum takes long
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): expected the official archive; check the path") from error
    if not right:
        raise InputError(
            f"{path} is not the official archive: expected {archive.size:,} bytes with MD5 {archive.md5}; copy or download it again"
        )


def _unpacker() -> str:
    found = next((name for name in UNPACKERS if shutil.which(name)), None)
    if found is None:
        raise InputError(
            f"{VIDEOS.name} needs a program that unpacks RAR: expected {', '.join(UNPACKERS)}; install one "
            "(on Debian and Ubuntu: unar), or unpack it yourself and give the folder with --from"
        )
    return found


def _unpack_videos(archive: Path, folder: Path) -> None:
    """Unpack the videos to a temporary folder, then rename it.

    An interrupt leaves no incomplete videos that way.
    """
    program, side = _unpacker(), folder / f".{VIDEO_FOLDERS[1]}.part"
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(f"{program} unpacks {archive}; it takes a few minutes")
    try:
        shutil.rmtree(side, ignore_errors=True)
        side.mkdir(parents=True)
        done = subprocess.run(  # noqa: S603 (a list of arguments, no shell; the program is one of three)
            [program, *UNPACKERS[program](archive.absolute(), side.absolute())], stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode:
            reason = next((line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()), "no reason given")
            raise InputError(
                f"{program} could not unpack {archive} ({reason}): expected the whole archive, and room on the disk; "
                "free space, copy the archive again, or install another unpacker"
            )
        if not (side / VIDEO_FOLDERS[1]).is_dir():
            raise InputError(f"{archive} holds no folder {VIDEO_FOLDERS[1]}: expected the official archive; download it again")
        (side / VIDEO_FOLDERS[1]).rename(folder / VIDEO_FOLDERS[1])
    except OSError as error:
        raise InputError(f"{archive} cannot be unpacked to {folder} ({error.strerror}): expected a writable folder; choose one") from error
    finally:
        shutil.rmtree(side, ignore_errors=True)


def _unpack_splits(archive: Path, folder: Path) -> None:
    """Unpack the lists alone, by their file names.

    A path in the zip file is ignored.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            lists = [info for info in opened.infolist() if info.filename.endswith(".txt") and info.file_size <= LARGEST_LIST]
            for info in sorted(lists, key=lambda info: Path(info.filename).name == TRAIN_LIST):  # last: it marks the folder as complete
                content = opened.read(info)
                with whole_file(folder / SPLIT_FOLDERS[1] / Path(info.filename).name) as temporary:
                    temporary.write_bytes(content)
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(f"{archive} cannot be unpacked to {folder} ({error}): expected the split files; download them again") from error
