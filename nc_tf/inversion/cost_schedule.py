"""Cost schedule: the adaptive weight of the mask's norm, and the early stop.

A round at or above the success threshold is good, one below is bad. The cost starts at 0, and `patience` good rounds in a row switch it
on; or it starts at `init_cost`. After that, `patience` good rounds multiply it, and `patience` bad ones divide it by `multiplier**1.5`.
The rules are those of the original (visualizer.py, end of `visualize`).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from nc_tf.errors import InputError

# A label that the model gives to every image succeeds in every round, and endless doubling of the cost would overflow float32.
COST_LIMIT = 1e10


@dataclass(frozen=True)
class CostSchedule:
    """Settings of the schedule.

    Attributes:
        init_cost: weight of the mask's norm when it is switched on.
        multiplier: factor on the way up; the way down divides by its 1.5th power.
        patience: rounds in a row that change the cost.
        threshold: success rate that makes a round good, [0, 1].
        reset_cost_to_zero: whether the cost starts at 0 and is switched on later; otherwise it starts at `init_cost`.
        early_stop: whether to stop before the rounds run out.
        early_stop_threshold: a round stalls unless the best norm falls below this share of the best one before.
        early_stop_patience: stalled rounds in a row that stop the search, once the cost has been both up and down.
    """

    init_cost: float = 1e-3
    multiplier: float = 1.5
    patience: int = 10
    threshold: float = 0.99
    reset_cost_to_zero: bool = True
    early_stop: bool = True
    early_stop_threshold: float = 0.99
    early_stop_patience: int = 20

    def __post_init__(self) -> None:
        if not (0 < self.init_cost < math.inf and 1 < self.multiplier < math.inf):
            raise InputError(
                f"init cost {self.init_cost}, multiplier {self.multiplier}: expected finite numbers above 0 and above 1; "
                "the paper's are .001 and 2"
            )
        if self.patience < 1 or self.early_stop_patience < 1:
            raise InputError(
                f"patience {self.patience}, early stop patience {self.early_stop_patience}: expected 1 or more rounds; 5 and 25 are usual"
            )
        if not 0 < self.threshold <= 1:
            raise InputError(f"success threshold {self.threshold}: expected a share in (0, 1]; the paper's is .99")
        if not 0 <= self.early_stop_threshold < math.inf:
            raise InputError(f"early stop threshold {self.early_stop_threshold}: expected a finite share, 0 or more; the paper's is 1")


class ScheduleState(NamedTuple):
    """State of the schedule, one entry a restart."""

    cost: tf.Tensor  # (A,) float32, weight in force in the next round; 0 until switched on
    armed: tf.Tensor  # (A,) int32, good rounds in a row while the cost is 0
    good: tf.Tensor  # (A,) int32, good rounds in a row
    bad: tf.Tensor  # (A,) int32, bad rounds in a row
    went_up: tf.Tensor  # (A,) bool, since the cost was switched on
    went_down: tf.Tensor  # (A,) bool, likewise
    reg_best: tf.Tensor  # (A,) float32, smallest norm of a good round; infinite before the first
    stalled: tf.Tensor  # (A,) int32, rounds in a row without a smaller one
    stopped: tf.Tensor  # (A,) bool, early stop


def init(num_arms: int, settings: CostSchedule) -> ScheduleState:
    """Return the state before the first round."""

    def zeros(dtype: tf.DType) -> tf.Tensor:
        return tf.zeros([num_arms], dtype)

    return ScheduleState(
        cost=tf.fill([num_arms], 0.0 if settings.reset_cost_to_zero else settings.init_cost),
        armed=zeros(tf.int32),
        good=zeros(tf.int32),
        bad=zeros(tf.int32),
        went_up=zeros(tf.bool),
        went_down=zeros(tf.bool),
        reg_best=tf.fill([num_arms], float("inf")),
        stalled=zeros(tf.int32),
        stopped=zeros(tf.bool),
    )


def update(state: ScheduleState, success: tf.Tensor, reg: tf.Tensor, settings: CostSchedule) -> tuple[ScheduleState, tf.Tensor]:
    """Return the state after a round, and the restarts that improved.

    Args:
        state: the state before the round.
        success: (A,) float32, mean success rate of the round, [0, 1].
        reg: (A,) float32, mean norm of the mask over the round.
        settings: settings of the schedule.

    Returns:
        The next state, and (A,) bool: whether the round is the restart's best so far.
    """
    ok = success >= settings.threshold
    improved = ok & (reg < state.reg_best)
    reg_best = tf.where(improved, reg, state.reg_best)

    # Early stop looks at the flags as they were during the round.
    stall = reg_best >= settings.early_stop_threshold * state.reg_best
    stalled = tf.where(tf.math.is_finite(reg_best), tf.where(stall, state.stalled + 1, 0), state.stalled)
    stopped = (state.went_up & state.went_down & (stalled >= settings.early_stop_patience)) if settings.early_stop else state.stopped

    armed = tf.where(ok & (state.cost == 0.0), state.armed + 1, 0)
    arm = armed >= settings.patience
    cost = tf.where(arm, settings.init_cost, state.cost)
    good = tf.where(ok, tf.where(arm, 0, state.good) + 1, 0)
    bad = tf.where(ok, 0, tf.where(arm, 0, state.bad) + 1)
    up, down = good >= settings.patience, bad >= settings.patience
    next_state = ScheduleState(
        cost=tf.where(up, tf.minimum(cost * settings.multiplier, COST_LIMIT), tf.where(down, cost / settings.multiplier**1.5, cost)),
        armed=tf.where(arm, 0, armed),
        good=tf.where(up, 0, good),
        bad=tf.where(down, 0, bad),
        went_up=(state.went_up & ~arm) | up,
        went_down=(state.went_down & ~arm) | down,
        reg_best=reg_best,
        stalled=stalled,
        stopped=stopped,
    )
    return next_state, improved
