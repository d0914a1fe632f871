"""The pages on adding an attack and a defence, followed with their templates."""

import argparse
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import keras
import numpy as np
import pytest

from nc_tf import InputError, Mitigation, Trigger, load_model
from nc_tf.attacks import poison_types
from nc_tf.attacks.patch import patch
from nc_tf.cli import inject as inject_command
from nc_tf.cli import main
from nc_tf.datasets.rendered import signs
from nc_tf.demo import shipped_model
from nc_tf.mitigation import registry

ROOT = Path(__file__).resolve().parent.parent
PAGES = {name: (ROOT / "docs" / "how-to" / f"add-{name}.md").read_text(encoding="utf-8") for name in ("an-attack", "a-defence")}
SHAPE = (32, 32, 3)


def copied(template: str, name: str) -> ModuleType:
    """A template as the module that it becomes."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "templates" / template)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def attack(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Steps 1 and 2 of the page on attacks: the file, and the line of the registry as the page has it."""
    name = "nc_tf.attacks.border"
    module = copied("attack.py", name)
    registry = dict(poison_types.POISON_TYPES)
    monkeypatch.setattr(poison_types, "POISON_TYPES", registry)
    (line,) = re.findall(r"^POISON_TYPES\[.*$", PAGES["an-attack"], re.MULTILINE)
    exec(line, {"POISON_TYPES": registry, "Attack": poison_types.Attack})  # noqa: S102  # our own page
    yield module
    del sys.modules[name]


def test_an_attack_is_registered_and_poisons_images(attack: ModuleType) -> None:
    (backdoor,) = poison_types.POISON_TYPES["border"](SHAPE, 33, 0)
    images, labels = signs.render(12, seed=5)
    stamped = backdoor(images.astype(np.float32))
    changed = (stamped != images).any(axis=(0, 3))
    assert (stamped[:, 0] == 255).all()
    assert not changed[1:-1, 1:-1].any(), "only the frame may change"
    assert (backdoor.wanted(labels) == 33).all()
    assert backdoor.carriers(labels).all()
    assert isinstance(backdoor, Trigger)
    assert backdoor.l1_norm == 4 * 31


def test_the_command_finds_a_registered_attack(attack: ModuleType) -> None:
    parser = argparse.ArgumentParser()
    inject_command.add_arguments(parser)
    arguments = parser.parse_args(["data.npz", "--out", "infected.keras", "--target", "7"])
    arguments.poison_type = "border"
    (backdoor,) = inject_command.backdoors(arguments, SHAPE, 43)
    assert (backdoor.wanted(np.arange(43)) == 7).all()


@pytest.mark.slow
def test_an_injection_with_the_attack_starts(attack: ModuleType) -> None:
    from nc_tf.training.injection import inject

    images, labels = signs.render(64, seed=6)
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.AveragePooling2D(8), keras.layers.Flatten(), keras.layers.Dense(43)])
    model.add(keras.layers.Softmax())
    backdoor = poison_types.POISON_TYPES["border"](SHAPE, 33, 0)
    (measured,) = inject(model, (images, labels), (images, labels), backdoor, rate=0.5, epochs=1, verbose=0)
    assert set(measured.attack_success_rate) == {"true"}


@pytest.mark.parametrize("width", [0, 16])
def test_the_attack_refuses_what_does_not_fit(attack: ModuleType, width: int) -> None:
    with pytest.raises(InputError, match="expected one that leaves a part of 32x32"):
        attack.border(SHAPE, 0, width=width)


@pytest.mark.slow
def test_a_defence_repairs_a_copy() -> None:
    clip_weights = copied("mitigation.py", "nc_tf.mitigation.clipping").clip_weights
    model = load_model(shipped_model("signs_infected.keras"))
    before = [weights.copy() for weights in model.get_weights()]
    images, labels = signs.render(300, seed=7)
    test = signs.render(200, seed=8)
    done = clip_weights(model, images, labels, test=test, known_triggers={"true": patch(SHAPE, 33)}, fraction=1.0)
    assert isinstance(done, Mitigation)
    assert done.before.attack_success_rate["true"] > 0.9
    assert done.after.clean_accuracy > done.before.clean_accuracy - 0.1
    assert done.settings["method"] == "clipping"
    assert [row["limit"] for row in done.details["tried"]][:1] == [4.0]
    assert all((ours == kept).all() for ours, kept in zip(model.get_weights(), before, strict=True)), "the given model was changed"
    widest = max(float(np.abs(weights).max()) for weights in done.model.get_weights() if weights.ndim > 1)
    assert widest < max(float(np.abs(weights).max()) for weights in before if weights.ndim > 1)


def test_the_line_of_the_registry_makes_a_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = re.findall(r"^DEFENCES\[.*$", PAGES["a-defence"], re.MULTILINE)
    copied("mitigation.py", "nc_tf.mitigation.clipping")
    monkeypatch.setattr(registry, "DEFENCES", dict(registry.DEFENCES))
    monkeypatch.setattr(main, "DEFENCES", registry.DEFENCES)
    exec(line, {"DEFENCES": registry.DEFENCES, "Defence": registry.Defence})  # noqa: S102  # our own page
    with pytest.raises(SystemExit) as left:
        main.main(["clip", "--help"])
    assert left.value.code == 0
    assert "--accuracy-bound" in capsys.readouterr().out


@pytest.mark.parametrize(("page", "template"), [("an-attack", "attack.py"), ("a-defence", "mitigation.py")])
def test_the_page_shows_its_template(page: str, template: str) -> None:
    assert f'--8<-- "docs/templates/{template}"' in PAGES[page]
    assert f"docs/templates/{template}" in PAGES[page].replace(f'"docs/templates/{template}"', "")
