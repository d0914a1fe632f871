"""Private names of Keras: each still means what `keras_internals` says, and no other module uses one."""

import ast
import copy
import io
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from keras.src.saving import serialization_lib

from nc_tf.models import keras_internals as internals

PACKAGE = Path(internals.__file__).resolve().parents[1]
# Private names that belong to Python, NumPy, Pillow or Ray, and modules of nc_tf's own.
NOT_KERAS = {"_replace", "_asdict", "_fields", "_exit", "_matrix", "_private", "_version"}


def network() -> keras.Model:
    image = keras.Input((4, 4, 3), name="image")
    hidden = layers.Conv2D(2, 3, name="conv")(image)
    flat = layers.Flatten(name="flat")(hidden)
    return keras.Model(image, layers.Dense(5, name="out")(flat))


def test_a_graph_is_followed_back() -> None:
    model = network()
    operation, call, place = internals.maker_of(model.outputs[0])
    assert (operation.name, call, place) == ("out", 0, 0)
    (before,) = internals.call_of(operation, call).input_tensors
    assert internals.maker_of(before)[0].name == "flat"
    first = internals.call_of(model.layers[0], 0)
    assert isinstance(first, internals.Node)
    assert first.is_input
    levels = internals.nodes_by_depth(model)
    assert [[node.operation.name for node in levels[depth]] for depth in sorted(levels)] == [["out"], ["flat"], ["conv"], ["image"]]
    assert internals.nodes_by_depth(layers.Dense(2)) == {}
    assert isinstance(model, internals.Functional)


def test_layers_inside_of_layers_are_found() -> None:
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="deep")], name="inner")
    model = keras.Sequential([keras.Input((3,)), inner])
    assert "deep" in [layer.name for layer in internals.flat_layers(model)]
    assert model not in list(internals.flat_layers(model, include_self=False))
    assert "deep" in [layer.name for layer in internals.inner_layers(inner)]


def test_variables_are_those_of_the_layer_itself() -> None:
    layer = layers.BatchNormalization()
    layer.build((None, 3))
    assert [[variable.name for variable in part] for part in internals.own_variables(layer)] == [
        ["gamma", "beta"],
        ["moving_mean", "moving_variance"],
    ]
    assert internals.own_variables(network()) == ([], [])


def test_a_sequential_holds_a_functional_model_when_it_is_connected() -> None:
    model = keras.Sequential()
    assert not internals.is_connected(model)
    model.add(keras.Input((3,)))
    model.add(layers.Dense(2))
    assert internals.is_connected(model)
    assert internals.nodes_by_depth(internals.graph_inside(model))
    dense = layers.Dense(2)
    assert internals.graph_inside(dense) is dense


def test_layers_are_connected_by_the_method_that_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(getattr(keras.Sequential, internals.REBUILD))
    monkeypatch.setattr(keras.Sequential, internals.REBUILD, lambda _: None)
    model = keras.Sequential()
    model.add(keras.Input((3,)))
    model.add(layers.Dense(2))
    assert not internals.is_connected(model)


def test_a_graph_is_run_with_other_operations() -> None:
    model = network()
    assert internals.input_structure(model) is not None
    images = np.ones((2, 4, 4, 3), np.float32)
    np.testing.assert_allclose(internals.run_graph(model, images), model(images), atol=1e-6)
    ran: list[str] = []

    def named(operation: keras.Operation) -> keras.Operation:
        ran.append(operation.name)
        return operation

    internals.run_graph(model, images, named)
    assert ran == ["conv", "flat", "out"]


def test_the_operations_are_classes_of_what_a_graph_holds() -> None:
    image = keras.Input((3,))
    for made, kind in (
        (keras.ops.stop_gradient(image), internals.core_operations.StopGradient),
        (keras.ops.softmax(image), internals.nn_operations.Softmax),
        (image + 1.0, internals.numpy_operations.Add),
    ):
        assert isinstance(internals.maker_of(made)[0], kind)


def test_a_lambda_knows_its_output_shape() -> None:
    assert internals.lambda_output_shape(layers.Lambda(lambda x: x, output_shape=(7,))) == (7,)


def test_a_quantized_kernel_is_divided_by_its_scale() -> None:
    layer = layers.EinsumDense("abc,cd->abd", output_shape=(None, 4))
    layer.build((None, 2, 3))
    kernel, inputs = np.array(layer.kernel), np.ones((1, 2, 3), np.float32)
    before = np.array(layer(inputs))
    layer.quantize("int8")
    scale = internals.dequantization_scale(layer, np.array(layer.kernel_scale))
    np.testing.assert_allclose(np.array(layer._kernel, np.float32) / scale, kernel, atol=0.02)
    np.testing.assert_allclose(layer(inputs), before, atol=0.1)


@pytest.mark.parametrize(("activation", "known"), [("softmax", True), (None, False)])
def test_the_losses_find_logits_behind_a_softmax(activation: str | None, known: bool) -> None:
    answers = layers.Dense(3, activation=activation)(tf.ones((1, 2)))
    assert internals.finds_logits(answers) is known


def test_public_names_lead_to_their_objects() -> None:
    assert internals.public_object("keras.layers.Dense") is layers.Dense
    assert internals.public_object("keras.layers.NoSuchLayer") is None


def test_architecture_and_weights_lie_in_an_open_hdf5_file() -> None:
    with h5py.File(io.BytesIO(), "w") as file:
        internals.save_hdf5(network(), file)
        assert "model_config" in file.attrs
        assert "optimizer_weights" not in file
        assert list(file["model_weights"]) == ["conv", "flat", "image", "out", "top_level_model_weights"]


def test_the_random_state_of_keras_can_be_restored() -> None:
    before = internals.keras_random_state()
    keras.utils.set_random_seed(77)
    keras.random.uniform([])  # makes the generator
    seeded = internals.keras_random_state()
    assert 77 in seeded.values()
    assert [value for value in seeded.values() if isinstance(value, keras.random.SeedGenerator)]
    expected = float(keras.random.uniform([]))
    keras.utils.set_random_seed(78)
    assert 78 in internals.keras_random_state().values()
    keras.utils.set_random_seed(77)
    keras.random.uniform([])
    assert float(keras.random.uniform([])) == expected, "the seed decides"
    internals.set_keras_random_state(before)
    assert internals.keras_random_state() == before


def test_objects_of_a_scope_are_found_by_name() -> None:
    class Own(layers.Layer):
        pass

    assert "Own" not in internals.scoped_custom_objects()
    with keras.saving.custom_object_scope({"Own": Own}):
        assert internals.scoped_custom_objects()["Own"] is Own
        assert "Own" not in keras.saving.get_custom_objects()
    assert "Own" not in internals.scoped_custom_objects()


def test_variables_made_without_memory_have_a_shape() -> None:
    layer = layers.Dense(3)
    with internals.variables_without_memory() as made:
        assert made() == []
        layer.build((None, 2))
        assert [(variable.name, variable.shape) for variable in made()] == [("kernel", (2, 3)), ("bias", (3,))]
    with keras.StatelessScope():
        pass  # its end allocates what Keras remembers
    assert layer.kernel._value is None


def test_the_eager_context_holds_tensorflows_random_state() -> None:
    tf.random.set_seed(78)
    assert internals.tensorflow_state()["_seed"] == 78
    assert "_rng" in internals.tensorflow_state()


def test_layers_say_whether_they_take_training() -> None:
    assert internals.takes_training(layers.Dropout(0.5))
    assert not internals.takes_training(layers.Flatten())


def test_operations_of_a_scratch_graph_are_not_run() -> None:
    with internals.scratch_graph() as graph:
        made = tf.ones((2, 3)) + 1.0
    assert made.graph is graph
    assert not tf.is_tensor(made) or not hasattr(made, "_numpy")


def test_scopes_are_context_managers() -> None:
    with internals.SymbolicScope():
        pass


def test_a_file_shares_objects_by_their_ids() -> None:
    config = {**keras.saving.serialize_keras_object(layers.Dense(2)), "shared_object_id": 5}
    with internals.shared_objects():
        first, second = (keras.saving.deserialize_keras_object(copy.deepcopy(config)) for _ in range(2))
    assert first is second


def test_layers_at_one_address_are_not_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serialization_lib, "id", lambda _: 7, raising=False)  # a layer that is gone frees its address for the next
    config = keras.saving.serialize_keras_object(layers.Bidirectional(layers.SimpleRNN(3)))
    with internals.shared_objects():
        made = [keras.saving.deserialize_keras_object(copy.deepcopy(config)) for _ in range(2)]
    assert len({id(side) for layer in made for side in (layer.forward_layer, layer.backward_layer)}) == 4


def private_uses(source: str, own: set[str]) -> list[str]:
    """Return private modules that are imported and private attributes of other objects that are read."""
    found = []
    for node in ast.walk(ast.parse(source)):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found += [f"import of {module}" for module in modules if module.startswith(("keras.src", "tensorflow.python"))]
        if isinstance(node, ast.Attribute) and node.attr == "__internal__":
            found.append(f"{node.lineno}: .{node.attr}")
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr") and len(node.args) > 1:
            name = node.args[1].value if isinstance(node.args[1], ast.Constant) else None
            if isinstance(name, str) and name.startswith("_") and not name.startswith("__"):
                found.append(f"{node.lineno}: {name!r}")
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__") and node.attr not in own:
            found.append(f"{node.lineno}: .{node.attr}")
    return found


def own_private_names(sources: list[str]) -> set[str]:
    """Return the private names that nc_tf itself defines: functions, and attributes that it sets on `self`."""
    names = set(NOT_KERAS)
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and getattr(node.value, "id", "") == "self":
                names.add(node.attr)
    return names


def test_no_other_module_uses_a_private_name_of_keras() -> None:
    others = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py") if path != Path(internals.__file__)}
    own = own_private_names(list(others.values()))
    found = [f"{path.relative_to(PACKAGE)}:{use}" for path, text in others.items() for use in private_uses(text, own)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "from keras.src.models import Functional",
        "model._flatten_layers()",
        "x = tensor._keras_history",
        "import keras.src.ops",
        "getattr(model, '_functional', model)",
        "tf.__internal__.FuncGraph('x')",
    ],
)
def test_a_private_name_is_noticed(line: str) -> None:
    assert len(private_uses(line, own=set())) == 1
