"""The archives of UCF-101: downloaded once, unpacked whole or not at all; and the command for them."""

import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from videos import write_ucf101

from nc_tf.cli.main import main
from nc_tf.datasets.download import md5_of
from nc_tf.datasets.ucf101 import archives as ucf101_archives
from nc_tf.datasets.ucf101.archives import SPLITS, UNPACKERS, VIDEOS, obtain
from nc_tf.datasets.ucf101.splits import list_clips
from nc_tf.errors import InputError
from nc_tf.storage.files import whole_file

Captured = pytest.CaptureFixture[str]

# Stands in for each of the three programs: notes how it was called and unpacks with Python, whose zip takes the place of a RAR here.
PROGRAM = """#!/bin/sh
echo "$0 $@" >> "$CALLS"
[ -z "$FAILS" ] || { echo "$FAILS" >&2; exit 3; }
for last; do case "$last" in *.rar) archive="$last";; /*part*) folder="$last";; esac; done
python3 -m zipfile -e "$archive" "$folder"
"""


def accept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the archives of a folder for the official ones."""
    for name, archive in (("VIDEOS", VIDEOS), ("SPLITS", SPLITS)):
        path = folder / archive.name
        if path.is_file():
            right = archive._replace(size=path.stat().st_size, md5=md5_of(path))
            monkeypatch.setattr(ucf101_archives, name, right)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two archives, of three classes."""
    folder = tmp_path_factory.mktemp("archives")
    counts = {"Archery": 1, "Bowling": 1, "Typing": 1}
    tree = write_ucf101(tmp_path_factory.mktemp("tree"), counts, counts, videos="UCF-101", lists="ucfTrainTestlist")
    for archive, part in ((VIDEOS, "UCF-101"), (SPLITS, "ucfTrainTestlist")):
        with zipfile.ZipFile(folder / archive.name, "w") as file:
            for path in sorted((tree / part).rglob("*.*")):
                file.write(path, path.relative_to(tree))
    return folder


@pytest.fixture
def archives(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, taken for the official ones."""
    accept(prepared, monkeypatch)
    return prepared


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """`programs("unar")` makes it the only unpacker of this machine; the list fills with its calls by name and arguments."""
    folder, calls = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    (folder / "python3").symlink_to(shutil.which("python3") or "")
    calls.touch()
    monkeypatch.setenv("CALLS", str(calls))
    monkeypatch.setenv("FAILS", "")

    def install(*names: str) -> list[str]:
        for name in names:
            (folder / name).write_text(PROGRAM)
            (folder / name).chmod(0o755)
        monkeypatch.setattr(ucf101_archives.shutil, "which", lambda name: str(folder / name) if name in names else None)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        return calls.read_text().splitlines()

    return install


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().splitlines()


@pytest.mark.parametrize("program", UNPACKERS)
def test_archives_are_unpacked_by_the_program_that_is_there(
    program: str, archives: Path, tmp_path: Path, programs: Callable[..., Any], capsys: Captured
) -> None:
    programs(program)
    out = tmp_path / "out"
    assert obtain(out, archives) == out
    listing = list_clips(out)
    assert (len(listing.clips), listing.classes, listing.skipped) == (6, ("Archery", "Bowling", "Typing"), ())
    (call,) = calls(tmp_path)
    assert f"bin/{program} " in call
    assert str(archives / VIDEOS.name) in call
    assert f"{program} unpacks {archives / VIDEOS.name}; it takes a few minutes" in capsys.readouterr().err
    assert sorted(os.listdir(out)) == ["UCF-101", "ucfTrainTestlist"]


def test_what_is_unpacked_is_taken_as_it_is(archives: Path, tmp_path: Path, programs: Callable[..., Any]) -> None:
    programs("unar")
    obtain(tmp_path / "out", archives)
    assert obtain(tmp_path / "out") == tmp_path / "out"
    assert obtain(tmp_path / "out", archives) == tmp_path / "out"
    assert obtain(tmp_path / "elsewhere", tmp_path / "out") == tmp_path / "out"
    assert len(calls(tmp_path)) == 1


def test_archives_are_downloaded_and_checked(archives: Path, tmp_path: Path, programs: Callable[..., Any], monkeypatch: Any) -> None:
    programs("bsdtar")
    asked = []

    def fetch(url: str, path: Path, *, md5: str, size: int) -> Path:
        asked.append((url, md5, size))
        path.parent.mkdir(exist_ok=True)
        return Path(shutil.copy(archives / path.name, path))

    monkeypatch.setattr(ucf101_archives, "fetch", fetch)
    assert len(list_clips(obtain(tmp_path / "out")).clips) == 6
    assert asked == [(archive.url, archive.md5, archive.size) for archive in (ucf101_archives.VIDEOS, ucf101_archives.SPLITS)]
    for archive in (VIDEOS, SPLITS):
        assert archive.url.startswith("https://www.crcv.ucf.edu/")
        assert archive.url.endswith("/" + archive.name)
        assert len(bytes.fromhex(archive.md5)) == hashlib.md5(usedforsecurity=False).digest_size


def test_without_an_unpacker_nothing_is_downloaded(tmp_path: Path, programs: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    programs()
    monkeypatch.setattr(ucf101_archives, "fetch", lambda *_, **__: pytest.fail("downloaded"))
    message = r"UCF101.rar needs a program that unpacks RAR: expected unar, unrar, bsdtar; install one .* give the folder with --from"
    with pytest.raises(InputError, match=message):
        obtain(tmp_path / "out")


def test_a_failed_unpacking_leaves_no_videos(archives: Path, tmp_path: Path, programs: Callable[..., Any], monkeypatch: Any) -> None:
    programs("unrar")
    monkeypatch.setenv("FAILS", "Write error: disk full")
    with pytest.raises(InputError, match=r"unrar could not unpack .*UCF101.rar \(Write error: disk full\): expected the whole archive"):
        obtain(tmp_path / "out", archives)
    assert os.listdir(tmp_path / "out") == []
    monkeypatch.setenv("FAILS", "")
    assert len(list_clips(obtain(tmp_path / "out", archives)).clips) == 6


def test_failed_lists_leave_a_folder_that_the_next_call_completes(
    archives: Path, tmp_path: Path, programs: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    programs("unar")
    written: list[str] = []

    def disk_full(path: Path) -> object:
        written.append(path.name)
        if path.name == "trainlist01.txt":
            raise InputError("disk full")
        return whole_file(path)

    monkeypatch.setattr(ucf101_archives, "whole_file", disk_full)
    with pytest.raises(InputError, match=r"^disk full$"):
        obtain(tmp_path / "out", archives)
    assert written == ["testlist01.txt", "trainlist01.txt"]
    monkeypatch.undo()
    accept(archives, monkeypatch)
    assert len(list_clips(obtain(tmp_path / "out", archives)).clips) == 6
    assert len(calls(tmp_path)) == 1, "the videos were there"


def without_folder(folder: Path) -> None:
    with zipfile.ZipFile(folder / VIDEOS.name, "w") as file:
        file.writestr("readme.txt", "no videos")


WRONG: list[tuple[str, Callable[[Path], object], str]] = [
    ("no videos", lambda f: (f / VIDEOS.name).unlink(), r"has neither splits/ nor UCF101.rar: expected UCF-101, or its two archives"),
    ("no splits", lambda f: (f / SPLITS.name).unlink(), r"has neither splits/ nor UCF101TrainTestSplits-RecognitionTask.zip"),
    ("broken splits", lambda f: (f / SPLITS.name).write_bytes(b"PK"), r"Task.zip cannot be unpacked to .*: expected the split files"),
    ("other content", without_folder, r"UCF101.rar holds no folder UCF-101: expected the official archive; download it again"),
]


@pytest.mark.parametrize(("spoil", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_other_archives_are_refused(
    spoil: Callable[[Path], object],
    message: str,
    archives: Path,
    tmp_path: Path,
    programs: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    programs("unar")
    source = Path(shutil.copytree(archives, tmp_path / "source"))
    spoil(source)
    accept(source, monkeypatch)
    with pytest.raises(InputError, match=message):
        obtain(tmp_path / "out", source)


@pytest.mark.parametrize("added", [b"", b"more"])
def test_archives_found_on_the_disk_are_checked(
    added: bytes, archives: Path, tmp_path: Path, programs: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    programs("unar")
    source = Path(shutil.copytree(archives, tmp_path / "source"))
    content = (source / VIDEOS.name).read_bytes()
    (source / VIDEOS.name).write_bytes(bytes([content[0] ^ 1]) + content[1:] + added)
    message = r"UCF101.rar is not the official archive: expected [\d,]+ bytes with MD5 [0-9a-f]{32}; copy or download it again"
    with pytest.raises(InputError, match=message):
        obtain(tmp_path / "out", source)
    assert calls(tmp_path) == []

    def unreadable(_: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(ucf101_archives, "md5_of", unreadable)
    with pytest.raises(InputError, match=r"rar cannot be read \(Permission denied\): expected the official archive; check the path"):
        obtain(tmp_path / "out", archives)


def test_lists_cannot_leave_their_folder(
    archives: Path, tmp_path: Path, programs: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    programs("unar")
    source = Path(shutil.copytree(archives, tmp_path / "source"))
    with zipfile.ZipFile(source / SPLITS.name, "a") as file:
        file.writestr("../../escaped.txt", "")
        file.writestr("ucfTrainTestlist/run.sh", "")
    accept(source, monkeypatch)
    obtain(tmp_path / "out", source)
    assert not list(tmp_path.glob("*.txt"))
    assert sorted(os.listdir(tmp_path / "out" / "ucfTrainTestlist")) == ["escaped.txt", "testlist01.txt", "trainlist01.txt"]


def test_a_folder_that_cannot_be_written_to_is_named(archives: Path, tmp_path: Path, programs: Callable[..., Any]) -> None:
    programs("unar")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "UCF-101").write_text("in the way")
    with pytest.raises(InputError, match=r"UCF101.rar cannot be unpacked to .*out \(.*\): expected a writable folder; choose one"):
        obtain(tmp_path / "out", archives)


def test_a_source_that_is_no_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere is not a folder: expected UCF-101, or its two archives; check the path"):
        obtain(tmp_path, tmp_path / "nowhere")


# The command.


def test_the_command_writes_a_file_for_every_other(tmp_path: Path, capsys: Captured) -> None:
    counts = {"Archery": 1, "Bowling": 2, "Typing": 1}
    source, out = write_ucf101(tmp_path / "ucf", counts, counts), tmp_path / "out"
    command = ["data", "ucf101", "--from", str(source), "--out", str(out), "--frames", "4", "--size", "12", "--sampling", "central"]
    assert main([*command, "--num-classes", "2"]) == 0
    assert capsys.readouterr().out == f"written: {out / 'ucf2_4x12x12_central.npz'}, 3 training and 3 test clips of 2 classes\n"
    assert main([*command, "--classes", "Typing,Archery"]) == 0
    (chosen,) = out.glob("ucf2-*_4x12x12_central.npz")
    assert capsys.readouterr().out == f"written: {chosen}, 2 training and 2 test clips of 2 classes\n"
    with np.load(chosen) as saved:
        assert saved["classes"].tolist() == ["Archery", "Typing"]
    assert sorted(os.listdir(source)) == ["splits", "videos"]


def test_the_command_takes_classes_by_name_or_by_number(capsys: Captured) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["data", "ucf101", "--classes", "Archery,Typing", "--num-classes", "2"])
    assert "argument --num-classes: not allowed with argument --classes" in capsys.readouterr().err


def test_the_command_refuses_in_one_line(tmp_path: Path, capsys: Captured) -> None:
    pytest.importorskip("av")  # asked for first
    assert main(["data", "ucf101", "--from", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "has neither splits/ nor UCF101.rar" in line
