"""Networks of other forms as classifiers of images: one sigmoid output, flat input, several outputs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import ops, tree

from nc_tf.errors import InputError, quote
from nc_tf.models.ends import Ending, ImageShape, check_ends, chosen_output, ending_of, output_names, reshaped_from
from nc_tf.models.keras_internals import Functional, call_of, graph_inside, maker_of, run_graph


@dataclass(frozen=True, eq=False)
class Form:
    """How a network was made a classifier of images.

    Attributes:
        original: the network as it was given.
        image_shape: of the images that are reshaped to its input; None where it takes images as they are.
        output: which of its outputs has the class scores, in the order of `original.outputs`.
        ending: of an only value, what it means; None where there is a score a class.
    """

    original: keras.Model
    image_shape: ImageShape | None
    output: int
    ending: Ending | None

    def around(self, network: keras.Model) -> keras.Model:
        """A classifier of images around a network of the form of `original`, whose layers it shares."""
        given = network.inputs[0]
        images = keras.Input(self.image_shape or given.shape[1:], dtype=given.dtype)
        entered = images if self.image_shape is None else ops.reshape(images, (-1, *given.shape[1:]))
        if type(network).call in (Functional.call, keras.Sequential.call):
            answers = run_graph(graph_inside(network), [entered])  # layer by layer, so that they can be found, frozen and cut
        else:
            answers = network(entered)
        scores = _a_score_a_class(tree.flatten(answers)[self.output], self.ending)
        classifier = keras.Model(images, scores, name=network.name)
        classifier.nc_tf_form = replace(self, original=network)
        return classifier


def _a_score_a_class(answers: Any, ending: Ending | None) -> Any:
    """Scores (N, 2) for an only value (N, 1): probabilities that sum to 1, or logits whose softmax is what the value stands for."""
    if ending is None:
        return answers
    return ops.concatenate([ops.zeros_like(answers) if ending is Ending.LOGIT else 1 - answers, answers], axis=-1)


def adapt(
    model: keras.Model, *, output: str | None = None, image_shape: Sequence[int] | None = None, name: str = "the model"
) -> keras.Model:
    """Make a network a classifier, images (N, H, W, C) or clips -> scores (N, classes).

    Where it is one, it comes back as it is. Otherwise a functional model around its layers comes back: to train it is to train the
    network, which keeps its form.

    Args:
        model: Sequential or functional, with one input: images, clips, gray images (N, H, W), or flat ones (N, values). It puts out
            a score a class; or one value (N, 1), either through a sigmoid, for class 1 where it is above .5, or without an activation,
            for class 1 where it is above 0.
        output: of several outputs the one with the scores: its key in a dict, the name of its layer, or its number from 0.
        image_shape: (H, W, C) or (T, H, W, C) of what a flat input holds; by default a square with 1 or 3 channels.
        name: what messages call the model, usually a path.

    Returns:
        A classifier; of a network with one value its classes are 0 and 1, with probabilities or logits as before.

    Raises:
        InputError: no such network, or a choice that is missing or does not fit; docs/reference/model-files.md lists the messages.
    """
    form = _form(model)
    if form is not None:
        if output is None and image_shape is None:
            return model
        model = form.original
    check_ends(model, name)
    number = chosen_output(model, output, name)
    shape = reshaped_from(model, None if image_shape is None else tuple(image_shape), name)
    form = Form(model, shape, number, ending_of(model, number, name))
    in_a_list_or_dict = not all(isinstance(end, keras.KerasTensor) for end in (graph_inside(model).input, graph_inside(model).output))
    classifier = form.around(model) if in_a_list_or_dict or shape or form.ending else model
    _check_classifier(classifier, name)
    return classifier


def adapt_to(model: keras.Model, image_shape: Sequence[int], name: str = "the model") -> keras.Model:
    """`adapt` to images at hand: their shape, (H, W, C), (T, H, W, C) or (H, W), says what a flat input holds where it can.

    Raises:
        InputError: as `adapt`.
    """
    shape = tuple(image_shape) + (1,) * (len(image_shape) == 2)
    inputs = getattr(model, "inputs", None) or []
    own = tuple(inputs[0].shape[1:]) if len(inputs) == 1 else ()
    says = _form(model) is None and len(own) in (1, 2) and len(shape) in (3, 4) and None not in own
    return adapt(model, image_shape=shape if says and math.prod(own) == math.prod(shape) else None, name=name)


def original_form(model: keras.Model) -> keras.Model:
    """The network that `adapt` made this model of, with the same weights; any other model itself."""
    form = _form(model)
    return model if form is None else form.original


def adapted_like(network: keras.Model, model: keras.Model) -> keras.Model:
    """A classifier around a network of the form that `model` had before `adapt`, by the same choices."""
    form = _form(model)
    return network if form is None else form.around(network)


def to_train(classifier: keras.Model) -> keras.Model:
    """The same layers as a model to be trained: of a network with one sigmoid the one that answers its value (N, 1), else the classifier.

    A confident sigmoid is 0 or 1 to the last digit, where 1 minus it has no gradient any more; the loss that Keras has for a sigmoid
    finds the logit in front of it.
    """
    form = _form(classifier)
    if form is None or form.ending is not Ending.PROBABILITY:
        return classifier
    joined, call, _ = maker_of(classifier.outputs[0])
    return keras.Model(classifier.inputs[0], call_of(joined, call).input_tensors[-1], name=classifier.name)


def what_was_adapted(model: keras.Model) -> dict[str, Any]:
    """Return what `verdict.json` says of an adapted model: `adapted`, `output` and `own_input_shape`, each where it applies."""
    form = _form(model)
    if form is None:
        return {}
    facts: dict[str, Any] = {}
    words = [str(form.ending)] if form.ending else []
    if form.image_shape is not None:
        facts["own_input_shape"] = list(form.original.inputs[0].shape[1:])
        words.append(f"input {tuple(facts['own_input_shape'])} for images {form.image_shape}")
    if len(form.original.outputs) > 1:
        facts["output"] = output_names(form.original)[form.output]
        words.append(f"output {quote(facts['output'])} of {len(form.original.outputs)}")
    return facts | ({"adapted": ", ".join(words)} if words else {})


def _form(model: Any) -> Form | None:
    return getattr(model, "nc_tf_form", None)


def _check_classifier(model: keras.Model, name: str) -> None:
    """Check the shapes that an adapted model has: images or clips with known channels, and a score a class.

    Raises:
        InputError: they are others.
    """
    shape, scores = tuple(model.inputs[0].shape), tuple(model.outputs[0].shape)
    if shape[-1] is None:
        raise InputError(f"{name}: the network reads {shape}, channels unknown; expected a number last; rebuild it with fixed channels")
    if len(scores) != 2 or scores[-1] is None:
        raise InputError(f"{name}: the network puts out arrays of shape {scores}; expected class scores (N, classes); flatten first")
