"""The student with its teacher beside it: one graph, so that both see the very same images."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from recipes.errors import ConfigError, nearest
from recipes.layers.calibrated_softmax import CalibratedSoftmax
from recipes.models.outputs import ending, gives_probabilities
from recipes.models.replay import check_replayable, trace

# Below it, a probability says that its logit is at least 69 under the sum of all.
_LEAST_PROBABILITY = 1e-30


def distillation_model(
    student: keras.Model,
    teacher: keras.Model,
    *,
    hints: Mapping[str, str] | None = None,
    teacher_preprocessing: Callable[[Any], Any] | None = None,
) -> keras.Model:
    """Return the student with a frozen teacher beside it, for plain `compile` and `fit`.

    It shares the layers of the student by name and by weights: fitting it trains the student, and
    callbacks find those layers and weights. The teacher's are none of its weights: they are not
    trained, averaged, counted or saved. The teacher runs inside the training step, on the
    accelerator and on the whole batch, on the images that the student gets, in inference mode:
    batch statistics stay as they are. Evaluation and prediction do without it.

    In training the output is `(batch, 2, classes)`, the logits of student and teacher (with hints
    a third row, their error); in evaluation and prediction `(batch, classes)`, the student's
    logits, even if the student itself ends with a softmax. `DistillationLoss` and `LabelAccuracy`
    know both. Build it under the strategy that the student was built in. Save the student, not
    this.

    Args:
        student: Functional or sequential classifier of one input and one output `(batch,
            classes)`, logits or softmax. It must not augment images: the teacher would not see it.
        teacher: Likewise, of the same classes in the same order. Logits are taken from before a
            `CalibratedSoftmax` (without its temperature) or another softmax layer, otherwise from
            probabilities by the logarithm. Images of another size are resized (bilinear),
            grey images repeated for a teacher of colour.
        hints: Layers of the student and, each, the layer of the teacher that it is to imitate: of
            shapes `(batch, features)` or `(batch, height, width, channels)` of the same height and
            width. A 1x1 convolution between them is trained along, and is no part of the student.
        teacher_preprocessing: Function or layer on the student's images whose result the teacher
            gets, where it takes another range, such as `keras.layers.Rescaling(1 / 255)`.

    Returns:
        A functional model, not compiled; float32 output.

    Raises:
        ConfigError: If the two do not fit together; it says where.

    Example:
        >>> from tuning import DistillationLoss, LabelAccuracy
        >>> layers = keras.layers
        >>> student, teacher = (
        ...     keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(3)])
        ...     for _ in range(2)
        ... )
        >>> model = distillation_model(student, teacher)
        >>> model.compile("adam", DistillationLoss(temperature=4.0), metrics=[LabelAccuracy()])
        >>> history = model.fit(np.zeros((4, 8, 8, 1)), np.array([0, 1, 2, 0]), verbose=0)
        >>> model.predict(np.zeros((1, 8, 8, 1)), verbose=0).shape
        (1, 3)

    Source:
        Beyer et al., "Knowledge distillation: A good teacher is patient and consistent",
        https://arxiv.org/abs/2106.05237, section 3.1, "consistent teaching"; hints: Romero et al.,
        https://arxiv.org/abs/1412.6550, section 2.2.
    """
    hints = dict(hints or {})
    check_pair(student, teacher, teacher_preprocessing)
    pairs = [
        (_features("student", student, one), _features("teacher", teacher, other))
        for one, other in hints.items()
    ]
    own, own_scale = _logits_of(student)
    taught, taught_scale = _logits_of(teacher)
    view = keras.Model(teacher.inputs[0], [taught, *(other for _, other in pairs)])
    expected = tuple(view.inputs[0].shape)

    def teach(images):
        if teacher_preprocessing is not None:
            images = teacher_preprocessing(images)
        logits, *features = keras.tree.flatten(view(fit_images(images, expected), training=False))
        return [_as_logits(logits, taught_scale), *features]

    projected = [
        _projection(name, mine, theirs) for name, (mine, theirs) in zip(hints, pairs, strict=True)
    ]
    beside = _TeacherBeside(teach, own_scale, name="teacher_beside")
    outputs = beside([student.inputs[0], own, *projected])
    return keras.Model(student.inputs[0], outputs, name=f"{student.name}_with_teacher")


class _TeacherBeside(keras.layers.Layer):
    """Puts the teacher's logits next to the student's, in training alone.

    Args:
        teach: Function from images to the teacher's logits and features. The teacher is reached
            through it alone, so that Keras does not take its weights for this layer's.
        scale: How the student's output becomes logits, see `_logits_of`.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: Images, student's output, then the projected features of each hint.
        training: Whether to run the teacher.
    """

    def __init__(self, teach, scale, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.teach = teach
        self._scale = scale

    def call(self, inputs, training=False):
        """Return `(batch, classes)`, or `(batch, 2 or 3, classes)` in training."""
        images, outputs, *projected = inputs
        student = _as_logits(outputs, self._scale)
        if not training:
            return student
        teacher, *features = map(ops.stop_gradient, self.teach(images))
        rows = [student, teacher]
        if projected:
            errors = sum(map(_mean_squared_errors, projected, features))
            rows.append(ops.broadcast_to(errors[:, None], ops.shape(student)))
        return ops.stack(rows, axis=1)

    def compute_output_shape(self, input_shape):
        """Return the shape in inference."""
        return tuple(input_shape[1])

    def get_config(self):
        """Refuse: the file would have no teacher."""
        raise ConfigError("a distillation_model cannot be saved or cloned; save the student")


def check_pair(student, teacher, teacher_preprocessing=None):
    """Raise `ConfigError` unless `teacher` can teach `student`."""
    for name, model in (("student", student), ("teacher", teacher)):
        check_replayable(model, f"distillation ({name})")
        shapes = [tuple(tensor.shape) for tensor in model.outputs]
        if len(model.inputs) != 1 or len(shapes) != 1 or len(shapes[0]) != 2:
            raise ConfigError(
                f"{name} must have one input and one output of shape (batch, classes); "
                f"{model.name!r} has {len(model.inputs)} inputs and outputs of shape {shapes}"
            )
        if shapes[0][1] == 1:
            raise ConfigError(f"{name} {model.name!r} has one output, expected one a class")
    _check_classes(student, teacher)
    if {id(weight) for weight in student.weights} & {id(weight) for weight in teacher.weights}:
        raise ConfigError("student and teacher share weights: the teacher would change; clone one")
    for call in trace(student, open_composites=False).calls:
        kind = type(call.operation)
        if kind.__name__.startswith("Random") or kind.__module__.partition(".")[0] == "augment":
            raise ConfigError(
                f"student augments images inside, in layer {call.name!r}, where the teacher does "
                "not see it; augment in the data"
            )
    if teacher_preprocessing is None:
        _check_images(tuple(student.inputs[0].shape), tuple(teacher.inputs[0].shape))


def fit_images(images, expected):
    """Return images of the size and the number of channels that a model takes.

    Args:
        images: Shape `(batch, height, width, channels)`.
        expected: Shape of what the model takes, with `None` for what is free.
    """
    shape = tuple(images.shape)
    _check_images(shape, expected)
    if len(expected) != 4 or all(
        wanted in (None, size) for size, wanted in zip(shape[1:], expected[1:], strict=True)
    ):
        return images
    images = ops.cast(images, "float32")
    size = tuple(wanted or own for own, wanted in zip(shape[1:3], expected[1:3], strict=True))
    if None in shape[1:3]:
        images = ops.image.resize(images, size, interpolation="bilinear")
    elif size != shape[1:3]:
        rows, columns = map(resize_matrix, shape[1:3], size)
        images = ops.einsum("bhwc,yh,xw->byxc", images, rows, columns)
    if shape[3] == 1 and expected[3] == 3:
        images = ops.repeat(images, 3, axis=3)
    return images


def resize_matrix(size, wanted):
    """Return the matrix by which `size` pixels in a row become `wanted`: bilinear, antialiased.

    A product with it is what `tf.image.resize` computes, whose antialiasing XLA cannot compile.

    Returns:
        Array, float32, shape `(wanted, size)`; each row sums to 1.

    Example:
        >>> resize_matrix(2, 4).round(2).tolist()
        [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    """
    scale = size / wanted
    centres = (np.arange(wanted)[:, None] + 0.5) * scale
    distances = np.abs(np.arange(size) + 0.5 - centres) / max(scale, 1)
    weights = np.maximum(0, 1 - distances)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _check_images(shape, expected):
    image = len(shape) == len(expected) == 4
    same = len(shape) == len(expected) and all(
        wanted in (None, size) for size, wanted in zip(shape[1:], expected[1:], strict=True)
    )
    if same or (image and (expected[3] in (None, shape[3]) or (shape[3], expected[3]) == (1, 3))):
        return
    raise ConfigError(
        f"the teacher takes images of shape {expected}, the student's are {shape}; "
        "teacher_preprocessing can change them"
    )


def _check_classes(student, teacher):
    counts = [model.outputs[0].shape[1] for model in (student, teacher)]
    if counts[0] != counts[1]:
        raise ConfigError(
            f"student {student.name!r} has {counts[0]} classes, teacher {teacher.name!r} has "
            f"{counts[1]}: expected the same"
        )
    names = [getattr(ending(model)[0], "class_names", None) for model in (student, teacher)]
    if None not in names and names[0] != names[1]:
        place = next(number for number in range(counts[0]) if names[0][number] != names[1][number])
        raise ConfigError(
            f"class {place} of the student is {names[0][place]!r}, of the teacher "
            f"{names[1][place]!r}: expected the same classes in the same order"
        )


def _logits_of(model):
    """Return a tensor of the model's graph and how it becomes logits.

    The second is `None` where it is logits, or else by what the logarithm is to be multiplied.
    """
    output = model.outputs[0]
    layer, activation = ending(model)
    if activation is None:
        return output, 1.0 if gives_probabilities(model) else None
    if activation not in ("softmax", "linear"):
        raise ConfigError(
            f"{model.name!r} ends with {activation}, expected logits or a softmax over the classes"
        )
    if activation == "linear":
        return output, None
    before = _input_of(layer, output)
    if before is not None:
        return before, None
    return output, getattr(layer, "temperature", 1.0)


def _input_of(layer, output):
    """Return what a layer that is a softmax and nothing else got, if it made `output`."""
    if not isinstance(layer, (CalibratedSoftmax, keras.layers.Softmax, keras.layers.Activation)):
        return None
    try:
        return layer.input if layer.output is output else None
    except (AttributeError, ValueError):
        return None  # inside a nested model, or called more than once


def _as_logits(outputs, scale):
    outputs = ops.cast(outputs, "float32")
    if scale is None:
        return outputs
    return scale * ops.log(ops.maximum(outputs, _LEAST_PROBABILITY))


def _features(role, model, name):
    known = {layer.name: layer for layer in model.layers}
    if name not in known:
        raise ConfigError(f"hints: {role} has no layer {name!r}{nearest(str(name), known)}")
    features = known[name].output
    if not isinstance(features, keras.KerasTensor) or len(features.shape) not in (2, 4):
        raise ConfigError(
            f"hints: layer {name!r} of the {role} must give (batch, features) or "
            f"(batch, height, width, channels)"
        )
    return features


def _projection(name, mine, theirs):
    """Return the student's features in the number of channels of the teacher's."""
    if tuple(mine.shape[:-1]) != tuple(theirs.shape[:-1]):
        raise ConfigError(
            f"hints: layer {name!r} of the student gives {tuple(mine.shape)}, that of the teacher "
            f"{tuple(theirs.shape)}: expected the same height and width"
        )
    channels = theirs.shape[-1]
    if len(mine.shape) == 4:
        return keras.layers.Conv2D(channels, 1, name=f"hint_{name}")(mine)
    return keras.layers.Dense(channels, name=f"hint_{name}")(mine)


def _mean_squared_errors(projected, features):
    """Return the mean over all but the batch, float32, shape `(batch,)`."""
    difference = ops.cast(projected, "float32") - ops.cast(features, "float32")
    return ops.mean(ops.square(difference), axis=tuple(range(1, len(difference.shape))))
