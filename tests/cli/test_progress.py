"""The progress of a scan: a bar that follows the rounds and ends full, and the summary of a stopped scan."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from quick import made_up

from nc_tf.cli.progress import ScanProgress
from nc_tf.errors import InputError
from nc_tf.inversion.restart import Checkpoint as Reached
from nc_tf.inversion.restart import Restart
from nc_tf.inversion.step import RoundLog, Run
from nc_tf.models.frozen import FrozenNetwork
from nc_tf.results import Status
from nc_tf.scanning.prescreening import Shortlist

Captured = pytest.CaptureFixture[str]
NETWORK = cast(FrozenNetwork, SimpleNamespace(output="logits", precision="float32"))
LOG = RoundLog(*np.ones((8, 4)))


def restarts(*pairs: tuple[int, int]) -> list[Restart]:
    return [Restart(label, start, np.zeros((1, 1)), np.zeros((1, 1, 1))) for label, start in pairs]


def reached(label: int, start: int, rounds: int) -> Reached:
    return Reached(label, start, cast(Run, None), np.zeros((rounds, 7)), False, True)


def completed(progress: ScanProgress) -> float:
    return float(progress.bar.tasks[0].completed)


def test_the_bar_moves_with_the_rounds_of_the_labels_under_way_and_ends_full(capsys: Captured) -> None:
    run: Any = None
    with ScanProgress() as progress:
        progress.on_begin(NETWORK, num_labels=2, starts=2, max_rounds=20, in_flight=64)
        seen = [completed(progress)]
        for number in (0, 4):
            progress.on_round(restarts((5, 0), (5, 1), (6, 0)), [number, number, 0], run, LOG)
            seen.append(completed(progress))
        # One of the two starts is cut: what it has run still counts.
        progress.on_round(restarts((5, 0), (6, 0)), [9, 5], run, LOG)
        seen.append(completed(progress))
        assert seen == sorted(set(seen))
        assert seen[-1] == pytest.approx((10 + 5) / 40 + 6 / 40)
        progress.on_label(made_up(5, 3.0), [])  # 30 rounds, so 30 are expected of the other
        progress.on_round(restarts((6, 0)), [14], run, LOG)
        assert completed(progress) == pytest.approx(1.5)
        progress.on_round(restarts((6, 0)), [99], run, LOG)
        assert completed(progress) == pytest.approx(1.95), "a label that takes longer than usual is not done before it is"
        progress.on_label(made_up(6, 4.0), [])
        progress.bar.refresh()
    printed = capsys.readouterr().err
    assert "model output: logits; precision: float32; labels: 2, restarts a label: 2; images or frames in flight: 64 at most" in printed
    assert "label   5: norm    3.00, ASR 0.9900, rounds 30, converged (1 of 2)" in printed
    assert "label   6: norm    4.00, ASR 0.9900, rounds 30, converged (2 of 2)" in printed


def test_a_second_scan_counts_its_own(capsys: Captured) -> None:
    with ScanProgress() as progress:
        for finished, norms in ([made_up(7, 1.0)], (3.0, 4.0)), ([], (5.0, 6.0)):
            progress.on_resume(finished)
            progress.on_begin(NETWORK, num_labels=2, starts=1, max_rounds=20, in_flight=64)
            assert completed(progress) == 0
            for label, norm in enumerate(norms):
                progress.on_leg(reached(label, 0, 5))
                progress.on_label(made_up(label, norm), [])
            progress.on_leg(reached(2, 0, 5))
        assert progress.so_far() == "2 labels done, 0 to go; smallest norms so far: 5.00 (label 0), 6.00 (label 1)"
    printed = capsys.readouterr().err
    assert [line[-8:] for line in printed.splitlines() if "converged" in line] == ["(1 of 2)", "(2 of 2)"] * 2


def test_without_rounds_the_bar_moves_with_the_legs(capsys: Captured) -> None:
    with ScanProgress() as progress:
        progress.on_begin(NETWORK, num_labels=1, starts=2, max_rounds=20, in_flight=64)
        progress.on_leg(reached(3, 0, 5))
        progress.on_leg(reached(3, 1, 5))
        assert completed(progress) == pytest.approx(10 / 40)
        progress.on_leg(reached(3, 1, 13))
        assert completed(progress) == pytest.approx(18 / 40)


def test_what_is_known_so_far_counts_the_labels_of_earlier_parts(capsys: Captured) -> None:
    finished = [made_up(label, norm) for label, norm in ((0, 9.0), (1, 4.0), (2, 7.0))] + [made_up(5, 0.5, Status.NEVER_SUCCEEDED)]
    progress = ScanProgress()
    progress.on_resume(finished)
    progress.on_begin(NETWORK, num_labels=3, starts=1, max_rounds=20, in_flight=64)
    progress.on_label(made_up(7, 5.0), [])
    with pytest.raises(KeyboardInterrupt), progress:
        raise KeyboardInterrupt
    expected = "5 labels done, 2 to go; smallest norms so far: 4.00 (label 1), 5.00 (label 7), 7.00 (label 2)\n"
    assert capsys.readouterr().err.endswith(f"\n{expected}")


def test_labels_are_not_counted_before_the_scan_is_planned(capsys: Captured) -> None:
    with pytest.raises(KeyboardInterrupt), ScanProgress():
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""


def test_pre_screening_is_called_by_its_name(capsys: Captured) -> None:
    with ScanProgress() as progress:
        progress.on_begin(NETWORK, num_labels=4, starts=1, max_rounds=20, in_flight=64)
        progress.on_ranking(reached(3, 0, 5), 0.25)
        assert progress.bar.tasks[0].description == "pre-screening: label 3 round 5"
        progress.on_ranked(Shortlist((0,), (1,), (2, 3), 5))
    assert "pre-screening of 4 labels: the 1 lowest and 1 of a random sample go on" in capsys.readouterr().err


def test_nothing_is_said_of_a_scan_that_ends_otherwise(capsys: Captured) -> None:
    refused = ScanProgress()
    refused.on_resume([made_up(0, 9.0)])
    with pytest.raises(InputError), refused:
        raise InputError("no such thing: expected another; choose it")
    with ScanProgress() as progress:
        progress.on_resume([made_up(0, 9.0)])
    assert capsys.readouterr().err == ""
