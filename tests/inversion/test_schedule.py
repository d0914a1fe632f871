"""The cost schedule against scripts worked out by hand, a log of the original, and the original's rules written out again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from nc_tf.errors import InputError
from nc_tf.inversion.cost_schedule import CostSchedule, ScheduleState, init, update

GOLDEN = Path(__file__).parents[1] / "golden" / "schedule_label33.npz"


def run(rounds: list[tuple[float, float]], rules: CostSchedule) -> list[tuple[ScheduleState, bool]]:
    """Return the state and "improved" after every (success, norm) of one restart."""
    state, seen = init(1, rules), []
    for success, reg in rounds:
        state, improved = update(state, tf.constant([success]), tf.constant([reg]), rules)
        seen.append((ScheduleState(*(part.numpy()[0] for part in state)), bool(improved[0])))
    return seen


def costs(successes: list[float], **rules: Any) -> list[float]:
    """The cost in force after every round."""
    script = CostSchedule(**{"init_cost": 1.0, "multiplier": 4.0, "patience": 2, "early_stop": False} | rules)
    return [float(state.cost) for state, _ in run([(success, 5.0) for success in successes], script)]


def test_arming_up_and_down() -> None:
    """Two good rounds switch the cost on, and the second already counts towards going up; down divides by 4**1.5 = 8."""
    assert costs([1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]) == [0, 1, 4, 4, 16, 16, 2, 2, 0.25, 0.25]


def test_good_rounds_count_only_in_a_row() -> None:
    assert costs([1.0, 0.0, 1.0, 0.0, 1.0, 1.0]) == [0, 0, 0, 0, 0, 1]
    assert costs([1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0]) == [0, 1, 1, 1, 1, 1, 4]


def test_the_threshold_itself_is_good() -> None:
    assert costs([0.75, 0.75], threshold=0.75) == [0, 1]
    assert costs([0.74, 0.74], threshold=0.75) == [0, 0]


def test_without_the_reset_the_cost_is_there_from_the_start() -> None:
    assert float(init(3, CostSchedule(init_cost=0.5, reset_cost_to_zero=False)).cost[2]) == 0.5
    assert costs([1.0, 1.0, 0.0, 0.0], reset_cost_to_zero=False) == [1, 4, 4, 0.5]


def test_patience_one_arms_and_goes_up_at_once() -> None:
    assert costs([1.0, 1.0, 0.0], patience=1) == [4, 16, 2]


def test_arming_resets_the_flags_and_the_counters() -> None:
    """While the cost is 0, bad rounds "divide" it and raise the flag of going down; arming takes that back."""
    rules = CostSchedule(init_cost=1.0, multiplier=4.0, patience=2)
    states = [state for state, _ in run([(0.0, 9.0)] * 2 + [(1.0, 9.0)] * 3 + [(0.0, 9.0)] * 2, rules)]
    assert [bool(state.went_down) for state in states] == [False, True, True, False, False, False, True]
    assert [bool(state.went_up) for state in states] == [False, False, False, False, True, True, True]
    assert (int(states[3].armed), int(states[3].good), int(states[3].bad)) == (0, 1, 0)


def test_only_good_rounds_with_a_smaller_norm_are_best() -> None:
    rounds = [(0.5, 1.0), (1.0, 7.0), (1.0, 8.0), (1.0, 7.0), (0.5, 1.0), (1.0, 6.5)]
    seen = run(rounds, CostSchedule())
    assert [improved for _, improved in seen] == [False, True, False, False, False, True]
    assert [float(state.reg_best) for state, _ in seen] == [float("inf"), 7, 7, 7, 7, 6.5]


def test_stalled_rounds_are_counted_from_the_first_success_on() -> None:
    """A norm that falls by less than a tenth is a stalled round, if a better one."""
    rounds = [(0.0, 5.0), (0.0, 5.0), (1.0, 10.0), (0.0, 1.0), (1.0, 9.5), (1.0, 8.0), (1.0, 7.9), (float("nan"), 1.0)]
    seen = run(rounds, CostSchedule(early_stop_threshold=0.9))
    assert [int(state.stalled) for state, _ in seen] == [0, 0, 0, 1, 2, 0, 1, 2]


STALLED = [(1.0, 10.0)] * 30


@pytest.mark.parametrize(
    ("rounds", "stops_at"),
    [
        (STALLED, None),  # only up
        ([(0.0, 9.0)] * 30, None),  # never a trigger
        ([*STALLED[:6], *[(0.0, 10.0)] * 2, *STALLED], 8),  # round 7 is the second bad one and divides; the round after it reads the flag
        ([*STALLED[:3], *[(0.0, 10.0)] * 2, *STALLED], 5),  # both flags at the end of round 4, and round 5 is the fifth stalled one
    ],
)
def test_early_stop_needs_up_and_down_and_patience(rounds: list[tuple[float, float]], stops_at: int | None) -> None:
    rules = CostSchedule(init_cost=1.0, multiplier=2.0, patience=2, early_stop_threshold=1.0, early_stop_patience=5)
    stopped = [bool(state.stopped) for state, _ in run(rounds, rules)]
    assert (stopped.index(True) if any(stopped) else None) == stops_at


def test_early_stop_at_the_round_worked_out_by_hand() -> None:
    """With patience 2, rounds 0 and 1 switch the cost on, 2 goes up, 3 and 4 go down.

    `stalled` is 5 after round 5, when both flags are set.
    """
    rules = CostSchedule(init_cost=1.0, multiplier=2.0, patience=2, early_stop_threshold=1.0, early_stop_patience=5)
    seen = run([(1.0, 10.0)] * 3 + [(0.0, 10.0)] * 2 + [(1.0, 10.0)] * 2, rules)
    assert [int(state.stalled) for state, _ in seen] == [0, 1, 2, 3, 4, 5, 6]
    assert [bool(state.stopped) for state, _ in seen] == [False] * 5 + [True, True]
    off = run([(1.0, 10.0)] * 3 + [(0.0, 10.0)] * 2 + [(1.0, 10.0)] * 9, CostSchedule(patience=2, early_stop=False, early_stop_patience=5))
    assert not any(state.stopped for state, _ in off)


class Plain:
    """The end of the original's `visualize`, in plain Python, in its order and with its counters."""

    def __init__(self, rules: CostSchedule) -> None:
        self.rules = rules
        self.cost = 0.0 if rules.reset_cost_to_zero else rules.init_cost
        self.reg_best = self.early_stop_reg_best = float("inf")
        self.set_counter = self.up_counter = self.down_counter = self.early_stop_counter = 0
        self.up_flag = self.down_flag = False

    def step(self, acc: float, reg: float) -> tuple[bool, bool]:
        """One round: whether it is the best so far, and whether the original breaks off here."""
        rules = self.rules
        improved = acc >= rules.threshold and reg < self.reg_best
        if improved:
            self.reg_best = reg
        if rules.early_stop:
            if self.reg_best < float("inf"):
                if self.reg_best >= rules.early_stop_threshold * self.early_stop_reg_best:
                    self.early_stop_counter += 1
                else:
                    self.early_stop_counter = 0
            self.early_stop_reg_best = min(self.reg_best, self.early_stop_reg_best)
            if self.down_flag and self.up_flag and self.early_stop_counter >= rules.early_stop_patience:
                return improved, True
        if self.cost == 0 and acc >= rules.threshold:
            self.set_counter += 1
            if self.set_counter >= rules.patience:
                self.cost = rules.init_cost
                self.up_counter = self.down_counter = 0
                self.up_flag = self.down_flag = False
        else:
            self.set_counter = 0
        if acc >= rules.threshold:
            self.up_counter, self.down_counter = self.up_counter + 1, 0
        else:
            self.up_counter, self.down_counter = 0, self.down_counter + 1
        if self.up_counter >= rules.patience:
            self.up_counter, self.up_flag = 0, True
            self.cost *= rules.multiplier
        elif self.down_counter >= rules.patience:
            self.down_counter, self.down_flag = 0, True
            self.cost /= rules.multiplier**1.5
        return improved, False


@pytest.mark.slow
@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    rounds=st.lists(st.tuples(st.sampled_from([0.5, 1.0, 1.0]), st.sampled_from([4.0, 5.0, 6.0, 7.0, 8.0])), min_size=1, max_size=60),
    patience=st.integers(1, 4),
    multiplier=st.sampled_from([1.5, 2.0]),
    reset=st.booleans(),
    early_stop=st.booleans(),
    share=st.sampled_from([0.9, 1.0]),
    early_patience=st.integers(1, 6),
)
def test_the_originals_rules_on_any_sequence(
    rounds: list[tuple[float, float]], patience: int, multiplier: float, reset: bool, early_stop: bool, share: float, early_patience: int
) -> None:
    rules = CostSchedule(1e-3, multiplier, patience, 0.99, reset, early_stop, share, early_patience)
    plain, state = Plain(rules), init(1, rules)
    for success, reg in rounds:
        improved, stop = plain.step(success, reg)
        state, ours = update(state, tf.constant([success]), tf.constant([reg]), rules)
        assert bool(ours[0]) == improved
        assert float(state.reg_best[0]) == plain.reg_best
        assert bool(state.stopped[0]) == stop
        if stop:
            break
        np.testing.assert_allclose(float(state.cost[0]), plain.cost, rtol=1e-5)


def test_the_log_of_the_original() -> None:
    with np.load(GOLDEN) as saved:
        rows = saved["log"]
    assert len(rows) == 80
    rules = CostSchedule(1e-3, 2.0, 5, 0.99, early_stop_threshold=1.0, early_stop_patience=25)
    state = init(1, rules)
    for number, (_, _, reg, _, success, reg_best, cost) in enumerate(rows):
        np.testing.assert_allclose(state.cost[0], cost, rtol=1e-6, err_msg=f"round {number}")
        state, _ = update(state, tf.constant([success], tf.float32), tf.constant([reg], tf.float32), rules)
        np.testing.assert_allclose(state.reg_best[0], reg_best, rtol=1e-6, err_msg=f"round {number}")
        assert bool(state.stopped[0]) == (number == 79)


def test_arms_do_not_touch_each_other() -> None:
    rng = np.random.default_rng(3)
    rules = CostSchedule(1e-3, 2.0, 2, early_stop_patience=4)
    success = rng.choice([0.9, 1.0], p=[0.3, 0.7], size=(40, 5)).astype(np.float32)
    reg = rng.uniform(4, 9, (40, 5)).astype(np.float32)
    together, alone = init(5, rules), [init(1, rules) for _ in range(5)]
    for good, norm in zip(success, reg, strict=True):
        together, improved = update(together, tf.constant(good), tf.constant(norm), rules)
        for arm in range(5):
            alone[arm], own = update(alone[arm], tf.constant(good[arm : arm + 1]), tf.constant(norm[arm : arm + 1]), rules)
            assert bool(own[0]) == bool(improved[arm])
    for name, parts in zip(ScheduleState._fields, together, strict=True):
        np.testing.assert_array_equal(parts, [getattr(state, name)[0] for state in alone], err_msg=name)
    assert len(set(together.cost.numpy().tolist())) > 1, "five arms with one fate prove nothing"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"init_cost": 0.0}, "init cost 0.0, multiplier 1.5: expected finite numbers above 0 and above 1"),
        ({"init_cost": -1.0}, "init cost -1.0"),
        ({"init_cost": float("nan")}, "init cost nan"),
        ({"init_cost": float("inf")}, "init cost inf"),
        ({"multiplier": 1.0}, "multiplier 1.0: expected finite numbers above 0 and above 1"),
        ({"multiplier": float("nan")}, "multiplier nan"),
        ({"multiplier": float("inf")}, "multiplier inf"),
        ({"patience": 0}, "patience 0, early stop patience 20: expected 1 or more rounds"),
        ({"early_stop_patience": 0}, "early stop patience 0"),
        ({"threshold": 0.0}, "success threshold 0.0: expected a share"),
        ({"threshold": 1.01}, "success threshold 1.01"),
        ({"threshold": float("nan")}, "success threshold nan"),
        ({"early_stop_threshold": -0.1}, "early stop threshold -0.1: expected a finite share, 0 or more"),
        ({"early_stop_threshold": float("nan")}, "early stop threshold nan"),
        ({"early_stop_threshold": float("inf")}, "early stop threshold inf"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CostSchedule(**wrong)
