"""Cuts the layers of a model into stages and blocks, for the summary and the picture."""

import dataclasses
import re

# Names of the builders of this package, and of keras.applications: what comes before the block.
_STAGE_NAMES = re.compile(r"(stem|head|stage\d+)(?=_)")


@dataclasses.dataclass(frozen=True)
class Stage:
    """Layers that belong together.

    Attributes:
        name: "stem", "stage2", "head", or else the output stride, as "stride 4".
        layers: Positions in the table.
    """

    name: str
    layers: tuple[int, ...]


def stages(table):
    """Return the stages of an analysed model, in order.

    Layers whose names begin with "stem_", "stage2_" or "head_" belong to these, and those between
    to the one before. Models with other names are cut by the stride of the feature map; what
    comes when there is no map any more is the head.

    Args:
        table: The `Analysis` of a model.
    """
    if not table.layers:
        return []
    found = [_named_stage(layer) for layer in table.layers]
    if sum(name is not None for name in found) * 2 < len(found):
        found = [_stride(table, place) for place in range(len(table.layers))]
    # What stands before the first name, such as the normalisation of the images, belongs to it.
    names, last = [], next((name for name in found if name), "model")
    for name in found:
        last = name or last
        names.append(last)
    # Side branches interleave with the stages beside them: a stage is where its name first comes.
    order = list(dict.fromkeys(names))
    return [
        Stage(name, tuple(place for place, each in enumerate(names) if each == name))
        for name in order
    ]


def _named_stage(layer):
    if layer.name in ("logits", "predictions"):
        return "head"
    match = _STAGE_NAMES.match(layer.name)
    return match[1] if match else None


def _stride(table, place):
    """Return the stride of the map that a layer makes; "head" where there is none any more."""
    layer = table.layers[place]
    if layer.receptive_field is None:
        # A gate: its place is with the map that it multiplies. The head is what no map follows.
        return None if _leads_to_map(table, place) else "head"
    return f"stride {layer.stride:g}"


def _leads_to_map(table, place):
    reached = {place}
    for later in range(place + 1, len(table.layers)):
        if reached.intersection(table.layers[later].inputs):
            if table.layers[later].receptive_field is not None:
                return True
            reached.add(later)
    return False


def stage_names(table):
    """Return the name of the stage of each layer, by its position."""
    return {place: stage.name for stage in stages(table) for place in stage.layers}
