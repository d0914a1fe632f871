"""The population of 240 networks: the list is fixed, balanced and can be taught; results are published member by member."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.population import scan
from benchmarks.population.architectures import ARCHITECTURES
from benchmarks.population.networks import KINDS, SEEN, Member, population
from benchmarks.population.sets import SETS, some_classes
from benchmarks.population.summary import is_right, summary
from nc_tf.models.loading.load import load_model
from nc_tf.training.checks import check_backdoor


def test_the_list_is_the_same_in_every_run() -> None:
    again = population.__wrapped__()
    assert again == population()
    assert len({member.name for member in again}) == len(again) == 240


def test_each_kind_has_its_networks_in_both_halves() -> None:
    counts = Counter((member.kind, member.judged) for member in population())
    seen = Counter(population()[number].kind for number in SEEN)
    for kind, wanted in KINDS.items():
        assert counts[kind, False] + counts[kind, True] == wanted.members
        assert 0 <= counts[kind, False] - counts[kind, True] + 1 <= 2 + 2 * seen[kind]
    assert not any(population()[number].judged for number in SEEN)
    assert KINDS["clean"].members >= 100


def test_clean_networks_are_spread_over_data_classes_and_architectures() -> None:
    clean = [member for member in population() if member.kind == "clean"]
    assert set(Counter(member.architecture for member in clean).values()) == {22}
    assert {member.data for member in clean} == set(SETS)
    assert {len(member.classes) for member in clean} == {2, 3, 4, 10, 43}
    cells = Counter((member.data, len(member.classes)) for member in clean)
    assert max(cells.values()) - min(cells.values()) <= 1


@pytest.mark.parametrize("member", population()[:60], ids=lambda member: member.name)
def test_a_backdoor_fits_its_network(member: Member) -> None:
    for backdoor in member.backdoors:
        check_backdoor(backdoor, member.image_shape, len(member.classes))
    assert bool(member.pairs) == (member.kind != "clean")
    if member.kind in ("patch", "badnets", "TrojanNet", "SIG", "CLB", "WaNet", "blend .1", "blend .2", "two triggers"):
        assert len(member.targets) == 1


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_is_saved_and_opened_as_a_strangers(name: str, tmp_path: Path) -> None:
    model = ARCHITECTURES[name](4, (28, 28, 1))
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).uniform(0, 255, (2, 28, 28, 1)).astype(np.float32)
    np.testing.assert_allclose(load_model(tmp_path / "model.keras")(images), model(images, training=False), atol=1e-5)


def test_some_classes_are_numbered_from_0() -> None:
    images, labels = np.arange(12)[:, None, None, None], np.tile([3, 5, 7], 4)
    chosen, numbers = some_classes((images, labels), (3, 7), 6, seed=0)
    assert len(chosen) == 6
    assert [(3, 7)[number] for number in numbers.tolist()] == labels[chosen.ravel()].tolist()


def test_published_members_stay_beside_those_of_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def done(name: str, verdict: str) -> dict[str, Any]:
        return row("clean", verdict) | {"member": name}

    first, second = (member.name for member in population()[:2])
    monkeypatch.setattr(scan, "SCANS", tmp_path / "scans")
    monkeypatch.setattr(scan, "PUBLISHED", tmp_path / "published.json")
    scan.write_json(tmp_path / "published.json", {"members": [done(first, "old"), done("gone", "old")]})
    scan.write_json(tmp_path / "scans" / f"{second}.json", done(second, "new"))
    scan.publish()
    rows = scan.read_json(tmp_path / "published.json", "")["members"]
    assert [(row["member"], row["verdict"]) for row in rows] == [(first, "old"), (second, "new")]


def row(kind: str, verdict: str, **more: Any) -> dict[str, Any]:
    """A row of a scan that never was."""
    usual = {"judged": True, "classes": 10, "architecture": "plain", "seconds": 10.0, "attack_success_rate": [0.95]}
    return usual | {"kind": kind, "verdict": verdict, "targets": [], "pairs": [], "flagged": [], "flagged_pairs": []} | more


def test_rates_are_those_of_strong_backdoors_of_one_half() -> None:
    to_two = {"targets": [2], "pairs": [(0, 2), (1, 2)]}
    rows = [
        row("clean", "no outlier", attack_success_rate=[]),
        row("clean", "inconclusive", attack_success_rate=[]),
        row("clean", "backdoor suspected", attack_success_rate=[], judged=False),
        row("patch", "backdoor suspected", flagged=[2, 3], **to_two),
        row("patch", "backdoor suspected", flagged=[1], **to_two),
        row("patch", "no outlier", attack_success_rate=[0.95, 0.5], **to_two),
    ]
    judged = summary(rows)["judged"]
    assert {key: judged["false_alarms"][key] for key in ("networks", "suspected", "inconclusive")} == {
        "networks": 2,
        "suspected": 0,
        "inconclusive": 1,
    }
    assert judged["false_alarms"]["interval"] == [0.0, 0.8419]
    patches = judged["kinds"]["patch"]
    assert (patches["networks"], patches["suspected"], patches["right"], patches["weak"]) == (2, 2, 1, 1)
    assert summary(rows)["chosen on"]["false_alarms"]["suspected"] == 1
    assert summary([])["judged"]["false_alarms"]["interval"] is None


def test_half_of_the_pairs_are_enough() -> None:
    cycle = {"pairs": [(0, 1), (1, 2), (2, 0)]}
    assert is_right(row("all-to-all", "backdoor suspected", flagged_pairs=[[0, 1], [1, 2]], **cycle))
    assert not is_right(row("all-to-all", "backdoor suspected", flagged_pairs=[[0, 1]], **cycle))
    assert not is_right(row("all-to-all", "inconclusive", flagged_pairs=[[0, 1], [1, 2]], **cycle))
