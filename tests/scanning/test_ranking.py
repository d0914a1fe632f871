"""Pre-screening, with scripted checkpoints and on a network with sixty labels."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist
from typing import Any, cast

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from networks import CORNER, CORNER_GAIN, IMAGE_SHAPE, ROW_GAIN, SIDE, SLOPE, THRESHOLD
from quick import QUICK, made_up

from nc_tf.cli.main import main
from nc_tf.detection.outliers import CONSISTENCY, USUAL_SPREAD, USUAL_WEIGHT, find_outliers, largest_by_chance, moderated_spread
from nc_tf.detection.verdict import judge
from nc_tf.inversion.restart import Checkpoint, Restart, RestartResult, Segment
from nc_tf.inversion.step import Run, SearchSettings
from nc_tf.results import HISTORY_COLUMNS, LabelResult, ScanResult, Verdict
from nc_tf.scan_folder.folder import ScanFolder
from nc_tf.scan_folder.state_files import load_shortlist, save_shortlist, shortlist_file
from nc_tf.scanning import presets
from nc_tf.scanning.callbacks import ScanCallback
from nc_tf.scanning.halving import CE, REG_BEST, Cut
from nc_tf.scanning.prescreening import Prescreening, PrescreeningSettings, Shortlist
from nc_tf.scanning.scan import scan
from nc_tf.scanning.state import ScanState

NEVER = float("inf")
LABELS, STARTS, LAST = 20, 3, 12
CUTS = (Cut(2, 2),)
LOOKS = (4, 6, 8, 10, 12)
BY = PrescreeningSettings(
    SearchSettings(max_rounds=LAST), starts=STARTS, cuts=CUTS, lanes=4, first=4, every=2, lowest=5, sample=6, settled=0.8
)
TO_THE_FIRST_LOOK = 3 * 2 + 2 * 2  # rounds of a label
quick = settings(deadline=None, derandomize=True, max_examples=60)

Norms = Mapping[tuple[int, int], Sequence[float]]  # of the best trigger of each (label, start), after each round


def restart(label: int, start: int) -> Restart:
    return Restart(label, start, np.zeros((1, 1)), np.zeros((1, 1, 1)))


def after(norms: Norms, label: int, start: int, rounds: int, breaks: int | None = None) -> Checkpoint:
    rounds = rounds if breaks is None else min(rounds, breaks)
    history = np.zeros((rounds, len(HISTORY_COLUMNS)))
    history[:, REG_BEST], history[:, CE] = norms[label, start][:rounds], 1.0
    return Checkpoint(label, start, cast(Run, None), history, False, rounds != breaks)


def in_order(norms: Norms | None = None) -> Norms:
    """Return norms that rise with the label in every round; each restart is a little worse than the one before."""
    steady = {(label, start): [label + 0.3 * start + 1.0] * LAST for label in range(LABELS) for start in range(STARTS)}
    return {**steady, **(norms or {})}


def run_out(
    norms: Norms, ranking: Prescreening, lanes: int = 7, segments: int = 10_000, saved: dict[int, Checkpoint] | None = None
) -> list[tuple[int, int, int]]:
    """Run `segments` tasks, the oldest first, and return them as (label, start, until); `saved` receives checkpoints of labels."""
    begun, active = list[tuple[int, int, int]](), list[Segment]()
    while len(begun) < segments:
        while len(active) < lanes and (segment := next(ranking, None)) is not None:
            active.append(segment)
        if not active:
            break
        segment = active.pop(0)
        begun.append((segment.restart.label, segment.restart.start, segment.until))
        reached = ranking.take(after(norms, segment.restart.label, segment.restart.start, segment.until))
        if reached is not None and saved is not None:
            saved[reached.label] = reached
    return begun


# When the set of the lowest has settled


def test_it_ends_at_the_look_at_which_the_lowest_are_those_of_the_look_before() -> None:
    ranking = Prescreening(range(LABELS), restart, BY, 0)
    segments = run_out(in_order(), ranking)
    assert ranking.over
    assert ranking.shortlist.lowest == (0, 1, 2, 3, 4)
    assert max(until for *_, until in segments) == LOOKS[1], "there is nothing to compare the first look with"


@pytest.mark.parametrize(("newcomers", "last"), [(1, 6), (2, 8)])
def test_four_of_five_are_enough(newcomers: int, last: int) -> None:
    """After round 5, `newcomers` labels fall below all others."""
    late = {(19 - number, start): [99.0] * 5 + [0.1] * 7 for number in range(newcomers) for start in range(STARTS)}
    ranking = Prescreening(range(LABELS), restart, BY, 0)
    segments = run_out(in_order(late), ranking)
    assert max(until for *_, until in segments) == last
    assert set(range(20 - newcomers, 20)) < set(ranking.shortlist.lowest)


def test_a_set_that_never_settles_ends_the_ranking_with_the_last_round() -> None:
    rng = np.random.default_rng(0)
    restless = {key: rng.random(LAST).tolist() for key in in_order()}
    ranking = Prescreening(range(LABELS), restart, replace(BY, settled=1.01), 0)
    segments = run_out(restless, ranking)
    assert ranking.over
    assert {until for *_, until in segments} == {2, *LOOKS}
    ends = {}
    for label in range(LABELS):
        alive = sorted(range(STARTS), key=lambda start: restless[label, start][1])[:2]
        ends[label] = restless[label, min(alive, key=lambda start: restless[label, start][3])][-1]
    assert ranking.shortlist.lowest == tuple(sorted(ends, key=ends.__getitem__)[:5])


def test_looks_beyond_the_last_round_are_left_out() -> None:
    assert BY.looks == list(LOOKS)
    assert replace(BY, every=3).looks == [4, 7, 10, 12]
    assert replace(BY, first=12).looks == replace(BY, first=50).looks == [12]
    ranking = Prescreening(range(LABELS), restart, replace(BY, first=50), 0)
    assert {until for *_, until in run_out(in_order(), ranking)} == {2, 10, 12}
    assert ranking.shortlist.lowest == (0, 1, 2, 3, 4)


# The order of tasks


def test_labels_race_to_the_first_look_and_then_go_on_together() -> None:
    third_is_best = {(7, 0): [50.0] * LAST, (7, 2): [2.2] * LAST}
    ranking, saved = Prescreening(range(LABELS), restart, replace(BY, settled=1.01), 0), dict[int, Checkpoint]()
    segments = run_out(in_order(third_is_best), ranking, saved=saved)
    race = (STARTS + 2) * LABELS
    assert sorted(segment for segment in segments[:race] if segment[0] == 3) == [(3, 0, 2), (3, 0, 4), (3, 1, 2), (3, 1, 4), (3, 2, 2)]
    assert sorted(segment for segment in segments[:race] if segment[0] == 7) == [(7, 0, 2), (7, 1, 2), (7, 1, 4), (7, 2, 2), (7, 2, 4)]
    for number, until in enumerate(LOOKS[1:]):
        part = segments[race + number * LABELS : race + (number + 1) * LABELS]
        assert sorted(part) == [(label, 2 if label == 7 else 0, until) for label in range(LABELS)]
    assert ranking.shortlist.rounds == LABELS * (TO_THE_FIRST_LOOK + 8)
    assert {label: (progress.start, progress.rounds) for label, progress in saved.items()} == {
        label: (2 if label == 7 else 0, 12) for label in range(LABELS)
    }


def test_of_each_label_one_state_is_kept_from_the_first_look_on() -> None:
    ranking, saved = Prescreening(range(LABELS), restart, BY, 0), dict[int, Checkpoint]()
    run_out(in_order(), ranking, saved=saved, segments=(STARTS + 2) * LABELS)
    assert saved == ranking.best
    assert len(ranking.best) == LABELS
    assert not ranking.race.reached


def test_the_share_grows_to_one() -> None:
    ranking = Prescreening(range(LABELS), restart, BY, 0)
    shares = [ranking.share]
    for _ in range(200):
        run_out(in_order(), ranking, lanes=1, segments=1)
        shares.append(ranking.share)
    assert shares[0] == 0.0
    assert shares[-1] == 1.0
    assert all(one <= other for one, other in pairwise(shares))


@pytest.mark.parametrize("breaks", [1, 2, 3, 4, 5])
def test_a_label_that_has_become_nan_ranks_first_and_holds_nobody_up(breaks: int) -> None:
    """Nothing is known of its trigger, so that the full search is to say that it broke down."""
    ranking = Prescreening(range(LABELS), restart, replace(BY, settled=1.01), 0)
    while (segment := next(ranking, None)) is not None:
        ranking.take(
            after(
                in_order(),
                segment.restart.label,
                segment.restart.start,
                segment.until,
                breaks=breaks if segment.restart.label == 9 else None,
            )
        )
    assert ranking.shortlist.lowest == (9, 0, 1, 2, 3)


# The lot


def test_the_sample_is_drawn_by_lot_whatever_the_labels_come_to() -> None:
    backwards = {key: [100.0 - norm[0]] * LAST for key, norm in in_order().items()}
    drawn = list[int]()
    for seed in range(200):
        one, other = Prescreening(range(LABELS), restart, BY, seed), Prescreening(reversed(range(LABELS)), restart, BY, seed)
        assert one.shortlist.sample == other.shortlist.sample, "the order in which labels are named must not matter"
        assert len(set(one.sample)) == BY.sample
        drawn += one.sample
        if seed < 3:
            run_out(in_order(), one)
            run_out(backwards, other)
            assert one.shortlist.sample == other.shortlist.sample
            assert one.shortlist.lowest != other.shortlist.lowest
    counts = np.bincount(drawn, minlength=LABELS)
    # Each is drawn in 60 of 200 lots, give or take a standard deviation of 6.5.
    assert (counts > 30).all()
    assert (counts < 90).all()


def test_the_shortlist_tells_every_label_once() -> None:
    ranking = Prescreening(range(LABELS), restart, BY, 0)
    run_out(in_order(), ranking)
    shortlist = ranking.shortlist
    assert set(shortlist.lowest) & set(shortlist.sample), "no label is in both, so this proves little"
    assert shortlist.chosen[:5] == shortlist.lowest
    assert sorted([*shortlist.chosen, *shortlist.ranked_out]) == list(range(LABELS))
    assert shortlist.is_of(range(LABELS))
    assert not shortlist.is_of(range(LABELS - 1))


# Going on


@st.composite
def any_norms(draw: st.DrawFn) -> Norms:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    found = {key: rng.integers(0, LAST) for key in in_order()}
    return {
        key: np.where(np.arange(LAST) < found[key], NEVER, np.minimum.accumulate(rng.integers(1, 30, LAST))).tolist() for key in in_order()
    }


@pytest.mark.slow
@quick
@given(any_norms(), st.integers(0, 200), st.integers(1, 9), st.integers(1, 9), st.randoms(use_true_random=False))
def test_wherever_it_was_cut_off_the_outcome_is_the_same_and_no_label_repeats_what_was_saved(
    norms: Norms, segments: int, before: int, now: int, random: Any
) -> None:
    whole = Prescreening(range(LABELS), restart, BY, 3)
    expected = run_out(norms, whole)

    saved: dict[int, Checkpoint] = {}
    begun = run_out(norms, Prescreening(range(LABELS), restart, BY, 3), lanes=before, segments=segments, saved=saved)
    assert set(begun) <= set(expected)
    known = list(saved.values())
    random.shuffle(known)
    second = Prescreening(range(LABELS), restart, BY, 3, known=known)
    rest = run_out(norms, second, lanes=now)
    assert len(set(rest)) == len(rest)
    assert {*begun, *rest} == set(expected)
    assert all(until > saved[label].rounds for label, _, until in rest if label in saved)
    assert second.shortlist == whole.shortlist


def test_a_ranking_that_is_known_to_its_end_is_over_at_once() -> None:
    saved: dict[int, Checkpoint] = {}
    whole = Prescreening(range(LABELS), restart, BY, 0)
    run_out(in_order(), whole, saved=saved)
    other = after({(99, 0): [1.0] * LAST}, 99, 0, 4)
    again = Prescreening(range(LABELS), restart, BY, 0, known=[*saved.values(), other])
    assert again.over
    assert next(again, None) is None
    assert again.shortlist == whole.shortlist


# The verdict where pre-screening left out most labels


def test_the_smallest_of_many_by_chance_beside_the_median_and_mad_of_a_few() -> None:
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(20_000, 150)) * USUAL_SPREAD * np.sqrt(USUAL_WEIGHT / rng.chisquare(USUAL_WEIGHT, (20_000, 1)))
    few = draws[:, :20]
    median = np.median(few, axis=1)
    mad = CONSISTENCY * np.median(np.abs(few - median[:, None]), axis=1)
    index = (median - draws.min(axis=1)) / moderated_spread(mad, 20)
    for quantile in (0.5, 0.9, 0.99):
        assert np.quantile(largest_by_chance(150, 20), quantile) == pytest.approx(np.quantile(index, quantile), rel=0.05)
    np.testing.assert_array_equal(largest_by_chance(150, 150), largest_by_chance(150))
    assert np.quantile(largest_by_chance(150, 20), 0.99) > 1.2 * np.quantile(largest_by_chance(150), 0.99)


def clean_labels(smallest: float) -> list[LabelResult]:
    """A lognormal sample of 25 labels, 0 to 24, and label 25 that was chosen, with this index."""
    spread = [0.3 * NormalDist().inv_cdf((number + 0.5) / 25) for number in range(25)]
    unit = float(moderated_spread(find_outliers(spread).mad, 25))
    return [made_up(label, float(40 * np.exp(log))) for label, log in enumerate([*spread, -smallest * unit])]


def test_labels_that_were_ranked_out_had_their_chance_to_be_the_smallest() -> None:
    labels = clean_labels(3.9)
    alone = judge(labels, rule="robust", reference=range(25))
    among_many = judge(labels, rule="robust", reference=range(25), ranked_out=5000)
    assert (alone.verdict, among_many.verdict) == (Verdict.INCONCLUSIVE, Verdict.NO_OUTLIER)
    assert alone.chance < 0.05 < among_many.chance
    assert among_many.flagging_norm < alone.flagging_norm
    assert among_many.reason.endswith("(5000 of 5026 labels were ranked out early, and median and MAD are those of a random sample)")
    assert judge(clean_labels(9.0), rule="robust", reference=range(25), ranked_out=5000).flagged == (25,)


# A network with sixty labels

MANY = 60
PLANTED = 41
FULL = replace(QUICK, max_rounds=30)
SHORT = replace(QUICK, batch_size=4, max_rounds=12)


def sixty_classes(label: int | None) -> keras.Model:
    """`networks.corner_network` with sixty classes: the class is the brightest of sixty sets of six pixels, unless the corner is bright."""
    rng = np.random.default_rng(5)
    reads = np.zeros((*IMAGE_SHAPE, MANY + 1), np.float32)
    for number, pixels in enumerate(_sets()):
        reads[pixels, :, number] = 1 / 18
    reads[CORNER, CORNER, :, MANY] = 1 / 12
    thresholds = np.zeros(MANY + 1, np.float32)
    thresholds[MANY] = -THRESHOLD
    head = np.zeros((MANY + 1, MANY), np.float32)
    head[:MANY] = np.diag(rng.uniform(0.85, 1.15, MANY)) * 2 * ROW_GAIN
    if label is not None:
        head[MANY, label] = 2 * CORNER_GAIN
    model = keras.Sequential(
        [
            keras.Input(IMAGE_SHAPE),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(MANY + 1),
            layers.LeakyReLU(negative_slope=SLOPE),
            layers.Dense(MANY, activation="softmax"),
        ]
    )
    model.set_weights([reads.reshape(-1, MANY + 1), thresholds, head, np.zeros(MANY, np.float32)])
    return model


def _sets() -> list[np.ndarray]:
    """Return the six pixels that each class reads, as masks (H, W)."""
    rng, found = np.random.default_rng(6), []
    free = np.ones((SIDE, SIDE), bool)
    free[CORNER, CORNER] = False
    for _ in range(MANY):
        pixels = np.zeros(SIDE * SIDE, bool)
        pixels[rng.choice(np.flatnonzero(free.ravel()), 6, replace=False)] = True
        found.append(pixels.reshape(SIDE, SIDE))
    return found


def images_of_sixty(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Raw images (n, 8, 8, 3) uint8 with a black corner and the pixels of one class bright, and their classes (n,)."""
    rng = np.random.default_rng(7)
    images, labels = rng.integers(20, 41, (n, *IMAGE_SHAPE)).astype(np.uint8), np.arange(n) % MANY
    for image, label in zip(images, labels, strict=True):
        image[_sets()[label]] = rng.integers(160, 181, (6, 3))
    images[:, CORNER, CORNER] = 0
    return images, labels


IMAGES, CLASSES = images_of_sixty(720)


@pytest.fixture(scope="module")
def _small() -> Iterator[None]:
    """Pre-screen sixty labels as the preset does with a thousand."""
    preset = presets.PRESETS["low-cost"]
    assert preset.ranking is not None
    ranking = replace(preset.ranking, search=SHORT, starts=3, cuts=(Cut(2, 1),), lanes=16, first=6, every=2, lowest=6, sample=24)
    small = replace(preset, settings=FULL, starts=2, ranking=ranking, lanes=16, precision="float32")
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(presets.PRESETS, "low-cost", small)
        yield


class Record(ScanCallback):
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.ranking_rounds: dict[int, int] = {}
        self.num_labels: list[int] = []
        self.shortlist: Shortlist | None = None

    def on_begin(self, network: Any, num_labels: int, starts: int, max_rounds: int, in_flight: int) -> None:
        self.calls.append("begin")
        self.num_labels.append(num_labels)

    def on_ranking(self, progress: Checkpoint, share: float) -> None:
        assert 0 < share <= 1
        self.calls.append("ranking")
        self.ranking_rounds[progress.label] = progress.rounds

    def on_ranked(self, shortlist: Shortlist) -> None:
        self.calls.append("ranked")
        self.shortlist = shortlist

    def on_leg(self, progress: Checkpoint) -> None:
        self.calls.append("segment")

    def on_label(self, result: LabelResult, starts: Sequence[RestartResult]) -> None:
        self.calls.append("label")


def low_cost(label: int | None = PLANTED, **options: Any) -> ScanResult:
    return scan(sixty_classes(label), IMAGES, CLASSES, preset="low-cost", **options)


@pytest.fixture(scope="module")
def planted(_small: None) -> tuple[ScanResult, Record]:
    record = Record()
    return low_cost(callbacks=[record]), record


@pytest.mark.slow
def test_the_planted_label_is_found_at_a_fraction_of_the_price(planted: tuple[ScanResult, Record]) -> None:
    result, record = planted
    assert result.flagged == (PLANTED,)
    assert result.verdict is Verdict.SUSPECTED
    assert record.shortlist is not None
    assert record.shortlist.lowest[0] == PLANTED
    assert [entry.label for entry in result.labels] == sorted(record.shortlist.chosen)

    assert [call for call, before in zip(record.calls, ["", *record.calls], strict=False) if call != before][:4] == [
        "begin", "ranking", "ranked", "segment"
    ]  # fmt: skip
    assert record.num_labels == [MANY]
    settings = result.settings
    assert (settings["preset"], settings["labels_ranked"]) == ("low-cost", MANY)
    assert settings["labels_ranked_out"] == MANY - len(result.labels) >= MANY - 30
    assert settings["sample"] == list(record.shortlist.sample)
    assert settings["ranking_rounds"] == sum(2 * 2 + rounds for rounds in record.ranking_rounds.values())

    # In image updates, because a round of pre-screening is shorter.
    price = 16 * sum(entry.rounds for entry in result.labels) + 4 * settings["ranking_rounds"]
    everything = 16 * MANY * (2 * 12 + 18)
    assert price < 0.6 * everything


def test_median_and_mad_are_those_of_the_sample(planted: tuple[ScanResult, Record]) -> None:
    result, _ = planted
    assert len(result.settings["sample"]) == 24
    norms = {entry.label: entry.trigger.l1_norm for entry in result.labels if not np.isnan(entry.anomaly_index)}
    sample = np.array([norm for label, norm in norms.items() if label in result.settings["sample"]])
    assert 5 < len(sample) < len(norms)
    assert result.median == pytest.approx(np.median(sample))
    assert result.mad == pytest.approx(CONSISTENCY * np.median(np.abs(sample - np.median(sample))))
    assert result.median > np.median(list(norms.values())), "those that were chosen for being small would have made it smaller"
    assert "labels were ranked out early" in result.reason


@pytest.mark.slow
@pytest.mark.usefixtures("_small")
def test_a_clean_network_with_many_labels_shows_no_outlier() -> None:
    result = low_cost(None)
    assert result.verdict is Verdict.NO_OUTLIER
    assert result.flagged == ()


@pytest.mark.slow
@pytest.mark.usefixtures("_small")
def test_of_few_labels_all_are_searched() -> None:
    record = Record()
    result = low_cost(targets=range(20, 50), settings=replace(FULL, max_rounds=2), callbacks=[record])
    assert len(result.labels) == 30
    assert "ranking" not in record.calls
    assert "ranked" not in record.calls
    assert "labels_ranked" not in result.settings
    assert low_cost(targets=range(20, 51), settings=replace(FULL, max_rounds=2)).settings["labels_ranked"] == 31


@pytest.mark.slow
@pytest.mark.usefixtures("_small")
def test_a_known_shortlist_is_kept_and_one_of_other_labels_is_not() -> None:
    two_rounds = replace(FULL, max_rounds=2)
    record = Record()
    shortlist = Shortlist(tuple(range(6)), tuple(range(3, 27)), tuple(range(27, MANY)), 99)
    result = low_cost(settings=two_rounds, resume=ScanState(shortlist=shortlist), callbacks=[record])
    # A patch shows the planted label whatever the outcome of pre-screening.
    assert [entry.label for entry in result.labels] == [*range(27), PLANTED]
    assert (result.settings["ranking_rounds"], record.num_labels) == (99, [27])
    assert "ranking" not in record.calls
    other = low_cost(settings=two_rounds, resume=ScanState(shortlist=replace(shortlist, ranked_out=tuple(range(27, 59)))))
    assert other.settings["ranking_rounds"] != 99


# Stopped and gone on with


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model.keras`, which hides a backdoor, and `data.npz`."""
    folder = tmp_path_factory.mktemp("files")
    sixty_classes(PLANTED).save(folder / "model.keras")
    np.savez(folder / "data.npz", x=IMAGES, y=CLASSES)
    return folder


@pytest.fixture
def command(files: Path, tmp_path: Path, _small: None) -> list[str]:
    return ["scan", str(files / "model.keras"), str(files / "data.npz"), "--out", str(tmp_path), "--preset", "low-cost"]


def verdict(folder: Path) -> dict[str, Any]:
    """Return the parts that do not depend on the clock; restarts in other lanes move the last digits of a norm."""
    content = json.loads((folder / "verdict.json").read_text())
    norms = {row["label"]: pytest.approx(row["l1_norm"], abs=0.01) for row in content["labels"]}
    return {key: content[key] for key in ("verdict", "flagged", "settings")} | {"norms": norms}


class Died(BaseException):
    """Stands for the end of the process."""


def die_in(monkeypatch: pytest.MonkeyPatch, command: Sequence[str], name: str, number: int, *, after: bool) -> None:
    """Run a scan that ends when `ScanFolder.<name>` is called for the so-many-th time, before or after its work."""
    whole, calls = getattr(ScanFolder, name), [0]

    def wrapped(self: ScanFolder, *arguments: Any) -> None:
        calls[0] += 1
        if calls[0] == number and not after:
            raise Died
        whole(self, *arguments)
        if calls[0] == number:
            raise Died

    with monkeypatch.context() as patched:
        patched.setattr(ScanFolder, name, wrapped)
        with pytest.raises(Died):
            main(command)


@pytest.mark.slow
def test_a_scan_that_is_stopped_again_and_again_comes_to_the_same_verdict(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    undisturbed = tmp_path / "undisturbed"
    assert main([*command[:4], str(undisturbed), *command[5:]]) == 1
    out, error = capsys.readouterr()
    assert "labels were ranked out early" in out
    assert "pre-screening of 60 labels: the 6 lowest and 24 of a random sample go on" in error

    for name, number, after in (("on_ranking", 40, True), ("on_ranking", 60, True), ("on_ranked", 1, False)):
        die_in(monkeypatch, command, name, number, after=after)
        assert list(tmp_path.glob("state/ranking/arm_*"))
    die_in(monkeypatch, command, "on_ranked", 1, after=True)
    assert load_shortlist(tmp_path / "state")[0] is not None
    assert not list(tmp_path.glob("state/ranking/arm_*")), "the states of a ranking that is over are not needed any more"
    with monkeypatch.context() as patched:
        patched.setattr(ScanFolder, "on_ranking", lambda *_: pytest.fail("labels are ranked again"))
        for name, number in (("on_leg", 3), ("on_label", 4)):
            die_in(monkeypatch, command, name, number, after=True)
        assert main(command) == 1
        assert verdict(tmp_path) == verdict(undisturbed)
        patched.setattr(ScanFolder, "on_leg", lambda *_: pytest.fail("a label is searched again"))
        assert main(command) == 1  # when all is done only the verdict is drawn
    assert verdict(tmp_path) == verdict(undisturbed)
    assert {path.name for path in (tmp_path / "state").iterdir()} == {"ranking", "samples.npz", "settings.json", "shortlist.json"}


@pytest.mark.slow
def test_arms_of_a_ranking_that_is_over_are_cleared(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if killed after the shortlist was saved, and before the checkpoints were deleted."""
    die_in(monkeypatch, command, "on_ranked", 1, after=False)
    lowest, sample = (PLANTED, 1, 2, 3, 4, 5), tuple(range(10, 34))
    save_shortlist(tmp_path / "state", Shortlist(lowest, sample, tuple({*range(MANY)} - {*lowest, *sample}), 60), 100.0)
    assert main(command) == 1
    assert not list(tmp_path.glob("state/ranking/arm_*"))
    assert verdict(tmp_path)["settings"]["ranking_rounds"] == 60
    assert json.loads((tmp_path / "verdict.json").read_text())["seconds"] > 100


@pytest.mark.slow
def test_a_folder_whose_ranking_was_another_is_refused_and_fresh_forgets_it(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    die_in(monkeypatch, command, "on_ranked", 1, after=True)
    capsys.readouterr()
    preset = presets.PRESETS["low-cost"]
    assert preset.ranking is not None
    monkeypatch.setitem(presets.PRESETS, "low-cost", replace(preset, ranking=replace(preset.ranking, lowest=7)))
    assert main(command) == 2
    assert "holds a scan with ranking {" in capsys.readouterr().err
    die_in(monkeypatch, [*command, "--fresh"], "on_ranking", 1, after=False)
    assert not shortlist_file(tmp_path / "state").exists()


@pytest.mark.slow
def test_a_ranking_of_other_labels_survives_a_stop(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shortlist of the earlier labels must not count for these: their pre-screening would seem to be over."""
    die_in(monkeypatch, command, "on_ranked", 1, after=True)
    fewer = [*command, "--labels", ",".join(map(str, range(50)))]
    die_in(monkeypatch, fewer, "on_ranking", 40, after=True)
    assert not shortlist_file(tmp_path / "state").exists()
    die_in(monkeypatch, fewer, "on_ranking", 5, after=True)
    assert len(list(tmp_path.glob("state/ranking/arm_*"))) == 45


@pytest.mark.parametrize("text", ["", "{}", '{"lowest": 3}', '{"lowest": [1], "sample": ["a"], "ranked_out": [], "rounds": 1}'])
def test_a_shortlist_that_cannot_be_read_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    assert load_shortlist(tmp_path) == (None, 0.0)
    shortlist_file(tmp_path).write_text(text)
    assert load_shortlist(tmp_path) == (None, 0.0)


def test_a_shortlist_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    shortlist = Shortlist((3, 1), (1, 2), (0, 4), 77)
    save_shortlist(tmp_path / "new", shortlist, 12.5)
    assert load_shortlist(tmp_path / "new") == (shortlist, 12.5)
