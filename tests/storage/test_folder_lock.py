"""The lock of a scan folder: one scan at a time, however the one before ended."""

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nc_tf.errors import InputError
from nc_tf.storage import folder_lock
from nc_tf.storage.folder_lock import locked

HOLD = "import sys, time; from nc_tf.storage.folder_lock import locked\nwith locked(sys.argv[1]): print('held', flush=True); time.sleep(60)"


def test_who_comes_second_is_refused_and_may_come_again(tmp_path: Path) -> None:
    refused = re.escape(f"another scan writes to {tmp_path}: expected one at a time; wait for its end, or choose another folder")
    with locked(tmp_path):
        assert (tmp_path / "state" / "lock").is_file()
        for _ in range(2):  # a refusal leaves the lock with its holder
            with pytest.raises(InputError, match=refused), locked(tmp_path):
                pytest.fail("two hold it")
    with locked(tmp_path):
        pass


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another scan writes to"), locked(tmp_path):
            pytest.fail("two hold it")
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / "state" / "lock").exists(), "a killed process clears nothing, or this proves nothing"
    with locked(tmp_path):
        pass
    assert not (tmp_path / "state" / "lock").exists(), "what the dead left goes too"


def test_what_was_made_for_the_lock_alone_goes_with_it(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    with locked(tmp_path / "given" / "new" / "deeper"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["given"]
    with locked(tmp_path / "given" / "new"):
        (tmp_path / "given" / "new" / "state" / "settings.json").touch()
    assert os.listdir(tmp_path / "given" / "new" / "state") == ["settings.json"]


def test_an_error_lifts_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path):
        pass


def test_a_file_that_its_holder_deletes_meanwhile_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder's end falls between the opening of its file and the locking of it."""
    lock, opened, path = folder_lock._lock, [], tmp_path / "state" / "lock"

    def late(descriptor: int) -> bool:
        opened.append(os.fstat(descriptor).st_ino)
        if len(opened) == 1:
            path.unlink()
            path.touch()
        return lock(descriptor)

    monkeypatch.setattr(folder_lock, "_lock", late)
    with locked(tmp_path):
        assert len(opened) == 2
        assert path.stat().st_ino == opened[1]


@pytest.mark.parametrize("name", ["state", "state/lock"])
def test_a_planted_link_is_not_followed(tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "scan" / name).parent.mkdir(parents=True)
    (tmp_path / "scan" / name).symlink_to(elsewhere / "new" if "/" in name else elsewhere)
    with pytest.raises(InputError, match=rf"{name} is a link: expected a"), locked(tmp_path / "scan"):
        pytest.fail("followed")
    assert os.listdir(elsewhere) == []


@pytest.mark.parametrize("name", ["file/scan", "loop/scan", "n" * 300])
def test_a_folder_that_cannot_be_made_is_bad_input(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError, match=r"could not be written \(.*\): expected a writable folder"), locked(tmp_path / name):
        pytest.fail("there is no such folder")


@pytest.mark.skipif(sys.platform == "win32", reason="flock is of the others")
def test_a_drive_without_locks_is_scanned_to_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(error: int) -> None:
        def flock(descriptor: int, operation: int) -> None:
            raise OSError(error, os.strerror(error))

        monkeypatch.setattr(folder_lock.fcntl, "flock", flock)

    refuse(errno.ENOLCK)
    with locked(tmp_path), locked(tmp_path):
        pass
    refuse(errno.EIO)
    with pytest.raises(InputError, match=r"could not be written \(Input/output error\)"), locked(tmp_path):
        pytest.fail("nobody knows whether it is held")
    assert os.listdir(tmp_path) == []
