"""What of a network trains: freezing, unfreezing, and a policy for batch normalisation."""

import dataclasses
import math
import re
from collections.abc import Callable

import keras

from callbacks._layers import walk
from recipes.errors import ConfigError, nearest

BATCH_NORM_POLICIES = ("frozen", "affine", "train")
_STAGE = re.compile(r"stage\d+(?=_|$)")
_POOLINGS = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)


@dataclasses.dataclass(frozen=True)
class Trainable:
    """What of a model is trainable.

    Attributes:
        parameters: Trainable parameters.
        total: All parameters.
        groups: `(name, trainable, all)` parameters of each group of `layer_groups`, first to last.
        batch_norm: Batch-normalisation layers by what they do in training: `"frozen"`, `"affine"`
            or `"train"`.
        recompile: Whether the model was compiled for other variables and must be compiled again.
    """

    parameters: int
    total: int
    groups: tuple[tuple[str, int, int], ...]
    batch_norm: dict[str, int]
    recompile: bool = False

    def __str__(self):
        share = 100 * self.parameters / max(self.total, 1)
        lines = [f"{self.parameters:,} of {self.total:,} parameters are trainable ({share:.1f} %)"]
        lines += [
            f"  {name}: {'frozen' if not some else 'trainable' if some == every else f'{some:,}'}"
            + f" ({every:,})"
            for name, some, every in self.groups
        ]
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.batch_norm.items() if count)
        if kinds:
            lines.append(f"  batch normalisation: {kinds}")
        if self.recompile:
            lines.append(
                "  compile the model again before fit: it was compiled for other variables"
            )
        return "\n".join(lines)


def freeze(
    model: keras.Model,
    *,
    head: bool = False,
    say: Callable[[str], None] | None = print,
) -> Trainable:
    """Freeze the backbone of a model; its head goes on training.

    The head is what comes after the last feature map (after the last output of three axes or
    more): pooling, dropout, dense layers; or from the last global pooling on, where a convolution
    on its one pixel is the classifier. Each layer is set for itself, those inside nested
    models and composite layers included. A frozen batch normalisation normalises by its moving
    statistics in training, too, and leaves them as they are. (Keras files keep what is frozen of
    each layer of a model, but not of layers inside a composite layer of your own.)

    If that changes what trains, a compiled model is no longer compiled: Keras would go on with the
    variables that it was compiled for. `fit` then refuses until `compile` is called with a new
    optimizer.

    Args:
        model: A functional or sequential model, flat or with nested models.
        head: Whether to freeze the head, too.
        say: Receives what is trainable now, in words; `None` for silence.

    Returns:
        What is trainable now.

    Raises:
        ConfigError: If the model has no head to be found, or one without weights, which cannot
            train.

    Example:
        >>> from recipes.transfer import transfer_model
        >>> model = transfer_model("resnet20", 3, weights=None)
        >>> freeze(model, say=None).parameters  # 64 features to 3 classes, and 3 biases
        195
    """
    units = _Units(model)
    # What ends in a map is a backbone alone, which has no head.
    expects_head = units.head or _ends_in_rows(model)
    if not head and expects_head and not any(unit.weights for unit in units.head):
        names = ", ".join(unit.name for unit in units.head) or "no layer"
        raise ConfigError(
            f"nothing of {model.name} would train: its head ({names}) has no weights, expected a "
            "classifier after a global pooling, or head_epochs=0 to tune all of it"
        )
    return units.set(len(units.backbone), "frozen", head=not head, say=say)


def unfreeze(
    model: keras.Model,
    *,
    from_layer: str | None = None,
    fraction: float | None = None,
    stages: int | None = None,
    batch_norm: str = "frozen",
    say: Callable[[str], None] | None = print,
) -> Trainable:
    """Make the head and the last part of the backbone trainable; freeze what comes before.

    Without `from_layer`, `fraction` or `stages`, all of it becomes trainable. The result does
    not depend on what was trainable before. A compiled model must be compiled again, as `freeze`
    says.

    Args:
        model: A functional or sequential model, flat or with nested models.
        from_layer: First layer to train, by its name, or by the first part of it:
            `"stage3"` is the first layer of that stage.
        fraction: Share of the backbone's layers with weights, counted from its end, in [0, 1].
        stages: Number of stages, counted from the end; see `layer_groups`.
        batch_norm: What batch normalisations in the trained part do. `"frozen"`: nothing changes
            and they normalise by their moving statistics. `"affine"`: scale and offset train, the
            statistics stay and are what they normalise by. (Keras files do not keep this: after
            loading, call `unfreeze` again before `compile`.) `"train"`: they normalise by the
            batch, and the statistics move, which wants large batches and many steps.
        say: Receives what is trainable now, in words; `None` for silence.

    Returns:
        What is trainable now.

    Raises:
        ConfigError: If the layer does not exist (the nearest is named), is in the head, or a number
            is out of its range.

    Example:
        >>> from recipes.transfer import transfer_model
        >>> model = transfer_model("resnet20", 3, weights=None)
        >>> print(unfreeze(model, stages=1, say=None))
        202,947 of 270,643 parameters are trainable (75.0 %)
          stem: frozen (496)
          stage1: frozen (14,208)
          stage2: frozen (51,456)
          stage3: 202,752 (204,288)
          head: trainable (195)
          batch normalisation: 19 frozen
    """
    given = {"from_layer": from_layer, "fraction": fraction, "stages": stages}
    given = [name for name, value in given.items() if value is not None]
    if len(given) > 1:
        raise ConfigError(f"give one of from_layer, fraction and stages, received {given}")
    if batch_norm not in BATCH_NORM_POLICIES:
        raise ConfigError(
            f"batch_norm must be one of {', '.join(BATCH_NORM_POLICIES)}, received: {batch_norm!r}"
            f"{nearest(str(batch_norm), BATCH_NORM_POLICIES)}"
        )
    units = _Units(model)
    first = 0
    if from_layer is not None:
        first = units.index_of(from_layer)
    elif fraction is not None:
        first = units.index_of_fraction(fraction)
    elif stages is not None:
        first = units.index_of_stages(stages)
    return units.set(first, batch_norm, head=True, say=say)


def layer_groups(model: keras.Model) -> dict[str, list[keras.layers.Layer]]:
    """Return the layers with weights of a model in groups by depth, the first ones first.

    Where layers are named `stage1_...`, as in the models here, the groups are what comes before
    (`"stem"`), each stage (the last with what follows it) and the `"head"`. Otherwise a group
    is all layers with outputs of the same height and width, named after it (`"56x56"`).

    Raises:
        ConfigError: If neither tells the layers apart, as in a model of other names for images of
            any size.

    Example:
        >>> from recipes.transfer import transfer_model
        >>> list(layer_groups(transfer_model("resnet20", 3, weights=None)))
        ['stem', 'stage1', 'stage2', 'stage3', 'head']
    """
    return _Units(model).groups()


class _Units:
    """The layers of a model with nested models opened, parted into backbone and head."""

    def __init__(self, model):
        if not isinstance(model, keras.Model):
            raise ConfigError(f"expected a Keras model, received: {model!r}")
        self.model = model
        units = list(dict.fromkeys(_flat(model)))
        spatial = [index for index, unit in enumerate(units) if len(_shape(unit) or ()) >= 3]
        if not spatial:
            raise ConfigError(
                f"{model.name} has no feature map after which a head could begin; "
                "expected a functional or sequential model of images"
            )
        first = spatial[-1] + 1
        if first < len(units) or _ends_in_rows(model):
            first = _first_of_head(units, first)
        self.backbone, self.head = units[:first], units[first:]

    def set(self, first, batch_norm, *, head, say):
        """Train the backbone from its unit `first` on, and the head if so asked."""
        before = _state(self.model)
        for container in walk(self.model):
            if isinstance(container, keras.Model):
                container.trainable = True
        for index, unit in enumerate(self.backbone):
            _set_unit(unit, index >= first, batch_norm)
        for unit in self.head:
            _set_unit(unit, head, "train")
        recompile = self.model.compiled and _state(self.model) != before
        if recompile:
            # Keras now refuses to fit, instead of training the variables of old.
            self.model.compiled = False
        report = self.report(recompile)
        if say is not None:
            say(str(report))
        return report

    def report(self, recompile=False):
        """Return what is trainable."""
        try:
            groups = self.groups()
        except ConfigError:
            groups = {"backbone": self.backbone, "head": self.head}
        counts = dict.fromkeys(BATCH_NORM_POLICIES, 0)
        for layer in walk(self.model):
            if isinstance(layer, keras.layers.BatchNormalization):
                counts[_batch_norm_state(layer)] += 1
        return Trainable(
            parameters=_count(self.model.trainable_weights),
            total=_count(self.model.weights),
            groups=tuple(
                (name, *(_count(weights) for weights in _weights_of(layers)))
                for name, layers in groups.items()
            ),
            batch_norm=counts,
            recompile=recompile,
        )

    def index_of(self, name):
        """Return the place in the backbone of the layer `name`, or of the first of such names."""
        names = [unit.name for unit in self.backbone]
        if name in names:
            return names.index(name)
        for index, known in enumerate(names):
            if known.startswith(f"{name}_"):
                return index
        in_head = {unit.name for unit in self.head}
        if name in in_head:
            raise ConfigError(f"from_layer {name!r} is in the head, which is always trained")
        stages = dict.fromkeys(match[0] for match in map(_STAGE.match, names) if match)
        raise ConfigError(
            f"{self.model.name} has no layer {name!r}{nearest(str(name), [*stages, *names])}"
        )

    def index_of_fraction(self, fraction):
        """Return the place of the first layer of the last `fraction` of those with weights."""
        if isinstance(fraction, bool) or not isinstance(fraction, int | float):
            raise ConfigError(f"fraction must be a number in [0, 1], received: {fraction!r}")
        if not 0 <= fraction <= 1:
            raise ConfigError(f"fraction must be in [0, 1], received: {fraction!r}")
        places = [index for index, unit in enumerate(self.backbone) if unit.weights]
        count = math.ceil(fraction * len(places) - 1e-9)
        return places[-count] if count else len(self.backbone)

    def index_of_stages(self, stages):
        """Return the place of the first layer of the last `stages` groups of the backbone."""
        groups = [layers for name, layers in self.groups().items() if name != "head"]
        whole = isinstance(stages, int) and not isinstance(stages, bool)
        if not whole or not 0 <= stages <= len(groups):
            raise ConfigError(
                f"stages must be a whole number from 0 to {len(groups)}, received: {stages!r}"
            )
        return self.backbone.index(groups[-stages][0]) if stages else len(self.backbone)

    def groups(self):
        """Return the layers with weights by group."""
        keys = self._stage_names() or self._sizes()
        groups = {}
        for key, unit in zip(keys, self.backbone, strict=True):
            if unit.weights:
                groups.setdefault(key, []).append(unit)
        groups["head"] = [unit for unit in self.head if unit.weights]
        return groups

    def _stage_names(self):
        matches = [_STAGE.match(unit.name) for unit in self.backbone]
        if not any(matches):
            return None
        keys, current = [], "stem"
        for match in matches:
            current = match[0] if match else current
            keys.append(current)
        return keys

    def _sizes(self):
        # The largest from here on: the single pixel inside a squeeze-excite begins no stage. Only
        # layers with weights: a padding before a stride is no stage either.
        keys, largest = [], None
        for unit in reversed(self.backbone):
            size = _size(unit) if unit.weights else None
            if size is not None and (largest is None or math.prod(size) > math.prod(largest)):
                largest = size
            keys.append(largest and f"{largest[0]}x{largest[1]}")
        if largest is None:
            raise ConfigError(
                f"the layers of {self.model.name} form no stages: none is named stage1_..., and "
                "the height and width of its images are open"
            )
        last = next(filter(None, keys))
        return [key or last for key in reversed(keys)]


def _first_of_head(units, after):
    """Return the place at which the head begins; `after` is that behind the last feature map.

    A classifier that is a convolution works on a map as well, of the one pixel that a pooling left:
    then the head begins at that pooling.
    """
    if any(unit.weights for unit in units[after:]):
        return after
    for index in reversed(range(after)):
        if _size(units[index]) != (1, 1):
            break
        if isinstance(units[index], _POOLINGS):
            return index
    return after


def _ends_in_rows(model):
    """Return whether a model gives one vector an image, as classifiers do."""
    outputs = getattr(model, "outputs", None)  # a subclass has none
    return bool(outputs) and len(outputs[0].shape) == 2


def _flat(model):
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _flat(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            yield layer


def _shape(layer):
    try:
        shape = keras.tree.flatten(layer.output)[0].shape
    except (AttributeError, ValueError):
        return None  # never called on symbolic tensors, or called more than once
    return tuple(shape)


def _size(layer):
    shape = _shape(layer)
    if shape is None or len(shape) != 4 or None in shape[1:3]:
        return None
    return shape[1:3]


def _set_unit(unit, trainable, batch_norm):
    # Each before what it holds, since setting a layer sets everything inside it.
    for layer in walk(unit):
        if not isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = trainable
            continue
        layer.trainable = trainable and batch_norm == "train"
        if trainable and batch_norm == "affine":
            for weight in (layer.gamma, layer.beta):
                if weight is not None:
                    weight.trainable = True


def _batch_norm_state(layer):
    if layer.trainable:
        return "train"
    return "affine" if any(weight.trainable for weight in layer.weights) else "frozen"


def _state(model):
    flags = [layer.trainable for layer in walk(model) if not isinstance(layer, keras.Model)]
    return flags, {id(weight) for weight in model.trainable_weights}


def _weights_of(layers):
    weights = [weight for layer in layers for weight in layer.weights]
    return [weight for weight in weights if weight.trainable], weights


def _count(weights):
    return sum(math.prod(weight.shape) for weight in weights)
