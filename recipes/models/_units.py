"""Turns the layers of a model into the boxes of its picture, and these into blocks."""

import dataclasses

from recipes.models._stages import stage_names
from recipes.models.analysis import Analysis

# Layers that stand in the box of a convolution or another layer before or behind it.
_MINOR = (
    "batch norm",
    "layer norm",
    "group norm",
    "normalize",
    "rescale",
    "pad",
    "crop",
    "drop path",
    "flatten",
    "reshape",
    "dropout",
    "LayerScale",
    "Scale",
    "Identity",
    "UnitNormalization",
    "SpatialDropout2D",
)
_ACTIVATIONS = (
    "relu relu6 silu gelu elu sigmoid tanh softmax hard_silu hard_sigmoid leaky_relu prelu selu "
    "softplus mish linear exponential celu softsign"
)
_HIDDEN = ("pad", "crop", "linear", "Identity")


@dataclasses.dataclass
class Unit:
    """One box of the picture.

    Attributes:
        layers: Positions in the table, in order.
        major: The position of the layer that the box is named after, or `None` yet.
        inputs: Units whose outputs it takes; -1 is the input of the model.
    """

    layers: list
    major: int | None
    inputs: list


@dataclasses.dataclass(frozen=True)
class Segment:
    """Units between two places that everything passes: a residual block, or a single layer.

    Attributes:
        units: Their numbers, in order.
        exit: The unit through which everything leaves.
        last_exit: That of the last of the equal segments.
        repeats: How many such segments follow one another, of which this is the first.
    """

    units: tuple[int, ...]
    exit: int
    last_exit: int
    repeats: int = 1


def is_minor(label):
    """Return whether a layer is drawn as a part of its neighbour's box."""
    return label.split()[0] == "dropout" or label in _MINOR or label in _ACTIVATIONS.split()


def make_units(table: Analysis):
    """Return the units of a model in an order in which they can run.

    A layer joins the unit before it if nothing else stands between or beside them, both are of one
    stage, and one of the two is a minor one, such as a normalisation or an activation.
    """
    consumers = _consumers([layer.inputs for layer in table.layers])
    stage_of = stage_names(table)
    units, unit_of = [], {-1: -1}
    for place, layer in enumerate(table.layers):
        minor = is_minor(layer.label)
        before = layer.inputs[0] if layer.inputs else -1
        joins = (
            before >= 0
            and set(layer.inputs) == {before}
            and consumers[before] == {place}
            and before not in table.outputs
            and stage_of[before] == stage_of[place]
        )
        unit = units[unit_of[before]] if joins else None
        if unit is not None and (unit.major is None or (minor and layer.label != "pad")):
            unit.layers.append(place)
            unit_of[place] = unit_of[before]
            if not minor:
                unit.major = place
        else:
            unit_of[place] = len(units)
            inputs = list(dict.fromkeys(unit_of[each] for each in layer.inputs))
            units.append(Unit([place], None if minor else place, inputs))
    return units


def _consumers(inputs):
    consumers = {place: set() for place in range(-1, len(inputs))}
    for place, sources in enumerate(inputs):
        for source in sources:
            consumers[source].add(place)
    return consumers


def make_segments(table, units, fold=True):
    """Return the segments of a model, equal ones that follow one another as one.

    Args:
        table: The `Analysis` of the model.
        units: Its units.
        fold: Whether to take equal segments together.
    """
    trunk = _trunk(table, units)
    anchors = _anchors(units, trunk)
    segments, before = [], -1
    cut = _cut(units, trunk)
    for index, members in enumerate(cut):
        # Side branches, such as auxiliary classifiers, stand beside the segment that follows the
        # place where they leave.
        is_last = index + 1 == len(cut)
        leaving = {before, *members[: None if is_last else -1]}
        aside = [number for number, anchor in anchors.items() if anchor in leaving]
        segments.append(Segment(tuple(sorted([*members, *aside])), members[-1], members[-1]))
        before = members[-1]
    return _folded(table, units, segments) if fold else segments


def _cut(units, trunk):
    """Return lists of units, each ending in one that everything passes."""
    last_use = dict.fromkeys((-1, *trunk), -1)
    for number in sorted(trunk):
        last_use.update(dict.fromkeys(units[number].inputs, number))
    cut, members, reach = [], [], last_use[-1]
    for number in sorted(trunk):
        members.append(number)
        if reach <= number:
            cut.append(members)
            members = []
        reach = max(reach, last_use[number])
    return [*cut, members] if members else cut


def _trunk(table, units):
    """Return the units that the output with the longest way needs."""
    unit_of = {place: number for number, unit in enumerate(units) for place in unit.layers}
    needed = {-1: set()}
    for number, unit in enumerate(units):
        needed[number] = {number}.union(*(needed[source] for source in unit.inputs))
    ways = [needed[unit_of[place]] for place in table.outputs if place >= 0]
    return max(ways, key=len) if ways else set(needed) - {-1}


def _anchors(units, trunk):
    """Return for each unit beside the trunk the last unit of the trunk that it depends on."""
    anchor = {}
    for number, unit in enumerate(units):
        if number not in trunk:
            places = [each if each in trunk else anchor.get(each, -1) for each in unit.inputs]
            anchor[number] = max(places, default=-1)
    return anchor


def _folded(table, units, segments):
    folded, last = [], None
    for segment in segments:
        signature = _signature(table, units, segment)
        if folded and len(segment.units) > 1 and signature == last:
            folded[-1] = dataclasses.replace(
                folded[-1], repeats=folded[-1].repeats + 1, last_exit=segment.exit
            )
        else:
            folded.append(segment)
        last = signature
    return folded


def _signature(table, units, segment):
    """Return all that is drawn of a segment: equal signatures, equal pictures."""
    place = {number: index for index, number in enumerate(segment.units)}
    return tuple(
        (
            unit_texts(table, units[number]),
            table.layers[units[number].layers[-1]].output_shape,
            tuple(place.get(each, -1) for each in units[number].inputs),
        )
        for number in segment.units
    )


def unit_texts(table, unit):
    """Return the two lines in the box of a unit: what it is, and what stands around that."""
    labels = [table.layers[place].label for place in unit.layers]
    if unit.major is None:
        shown = [label for label in labels if label not in _HIDDEN] or labels[-1:]
        return ", ".join(_short(label) for label in shown), ""
    layer = table.layers[unit.major]
    label, _, activation = layer.label.partition(", ")
    head, slash, stride = label.partition(" /")
    has_channels = any(
        word in label for word in ("conv", "dense", "transposed", "separable", "concat")
    )
    primary = f"{head}, {layer.output_shape[-1]}" if has_channels else head
    before, after = [], [activation] if activation else []
    for place in unit.layers:
        text = table.layers[place].label
        if place != unit.major and text not in _HIDDEN:
            (before if place < unit.major else after).append(_short(text))
    # The triangle is the layer that the box is named after.
    around = [" · ".join(before) + " ▸"] if before else []
    return primary + slash + stride, " ".join([*around, " · ".join(after)]).strip()


def _short(label):
    return {"batch norm": "BN", "layer norm": "LN", "group norm": "GN"}.get(label, label)
