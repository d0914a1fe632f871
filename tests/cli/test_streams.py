"""Printing that never ends a command: a closed reader, a full disk, a missing stream, letters that an encoding lacks."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nc_tf.cli.guard import guarded
from nc_tf.cli.streams import lasting_streams
from nc_tf.errors import InputError

Captured = pytest.CaptureFixture[str]
# As a command that prints more than a buffer holds, on both streams, and then says what it found with its exit code.
PROGRAM = """
import sys
from nc_tf.cli.guard import guarded

def work():
    for number in range(2000):
        print("label", number, "\\u6f22\\U0001f600")
        print("progress", number, file=sys.stderr)
    open(sys.argv[1], "w").write("verdict")
    return 3

sys.exit(guarded("nc-tf", work))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "redirect",
    ["| true", "> /dev/full", ">&-", "2>&-", "2> /dev/full", "<&- >&- 2>&-", "> /dev/full 2>&1", "> FILE"],
)
def test_the_exit_code_is_that_of_the_work_whatever_becomes_of_the_output(tmp_path: Path, redirect: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    line = f'"$0" -c "$1" {tmp_path}/verdict {redirect.replace("FILE", str(tmp_path / "printed"))}; exit ${{PIPESTATUS[0]}}'
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ran = subprocess.run(["bash", "-c", line, sys.executable, PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 3
    assert (tmp_path / "verdict").read_text() == "verdict", "what is printed must go into no file that is opened later"
    assert "Traceback" not in ran.stderr
    assert "Exception ignored" not in ran.stderr
    if redirect == "> FILE":
        assert (tmp_path / "printed").read_text().splitlines()[-1] == r"label 1999 \u6f22\U0001f600"


def test_streams_are_as_they_were_afterwards(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    monkeypatch.setattr(sys, "stderr", None)
    with lasting_streams():
        print("Vorfahrt gewähren \udcff")
        print("nothing", file=sys.stderr)
        assert sys.stdout.encoding == "ascii"
    assert sys.stdout is narrow
    assert sys.stderr is None
    assert narrow.errors == "strict"
    narrow.seek(0)
    assert narrow.read() == "Vorfahrt gew\\xe4hren \\udcff\n"


def test_a_strangers_text_in_a_message_is_one_printable_line(capsys: Captured) -> None:
    def fails() -> int:
        raise InputError("a\x1b[2J\nno outlier: \udcff is no model; take another")

    def crashes() -> int:
        raise RuntimeError("b\x1b[2J\nsecond line")

    assert guarded("nc-tf", fails) == guarded("nc-tf", crashes) == 2
    one, other = capsys.readouterr().err.splitlines()
    assert one == r"nc-tf: a\x1b[2J\nno outlier: \udcff is no model; take another"
    assert other == r"nc-tf: unforeseen RuntimeError (b\x1b[2J); NC_TF_TRACEBACK=1 shows where"


def test_ctrl_c_while_the_command_loads_leaves_no_traceback() -> None:
    press = "import os, signal; from nc_tf.cli import command, main; main.main = lambda: os.kill(os.getpid(), signal.SIGINT); "
    for before, code in (("", -signal.SIGINT), ("signal.signal(signal.SIGINT, signal.SIG_IGN); ", 0)):
        program = [sys.executable, "-c", f"{press}{before}command.main()"]
        ran = subprocess.run(program, capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stderr) == (code, "")


def test_ctrl_c_stops_a_command_where_it_would_end_the_process(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    def press() -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return 7

    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        assert guarded("nc-tf", press) == 130
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "nc-tf: stopped\n"
