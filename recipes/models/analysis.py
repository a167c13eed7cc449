"""What each layer of a model costs and sees: the table behind `model_info` and `summarize`."""

import dataclasses
import math
from fractions import Fraction

from recipes.errors import ConfigError
from recipes.models import _geometry, flops, memory
from recipes.models._labels import label_of
from recipes.models.receptive_field import Field
from recipes.models.replay import check_replayable, trace


@dataclasses.dataclass(frozen=True)
class LayerReport:
    """One line of the table: one call of a layer.

    Attributes:
        name: Of the layer, behind those of the models and blocks that it stands in.
        kind: Its class.
        label: What it does, as "3x3 conv /2".
        output_shape: With the batch first, which is `None`.
        parameters: Numbers in the weights that it has first; 0 where a shared layer comes again.
        trainable: Those of them that an optimizer would train.
        multiply_adds: For one image; `None` if they could not be counted.
        other_operations: Additions, comparisons and functions, value by value, for one image.
        field: Along height and width, the receptive `Field` of its output, or `None` where the
            output sees the whole image.
        inputs: Positions in the table of the layers that it takes its inputs from; -1 is the input
            of the model.
    """

    name: str
    kind: str
    label: str
    output_shape: tuple
    parameters: int
    trainable: int
    multiply_adds: int | None
    other_operations: int
    field: tuple[Field | None, ...]
    inputs: tuple[int, ...]

    @property
    def receptive_field(self):
        """Pixels that an output sees, the larger of height and width; `None` for all of them."""
        sizes = [field.size for field in self.field if field is not None]
        return math.ceil(max(sizes)) if sizes else None

    @property
    def stride(self):
        """Pixels from output to output, or `None`; a fraction behind upsampling."""
        strides = [field.stride for field in self.field if field is not None]
        return plain(max(strides)) if strides else None


@dataclasses.dataclass(frozen=True)
class Analysis:
    """What is known about a model, layer by layer.

    Attributes:
        name: Of the model.
        input_shape: Of the image, or of the first input, with the batch first.
        output_shapes: Of each output.
        layers: One `LayerReport` a call.
        outputs: Positions in `layers` of what the model returns; -1 is its input.
        features: Position of the feature map whose receptive field is the model's: the one that
            sees most without seeing everything; `None` if there is none.
        sees_all: Whether something before that map saw the whole image, such as the gate of a
            squeeze-and-excitation block, so that its field is that of the convolutions alone.
        inference_bytes: Estimate of `recipes.models.memory` for one image.
        training_bytes: Likewise.
        remarks: What was assumed or could not be counted, one line each.
    """

    name: str
    input_shape: tuple
    output_shapes: tuple[tuple, ...]
    layers: tuple[LayerReport, ...]
    outputs: tuple[int, ...]
    features: int | None
    sees_all: bool
    inference_bytes: int
    training_bytes: int
    remarks: tuple[str, ...]

    @property
    def parameters(self):
        """Numbers in all weights."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def trainable(self):
        """Numbers in the weights that an optimizer would train."""
        return sum(layer.trainable for layer in self.layers)

    @property
    def multiply_adds(self):
        """For one image, as papers count: of convolutions, dense layers and matrix products."""
        return sum(layer.multiply_adds or 0 for layer in self.layers)

    @property
    def other_operations(self):
        """For one image: additions, comparisons and functions, value by value."""
        return sum(layer.other_operations for layer in self.layers)

    @property
    def field(self):
        """The receptive `Field` of the feature map, of the longer axis; or `None`."""
        if self.features is None:
            return None
        fields = [field for field in self.layers[self.features].field if field is not None]
        return max(fields, key=lambda field: field.size)


def analyze(model, input_shape=None) -> Analysis:
    """Return what each layer of a model costs and sees.

    Nested models are opened, and so are composite layers whose `call` is made of layers and
    functions of `keras.ops`. A shared layer has one line for each call; its parameters are counted
    once. Normalisations count as if they looked at single values, as is usual, though some average
    over the map.

    Args:
        model: A functional or sequential `keras.Model` with channels last.
        input_shape: `(height, width, channels)`, or the side of a square image, for a model that
            leaves the size open.

    Raises:
        ConfigError: If the model is a subclass with a `call` of its own, or a size is unknown or
            does not fit.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
        >>> table = analyze(model)
        >>> table.multiply_adds, table.parameters, int(table.field.size)
        (3888, 112, 3)
    """
    check_replayable(model, "analyze")
    graph = trace(model, image_shape(model, input_shape))
    for value in graph.inputs:
        if None in value.shape[1:]:
            raise ConfigError(
                f"{model.name} leaves the size of its images open: give an input_shape"
            )
    geometry = geometries(graph)
    layers = _reports(graph, geometry)
    position = _producers(graph)
    features = _features(graph, layers, position)
    return Analysis(
        name=graph.name,
        input_shape=graph.inputs[0].shape,
        output_shapes=tuple(value.shape for value in graph.outputs),
        layers=layers,
        outputs=tuple(position[value.number] for value in graph.outputs),
        features=features,
        sees_all=features is not None and geometry[_output(graph, features)].sees_all,
        inference_bytes=memory.inference_bytes(graph),
        training_bytes=memory.training_bytes(graph),
        remarks=_remarks(graph, layers, geometry),
    )


def image_shape(model, size):
    """Return the input shape that `size` means for a model: itself, or a square's for a number."""
    if size is None:
        return None
    if isinstance(size, int) and not isinstance(size, bool):
        if size < 1:
            raise ConfigError(f"input_shape must be positive, received: {size}")
        return (size, size, model.inputs[0].shape[-1])
    if not isinstance(size, (list, tuple)):
        raise ConfigError(
            "input_shape must be (height, width, channels) or the side of a square, "
            f"received: {size!r}"
        )
    return tuple(size)


def plain(number):
    """Return a whole fraction as an integer, another as a float; `None` stays."""
    if number is None:
        return None
    number = Fraction(number)
    return int(number) if number.denominator == 1 else float(number)


def geometries(graph):
    """Return the `Geometry` of each value of a graph, by its number."""
    known = {value.number: _geometry.image_geometry(value.shape) for value in graph.inputs}
    for call in graph.calls:
        results = _geometry.propagate(call, [known[value.number] for value in call.inputs])
        known.update(
            {value.number: each for value, each in zip(call.outputs, results, strict=True)}
        )
    return known


def _producers(graph):
    """Return the position of the call that makes each value; -1 for inputs."""
    position = {value.number: -1 for value in graph.inputs}
    for step, call in enumerate(graph.calls):
        position.update({value.number: step for value in call.outputs})
    return position


def _reports(graph, geometry):
    position, seen, reports = _producers(graph), set(), []
    for call in graph.calls:
        new = [weight for weight in call.weights if id(weight) not in seen]
        seen.update(map(id, new))
        reports.append(
            LayerReport(
                name=call.name,
                kind=type(call.operation).__name__,
                label=label_of(call.operation),
                output_shape=call.outputs[0].shape,
                parameters=_count(new),
                trainable=_count(weight for weight in new if id(weight) in call.trainable),
                multiply_adds=flops.multiply_adds(call),
                other_operations=flops.other_operations(call),
                field=geometry[call.outputs[0].number].fields[:-1],
                inputs=tuple(position[value.number] for value in call.inputs),
            )
        )
    return tuple(reports)


def _count(weights):
    return sum(math.prod(weight.shape) for weight in weights)


def _output(graph, position):
    return graph.calls[position].outputs[0].number


def _features(graph, layers, position):
    """Return the last of the feature maps with the largest field; an output's if one is local."""
    outputs = [position[value.number] for value in graph.outputs]
    local = [place for place in outputs if place >= 0 and layers[place].receptive_field]
    places = local or [place for place, layer in enumerate(layers) if layer.receptive_field]
    if not places:
        return None
    # Strides grow along the way; behind upsampling the last map has the smaller one.
    return max(places, key=lambda place: (layers[place].receptive_field, place))


def _remarks(graph, layers, geometry):
    remarks = []
    if graph.sealed:
        remarks.append(f"could not look into {_names(graph.sealed)}")
    uncounted = [layer.name for layer in layers if layer.multiply_adds is None]
    if uncounted:
        remarks.append(f"multiply-adds not counted in {_names(uncounted)}")
    assumed = [
        call.name
        for call in graph.calls
        if geometry[call.outputs[0].number].assumed
        and not any(geometry[value.number].assumed for value in call.inputs)
    ]
    if assumed:
        remarks.append(f"taken to work pixel by pixel: {_names(assumed)}")
    misaligned = _misaligned(graph, geometry)
    if misaligned:
        remarks.append(f"branches of other stride or centre meet in {_names(misaligned)}")
    return tuple(remarks)


def _misaligned(graph, geometry):
    """Return the names of the layers in which branches meet that do not agree."""

    def agrees(value):
        fields = geometry[value.number].fields
        return all(field is None or field.aligned for field in fields)

    return [
        call.name
        for call in graph.calls
        if not agrees(call.outputs[0]) and all(map(agrees, call.inputs))
    ]


def _names(names, most=3):
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
