"""Files and models that are written whole or not at all."""

import errno
import gc
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from networks import corner_images, corner_network

from nc_tf.errors import InputError
from nc_tf.models.saving import check_model_file, save_model
from nc_tf.storage.files import clear_leftovers, delete, plain, subfolder, whole_file


def test_the_file_appears_whole_and_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "result.json"
    with whole_file(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".json"
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["result.json"]


def test_a_failure_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")

    def fail() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("half of")
            raise RuntimeError("the power went")

    with pytest.raises(RuntimeError, match="the power went"):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.json"]


def test_an_interrupt_leaves_no_temporary_file(tmp_path: Path) -> None:
    def interrupt() -> None:
        with whole_file(tmp_path / "result.json") as temporary:
            temporary.write_text("half of")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert os.listdir(tmp_path) == []


def test_the_old_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "result"
    for content in ("first", "second"):
        with whole_file(path) as temporary:
            temporary.write_text(content)
    assert path.read_text() == "second"


def test_the_content_is_on_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = []
    replace = os.replace

    def replacing(old: str, new: str) -> None:
        order.append("replace")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", lambda handle: order.append("fsync"))
    monkeypatch.setattr(os, "replace", replacing)
    with whole_file(tmp_path / "result") as temporary:
        temporary.write_text("x")
    assert order == ["fsync", "replace"]


def test_what_is_written_every_few_seconds_need_not_reach_the_disk_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: pytest.fail("forced to the disk"))
    with whole_file(tmp_path / "state", durable=False) as temporary:
        temporary.write_text("half of")
        assert not (tmp_path / "state").exists()
    assert (tmp_path / "state").read_text() == "half of"
    assert os.listdir(tmp_path) == ["state"]


def test_what_killed_processes_left_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    killed = "import os, sys; from nc_tf.storage.files import whole_file\nwith whole_file(sys.argv[1]) as path: path.touch(); os._exit(9)"
    for name in ("result", "label_3.npz"):
        assert subprocess.run([sys.executable, "-c", killed, str(tmp_path / name)], check=False).returncode == 9
    assert len(os.listdir(tmp_path)) == 2, "a killed process leaves its temporary file, or this proves nothing"
    kept = [".hidden", ".hidden.part", "chapter.1.part", "label_3.npz", ".holiday.2024.part2.mp4", ".label_3.4711.part.npz"]
    kept += [".nc_tf-notes.part", ".nc_tf-0123456789abcdef.part.npz.bak", "nc_tf-0123456789abcdef.part", ".nc_tf-0123456789ABCDEF.part"]
    for name in kept:
        (tmp_path / name).write_text("kept")
    clear_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(kept)
    clear_leftovers(tmp_path / "none")


def test_a_temporary_name_cannot_be_known_before(tmp_path: Path) -> None:
    names = set()
    for _ in range(3):
        with whole_file(tmp_path / "result.json") as temporary:
            names.add(temporary.name)
            assert temporary.is_file(), "opening it must open this file, and no link planted in between"
    assert len(names) == 3


def test_a_link_is_replaced_and_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "result.json").symlink_to(victim)
    with whole_file(tmp_path / "result.json") as temporary:
        temporary.write_text("new")
    assert victim.read_text() == "precious"
    assert (tmp_path / "result.json").read_text() == "new"
    # Should the name be guessed all the same, nothing is written through what lies there.
    monkeypatch.setattr("nc_tf.storage.files.secrets.token_hex", lambda number: "0" * 2 * number)
    (tmp_path / f".nc_tf-{'0' * 16}.part.json").symlink_to(victim)
    with pytest.raises(InputError, match="could not be written"), whole_file(tmp_path / "result.json"):
        pytest.fail("the body must not run")
    assert victim.read_text() == "precious"


def test_only_a_plain_file_is_plain(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    assert plain(file, 5) == file
    assert plain(tmp_path / "none") == tmp_path / "none", "opening it says that it is missing"
    with pytest.raises(InputError, match="file has 5 bytes: expected at most 4; it is not what nc-tf wrote"):
        plain(file, 4)
    (tmp_path / "link").symlink_to(file)
    os.mkfifo(tmp_path / "pipe")
    for name, kind in (("link", "a link"), ("pipe", "a pipe or a device"), (".", "a folder")):
        with pytest.raises(InputError, match=f"is {kind}: expected a plain file; copy the content to its place"):
            plain(tmp_path / name)


def test_a_folder_within_a_folder_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    assert subfolder(tmp_path, "there", "deeper") == tmp_path / "there" / "deeper"
    (tmp_path / "elsewhere").symlink_to(tmp_path / "there")
    for names in (("elsewhere",), ("elsewhere", "deeper")):
        with pytest.raises(InputError, match="elsewhere is a link: expected a folder of its own"):
            subfolder(tmp_path, *names)
    (tmp_path / "outer").symlink_to(tmp_path)
    assert subfolder(tmp_path / "outer", "there").is_dir(), "what leads to the folder itself is its user's choice"


def test_files_that_are_gone_need_no_deleting(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    delete([tmp_path / "there", tmp_path / "gone"])
    assert os.listdir(tmp_path) == []


def test_a_file_that_cannot_be_deleted_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, missing_ok: bool) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(InputError, match=r"result could not be deleted \(Read-only file system\): expected a writable folder"):
        delete([tmp_path / "result"])


def test_a_full_disk_is_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "result"

    def write() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("half of")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(InputError, match=r"result could not be written \(No space left on device\): expected a writable folder"):
        write()
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match=r"could not be written .*: expected a writable folder"), whole_file(tmp_path / "file" / "x.npz"):
        pytest.fail("the body must not run")


def test_a_name_that_is_a_folder_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "content").write_text("kept")

    def write() -> None:
        with whole_file(tmp_path / "taken") as temporary:
            temporary.write_text("x")

    with pytest.raises(InputError, match="could not be written"):
        write()
    assert os.listdir(tmp_path) == ["taken"]


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
# Keras writes .h5 only with a remark that it is an old format.
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_saved_model_answers_the_same(tmp_path: Path, name: str) -> None:
    images, _ = corner_images(6)
    model = corner_network(1)
    save_model(model, tmp_path / name)
    assert os.listdir(tmp_path) == [name]
    again = keras.models.load_model(tmp_path / name, compile=False)
    np.testing.assert_allclose(again(images.astype(np.float32)), model(images.astype(np.float32)), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_disk_that_is_full_at_any_byte_is_bad_input(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """HDF5 and zip have many ways to fail: in the header, in an attribute, in an array, at the end."""
    model = corner_network(1)
    save_model(model, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for share in (0.02, 0.3, 0.6, 0.9, 0.99):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * len(whole)), before[1]))
        try:
            with pytest.raises(InputError, match=r"could not be written \(File too large\): expected a writable folder with room left"):
                save_model(model, tmp_path / name)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    gc.collect()
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == whole
    assert "Exception ignored" not in capfd.readouterr().err


@pytest.mark.parametrize("name", ["model", "model.hdf5", "model.pb", "model.keras.zip"])
def test_a_suffix_that_keras_cannot_write_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"expected a name that ends in \.keras or \.h5"):
        check_model_file(tmp_path / name)
    with pytest.raises(InputError, match=r"expected a name that ends in \.keras or \.h5"):
        save_model(corner_network(), tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_is_refused_before_anything_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for path in (tmp_path / f"{'n' * 300}.keras", tmp_path / "loop" / "model.keras", Path("model.keras")):
        with pytest.raises(InputError, match=r"model.keras|n\.keras") as caught:
            check_model_file(path)
        assert "cannot be written (" in str(caught.value)
        assert "expected the name of a file in a writable folder; choose another" in str(caught.value)


def test_a_failing_save_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(b"old")

    def failing(model: keras.Model, target: Path, **options: Any) -> None:
        target.write_bytes(b"half of")
        raise OSError(errno.EIO, "disk gone")

    monkeypatch.setattr(keras.Model, "save", failing)
    with pytest.raises(InputError, match="disk gone"):
        save_model(corner_network(), path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.keras"]
