"""What the layers have in common: seeds, configuration, and the shapes in which inputs come."""

import functools
import inspect

import keras

from augment import _operation, _validation
from augment._labels import label_targets


@functools.lru_cache(maxsize=128)
def _compiled(operation, arguments):
    # Shared by all layers with the same arguments, and kept out of their attributes: Keras would
    # try to save a tf.function that is one.
    return _operation.compiled(functools.partial(operation, **dict(arguments)))


class _Augmentation(keras.layers.Layer):
    """Base of all the layers.

    Subclasses set `_operation`, a function of `augment`, and `_arguments`, the names of its keyword
    arguments, which are attributes of the layer too.
    """

    _operation = None
    _arguments = ()

    def __init__(self, seed=None, **kwargs):
        # Autocasting would round images and targets to bfloat16 under a mixed-precision policy.
        super().__init__(autocast=False, **kwargs)
        self.seed = seed
        self.supports_masking = True
        self._seeds = keras.random.SeedGenerator(seed)

    def _run(self, *inputs):
        arguments = tuple((name, _hashable(value)) for name, value in self._values().items())
        return _compiled(self._operation, arguments)(*inputs, self._seeds.next())

    def _values(self):
        return {name: getattr(self, name) for name in self._arguments}

    def get_config(self):
        """Return every argument."""
        return {**super().get_config(), **self._values(), "seed": self.seed}


def _hashable(value):
    return tuple(value) if isinstance(value, list) else value


class ImageAugmentation(_Augmentation):
    """Base of the layers that change images alone."""

    def operation(self):
        """Return the `Operation` with the layer's arguments."""
        values = self._values()
        values.pop("value_range")
        return self._operation.operation(**values)

    def _run(self, images):
        return self._operation(images, self._seeds.next(), **self._values())

    def call(self, inputs, training=None):
        """Return the inputs, their images changed if `training` is true."""
        if not training:
            return inputs
        if isinstance(inputs, dict):
            _check_keys(inputs, ("images",))
            return {**inputs, "images": self._run(inputs["images"])}
        if isinstance(inputs, (tuple, list)):
            images, *rest = inputs
            return type(inputs)((self._run(images), *rest))
        return self._run(inputs)


class MixAugmentation(_Augmentation):
    """Base of the layers that mix images and labels."""

    def call(self, inputs, training=None):
        """Return images and targets, mixed if `training` is true."""
        if isinstance(inputs, dict):
            _check_keys(inputs, ("images", "labels"))
            images, targets = self._mix(inputs["images"], inputs["labels"], training)
            return {**inputs, "images": images, "labels": targets}
        if not isinstance(inputs, (tuple, list)) or len(inputs) != 2:
            raise ValueError(
                f"{type(self).__name__} mixes labels too: call it on (images, labels) or on "
                f"{{'images': ..., 'labels': ...}}, received: {type(inputs).__name__}"
            )
        return self._mix(*inputs, training)

    def _mix(self, images, labels, training):
        if training:
            # Made outside XLA, which would drop the check that labels are below `classes`.
            return self._run(images, label_targets(labels, classes=self.classes))
        return images, label_targets(labels, classes=self.classes)


def _check_keys(inputs, names):
    missing = [name for name in names if name not in inputs]
    if missing:
        raise ValueError(f"inputs must have {missing}, received the keys: {sorted(inputs)}")


_KEYWORD = inspect.Parameter.POSITIONAL_OR_KEYWORD
_LAYER_DOCSTRING = """{summary} `augment.{name}` as a layer.

Args:
    {arguments}: As for `augment.{name}`.
    seed: Integer, or `None` for a random one. Layers of the same class and seed draw the same.
    **kwargs: Base layer arguments, such as `name`.

Call arguments:
    inputs: Images, or a tuple that begins with them, or a dictionary with the key "images"; uint8,
        float16, bfloat16 or float32, shape `(batch, height, width, channels)`.
    training: Nothing is changed unless this is true.

Returns:
    What came in, images of the same dtype.

Raises:
    ValueError: If an argument is out of range.
"""


def image_layer(function):
    """Make the Keras layer of an image operation.

    Args:
        function: Public function made by `_operation.operation`.

    Returns:
        Subclass of `ImageAugmentation`, registered under the function's name in capitals:
        `random_flip` becomes `RandomFlip`. It takes the function's arguments, by place or name, and
        `seed`.
    """
    name = function.__name__.title().replace("_", "")
    parameters = dict(function.operation.__signature__.parameters)
    parameters["value_range"] = inspect.signature(function).parameters["value_range"]
    parameters["seed"] = inspect.Parameter("seed", _KEYWORD, default=None)
    signature = inspect.Signature([entry.replace(kind=_KEYWORD) for entry in parameters.values()])

    def __init__(self, *arguments, **named):
        own = {key: named.pop(key) for key in list(named) if key in parameters}
        bound = signature.bind(*arguments, **own)
        bound.apply_defaults()
        values = dict(bound.arguments)
        ImageAugmentation.__init__(self, seed=values.pop("seed"), **named)
        for key, value in values.items():
            setattr(self, key, value)
        _validation.check_value_range(self.value_range)
        self.operation()

    own = [entry for entry in parameters if entry != "seed"]
    base = inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)
    made = type(
        name,
        (ImageAugmentation,),
        {
            "__init__": __init__,
            "__doc__": _LAYER_DOCSTRING.format(
                summary=inspect.getdoc(function).splitlines()[0],
                name=function.__name__,
                arguments=", ".join(own),
            ),
            "__module__": "augment.layers",
            "__signature__": signature.replace(parameters=[*signature.parameters.values(), base]),
            "_operation": staticmethod(function),
            "_arguments": tuple(own),
        },
    )
    return keras.saving.register_keras_serializable(package="keras_recipes")(made)
