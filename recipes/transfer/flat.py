"""A copy of a model without nested models: every layer in one graph, weights kept."""

import inspect
import itertools

import keras

from recipes.errors import ConfigError, nearest


def flatten_model(
    model: keras.Model,
    *,
    until: str | None = None,
    input_shape: tuple | None = None,
    first: keras.layers.Layer | None = None,
) -> keras.Model:
    """Return a copy of a model in which no model is nested, with the same weights.

    A nested backbone hides its layers from what works on graphs (freezing by name, converters,
    Grad-CAM), and Keras before 3.16 forgets `base(x, training=False)` in `fit`. The copy has new
    layers of the same settings, named as before; where two nested models use one name, the name of
    the nested model is put in front. Layers that augment (`RandomFlip` and the like) are left
    out, since they do nothing in inference and belong into the input pipeline.

    Args:
        model: Functional or built sequential; its layers, too, where they are models. Not changed.
        until: Name of the layer (in the nested model, if need be) whose output becomes that of the
            copy; default the model's own.
        input_shape: Shape of an image for the copy, `(height, width, channels)`; default the
            model's own.
        first: A layer for the images to go through before the model, such as a normalisation.

    Returns:
        A functional `keras.Model`, not compiled.

    Raises:
        ConfigError: If the model has no graph, or holds a layer such as `keras.layers.Resizing`,
            which in Keras 3.15 makes a plain `model(x)` update batch normalisations.

    Example:
        >>> inner = keras.Sequential([keras.layers.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
        >>> outer = keras.Sequential([inner, keras.layers.GlobalMaxPooling2D()])
        >>> [type(layer).__name__ for layer in flatten_model(outer).layers]
        ['InputLayer', 'Conv2D', 'GlobalMaxPooling2D']
    """
    _check(model)
    inputs = _inputs(model, input_shape)
    replay = _Replay(model, until)
    outputs = replay.run(model, inputs if first is None else [first(inputs[0])], prefix="")
    if until is not None:
        if replay.found is None:
            names = [name for _, name in replay.copies]
            raise ConfigError(f"{model.name} has no layer {until!r}{nearest(str(until), names)}")
        outputs = replay.found
    flat = keras.Model(_single(inputs), _single(outputs), name=model.name)
    for original, copy in replay.weighted:
        copy.set_weights(original.get_weights())
    return flat


def _inputs(model, input_shape):
    if input_shape is None:
        return [
            keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
            for tensor in model.inputs
        ]
    if len(model.inputs) != 1:
        raise ConfigError(f"{model.name} has {len(model.inputs)} inputs, expected images alone")
    (own,) = model.inputs
    if len(input_shape) != 3 or input_shape[-1] != own.shape[-1]:
        raise ConfigError(
            f"{model.name} takes images of {own.shape[-1]} channels, "
            f"received input_shape {tuple(input_shape)}"
        )
    return [keras.Input(tuple(input_shape), dtype=own.dtype, name=own.name)]


def is_flat(model: keras.Model) -> bool:
    """Return whether no layer of a model is a model."""
    return not any(isinstance(layer, keras.Model) for layer in model.layers)


def _check(model):
    if not isinstance(model, keras.Model):
        raise ConfigError(f"expected a Keras model, received: {model!r}")
    try:
        has_graph = bool(model.inputs) and model.outputs is not None
    except (AttributeError, ValueError):
        has_graph = False
    if not has_graph:
        raise ConfigError(
            f"{model.name} has no graph to copy: expected a functional model, or a sequential one "
            f"with a keras.Input, received {type(model).__name__}"
        )


class _Replay:
    """Applies copies of all layers, by the graph that each model's configuration describes."""

    def __init__(self, model, until):
        self.until = until
        self.found = None
        self.copies = {}
        self.weighted = []
        # The layers of the model itself keep their names, those of nested ones give way.
        layers = model.layers if isinstance(model, keras.Sequential) else model.operations
        self._outer = {layer.name for layer in layers if not isinstance(layer, keras.Model)}
        self._names = set()

    def run(self, model, inputs, prefix):
        """Return the outputs of copies of the layers of `model` on `inputs`."""
        if isinstance(model, keras.Sequential):
            outputs = inputs
            for layer in model.layers:
                outputs = self.apply(layer, (_single(outputs),), {}, prefix)
            return outputs
        return self._run_graph(model, inputs, prefix)

    def _run_graph(self, model, inputs, prefix):
        config = model.get_config()
        operations = {operation.name: operation for operation in model.operations}
        known = {}
        names = [place[0] for place in _places(config["input_layers"])]
        for name, tensor in zip(names, inputs, strict=True):
            known[name, 0, 0] = tensor
        waiting = [
            (entry["name"], index, node)
            for entry in config["layers"]
            for index, node in enumerate(entry["inbound_nodes"])
        ]
        while waiting:
            later = []
            for name, index, node in waiting:
                if not all(place in known for place in _tensor_places(node)):
                    later.append((name, index, node))
                    continue
                arguments, keywords = _filled(node, known)
                outputs = self.apply(operations[name], arguments, keywords, prefix)
                for number, tensor in enumerate(keras.tree.flatten(outputs)):
                    known[name, index, number] = tensor
            if len(later) == len(waiting):
                raise ConfigError(f"the graph of {model.name} cannot be followed at {later[0][0]}")
            waiting = later
        return [known[place] for place in _places(config["output_layers"])]

    def apply(self, operation, arguments, keywords, prefix):
        """Return the outputs of a copy of one layer or operation."""
        if isinstance(operation, keras.Model):
            _check(operation)
            inner = keras.tree.flatten(arguments)
            return self.run(operation, inner, f"{prefix}{operation.name}_")
        if isinstance(operation, keras.layers.InputLayer) or _augments(operation):
            return keras.tree.flatten(arguments)[0]
        _refuse_training_by_default(operation)
        outputs = self._copy(operation, prefix)(*arguments, **keywords)
        if self.until is not None and operation.name == self.until:
            self.found = keras.tree.flatten(outputs)
        return outputs

    def _copy(self, operation, prefix):
        key = (id(operation), operation.name)
        if key not in self.copies:
            config = {**operation.get_config(), "name": self._free_name(operation.name, prefix)}
            copy = type(operation).from_config(config)
            self.copies[key] = copy
            if getattr(operation, "weights", None):
                self.weighted.append((operation, copy))
        return self.copies[key]

    def _free_name(self, name, prefix):
        taken = self._names | self._outer if prefix else self._names
        candidates = itertools.chain(
            [name], (f"{prefix}{name}{n or ''}" for n in itertools.count())
        )
        found = next(candidate for candidate in candidates if candidate not in taken)
        self._names.add(found)
        return found


def _single(tensors):
    tensors = keras.tree.flatten(tensors)
    return tensors[0] if len(tensors) == 1 else tensors


def _places(described):
    """Return `(layer, node, tensor)` of each tensor of one description, or of a list of them."""
    if described and isinstance(described[0], str):
        described = [described]
    return [tuple(place) for place in described]


def _is_tensor(leaf):
    return isinstance(leaf, dict) and leaf.get("class_name") == "__keras_tensor__"


def _tensor_places(node):
    found = []

    def visit(value):
        if _is_tensor(value):
            found.append(tuple(value["config"]["keras_history"]))
        elif isinstance(value, dict):
            for inner in value.values():
                visit(inner)
        elif isinstance(value, list | tuple):
            for inner in value:
                visit(inner)

    visit([node["args"], node["kwargs"]])
    return found


def _filled(node, known):
    """Return the arguments of a call with tensors in place of their descriptions."""

    def fill(value):
        if _is_tensor(value):
            return known[tuple(value["config"]["keras_history"])]
        if isinstance(value, dict) and "class_name" in value:
            return keras.saving.deserialize_keras_object(value)
        if isinstance(value, dict):
            return {name: fill(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(fill(inner) for inner in value)
        return value

    # Inference mode comes from `trainable`; a fixed `training` is what Keras 3.15 forgets in fit.
    dropped = ("training", "mask")
    keywords = {name: fill(value) for name, value in node["kwargs"].items() if name not in dropped}
    return tuple(fill(value) for value in node["args"]), keywords


def _trains_by_default(operation):
    call = inspect.signature(operation.call).parameters
    return "training" in call and call["training"].default is True


def _augments(operation):
    """Return whether this is a layer that changes images in training and in training alone."""
    if type(operation).__module__.split(".")[0] != "keras":
        return False
    name = type(operation).__name__
    others = ("AugMix", "CutMix", "MixUp", "RandAugment")
    # In inference a random crop is a crop of the centre.
    return name in others or (name.startswith("Random") and name != "RandomCrop")


def _refuse_training_by_default(operation):
    if not _trains_by_default(operation):
        return
    raise ConfigError(
        f"{operation.name} is a {type(operation).__name__}, which inside a model makes a plain "
        "model(x) update batch normalisations in Keras 3.15: do it in the input pipeline"
    )
