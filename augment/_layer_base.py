"""What the layers have in common: seeds, configuration, and how one is made from a function."""

import functools
import inspect
import reprlib

import keras

from augment import _elements, _validation
from augment._program import Program


class Augmentation(keras.layers.Layer):
    """Base of all the layers: changes a batch in training, in whichever form it comes."""

    def __init__(self, seed=None, **kwargs):
        # Autocasting would round images and targets to bfloat16 under a mixed-precision policy.
        super().__init__(autocast=False, **kwargs)
        if seed is not None:
            seed = _validation.check_integer("seed", seed, 0)
            if seed >= 2**32:
                raise ValueError(f"seed must be below 2**32, received: {seed}")
        self._seed = seed
        self.supports_masking = True
        self._seeds = keras.random.SeedGenerator(seed)
        self._said, self._program = None, None
        # There is nothing to build, in steps of a pipeline either, which are never called.
        self.built = True

    @property
    def seed(self):
        """The seed that the layer was made with; what it draws from cannot be changed."""
        return self._seed

    def program(self):
        """Return the `Program` of the layer's arguments as they are now."""
        raise NotImplementedError

    def _program_of(self, *said):
        """Return `shared_program` of these arguments: the one of the last call if they are equal.

        So a layer that is in use is not compiled again, however many others there are.
        """
        if self._program is None or said != self._said:
            self._said, self._program = said, shared_program(*said)
        return self._program

    def _current_strength(self):
        return 1.0

    def call(self, inputs, training=None):
        """Return the inputs, changed if `training` is true."""
        element, program = _elements.take_apart(inputs), self.program()
        if program.mixes:
            _elements.check_labels(element, type(self).__name__)
        given = element.images, element.labels, element.weights
        if training:
            return element.replaced(*program(*given, self._seeds.next(), self._current_strength()))
        program.check_size_is_kept(element.images, type(self).__name__)
        if not program.mixes and program.output_dtype is None:
            return inputs
        # Rows and the dtype in evaluation too, so that one loss and one model fit both.
        labels = program.targets(element.labels) if program.mixes else element.labels
        return element.replaced(program.as_output(element.images), labels, element.weights)


class _OfOneFunction(Augmentation):
    """Base of the layers made from a function of `augment`.

    Subclasses set `_function` and `_arguments`, the names of its keyword arguments, which are
    attributes of the layer too.
    """

    _function = None
    _arguments = ()

    @classmethod
    def made_of(cls, arguments):
        """Return the `Operation` or `Mix` of arguments, given as pairs of name and value."""
        raise NotImplementedError

    def key(self):
        """Return the class and the arguments, as pairs: what the layer does, and no more."""
        return type(self), tuple(self._values().items())

    def _values(self):
        return {name: _validation.plain(getattr(self, name)) for name in self._arguments}

    def program(self):
        """Return the `Program` of the layer's arguments as they are now."""
        value_range = getattr(self, "value_range", None)
        return self._program_of((self.key(),), value_range and tuple(value_range))

    def __str__(self):
        """Return the layer's class and arguments."""
        values = self._values()
        values.pop("value_range", None)
        arguments = ", ".join(f"{name}={reprlib.repr(value)}" for name, value in values.items())
        return f"{type(self).__name__}({arguments})"

    def get_config(self):
        """Return every argument."""
        return {**super().get_config(), **self._values(), "seed": self.seed}


class ImageAugmentation(_OfOneFunction):
    """Base of the layers that change images alone."""

    @classmethod
    def made_of(cls, arguments):
        """Return the `Operation` of arguments, given as pairs of name and value."""
        values = dict(arguments)
        values.pop("value_range")
        return cls._function.operation(**values)

    def operation(self):
        """Return the `Operation` with the layer's arguments."""
        return self.made_of(self._values().items())

    def __str__(self):
        """Return the layer's class and arguments and, of a policy, what it does."""
        return "\n".join([super().__str__(), *(f"  {line}" for line in self.operation().notes)])


class MixAugmentation(_OfOneFunction):
    """Base of the layers that mix images and labels."""

    @classmethod
    def made_of(cls, arguments):
        """Return the `Mix` of arguments, given as pairs of name and value."""
        return cls._function.mix(**dict(arguments))

    def mix(self):
        """Return the `Mix` with the layer's arguments."""
        return self.made_of(self._values().items())


@functools.lru_cache(maxsize=256)
def shared_program(keys, value_range, jit_compile="auto", output_dtype=None):
    """Return the `Program` of layers; one for all that do the same, so that it is compiled once.

    Args:
        keys: `key()` of each layer, mixes last.
        value_range: Lowest and highest value of float images; `None` if it does not matter.
        jit_compile: As for `Program`.
        output_dtype: As for `Program`.
    """
    made = [(kind, kind.made_of(arguments)) for kind, arguments in keys]
    return Program(
        [member for kind, member in made if issubclass(kind, ImageAugmentation)],
        [member for kind, member in made if issubclass(kind, MixAugmentation)],
        value_range=value_range,
        jit_compile=jit_compile,
        output_dtype=output_dtype,
    )


_KEYWORD = inspect.Parameter.POSITIONAL_OR_KEYWORD
_LAYER_DOCSTRING = """{summary} `augment.{name}` as a layer.

Args:
    {arguments}: As for `augment.{name}`.
    seed: Integer, or `None` for a random one. Layers of the same class and seed draw the same.
    **kwargs: Base layer arguments, such as `name`.

{calls}

Raises:
    ValueError: If an argument is out of range.
"""
_IMAGE_CALLS = """\
Call arguments:
    inputs: Images, or a tuple that begins with them, or a dictionary with the key "images"; uint8,
        float16, bfloat16 or float32, shape `(batch, height, width, channels)`.
    training: Nothing is changed unless this is true.

Returns:
    What came in, images of the same dtype."""
_MIX_CALLS = """\
Call arguments:
    inputs: `(images, labels)` or `(images, labels, weights)`, or a dictionary with these keys.
        Labels are whole numbers of shape `(batch,)` or rows of shape `(batch, classes)`; weights
        are one number an image, and are mixed by the same shares.
    training: Unless this is true, images stay as they are and labels become rows unsmoothed, so
        that one loss fits both.

Returns:
    What came in, with the mixed images and, for labels, targets: float32 `(batch, classes)`."""


def image_layer(function):
    """Make the Keras layer of an image operation.

    Args:
        function: Public function made by `_operation.operation`.

    Returns:
        Subclass of `ImageAugmentation`, registered under the function's name in capitals:
        `random_flip` becomes `RandomFlip`. It takes the function's arguments, by place or name, and
        `seed`.
    """
    parameters = dict(function.operation.__signature__.parameters)
    parameters["value_range"] = inspect.signature(function).parameters["value_range"]
    name = function.__name__.title().replace("_", "")
    return _layer_class(name, ImageAugmentation, function, parameters, _IMAGE_CALLS)


def mix_layer(name, function):
    """Make the Keras layer of a batch mix.

    Args:
        name: Of the class, such as `"MixUp"`.
        function: Public function made by `mixing.batch_mix`.

    Returns:
        Subclass of `MixAugmentation`, registered. It takes the function's keyword arguments, by
        place or name, and `seed`.
    """
    parameters = dict(inspect.signature(function.mix).parameters)
    return _layer_class(name, MixAugmentation, function, parameters, _MIX_CALLS)


def _layer_class(name, base, function, parameters, calls):
    own = tuple(parameters)
    parameters["seed"] = inspect.Parameter("seed", _KEYWORD, default=None)
    signature = inspect.Signature([entry.replace(kind=_KEYWORD) for entry in parameters.values()])

    def __init__(self, *arguments, **named):
        given = {key: named.pop(key) for key in list(named) if key in parameters}
        bound = signature.bind(*arguments, **given)
        bound.apply_defaults()
        values = dict(bound.arguments)
        base.__init__(self, seed=values.pop("seed"), **named)
        for key, value in values.items():
            setattr(self, key, value)
        # Checks the arguments.
        self.program()

    rest = inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)
    made = type(
        name,
        (base,),
        {
            "__init__": __init__,
            "__doc__": _LAYER_DOCSTRING.format(
                summary=inspect.getdoc(function).splitlines()[0],
                name=function.__name__,
                arguments=", ".join(own),
                calls=calls,
            ),
            "__module__": "augment.layers",
            "__signature__": signature.replace(parameters=[*signature.parameters.values(), rest]),
            "_function": staticmethod(function),
            "_arguments": own,
        },
    )
    return keras.saving.register_keras_serializable(package="keras_recipes")(made)
