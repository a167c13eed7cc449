"""Test-time augmentation: a classifier that looks at an image several times and takes the mean."""

import types

import keras
import numpy as np
import tensorflow as tf

from augment import _validation
from augment._views import VIEWS, View, Window, Windows, resolve_views, window_of

__all__ = ["VIEWS", "TestTimeAugment", "View"]

_AVERAGES = ("geometric", "arithmetic")
# What a mean of logarithms takes for 0: the smallest float32 that processors do not round to 0.
_TINY = float(np.finfo(np.float32).tiny)
# Layers of other packages that compute a softmax of what they are given, but for a factor.
_SOFTMAX_LAYERS = ("keras_recipes>CalibratedSoftmax",)


@keras.saving.register_keras_serializable(package="keras_recipes")
class TestTimeAugment(keras.Model):
    """A classifier's mean answer over fixed views of each image, as a Keras model.

    With the answers `p_v` of the views `v` and their weights `w_v`, which sum to 1, the mean is

    - `"geometric"`: `p = softmax(sum_v w_v log p_v)`, that is `prod_v p_v ** w_v` divided by its
      sum over the classes: the mean of the logits;
    - `"arithmetic"`: `p = sum_v w_v p_v`.

    Of sigmoids, each a label of its own, the geometric mean is `present / (present + absent)` for
    each label, with `present = prod_v p_v ** w_v` and `absent = prod_v (1 - p_v) ** w_v`.

    Where the last layer of `model` is a softmax or sigmoid of a linear function of its inputs
    (`Softmax`, `Activation`, `Dense(activation="softmax")`, `CalibratedSoftmax`), the geometric
    mean is computed as this layer on the mean of its inputs: the same, exact at any distance of the
    logits, and it stays right in int8. Elsewhere probabilities below 1.2e-38 count as that.

    The result is an ordinary functional model with the weights of `model`: `predict` and `evaluate`
    it, save it as `.keras` (import this class before you load it), export it to one TFLite file. It
    cannot be trained: `model` runs in inference mode always and no gradient passes. A single view
    gives what `model` gives, bit for bit; views that come to the same pixels are computed once.
    Choose views that look like images that `model` was trained on: crops of enlarged images can
    cost a network of small images more than they bring.

    Args:
        model: Built Keras classifier: one input of images `(None, height, width, channels)`, one
            output `(None, classes)` of probabilities or logits.
        views: Name, or a list of `View`s and of Keras layers from images to images:

            - `"flip"`: the image and its mirror image;
            - `"five_crop"`: middle and corners;
            - `"ten_crop"`: these and their mirror images;
            - `"resnet50views"`: ten crops at each of five scales, 224, 256, 384, 480 and 640 pixels
              of the shorter side for a model of 224, in proportion for another;
            - `"resnet_scales"`: these scales and their mirror images, not cropped, for a model that
              takes any size;
            - `"shifts"`: the image (weight 1/2), and moved by one pixel up and left, and down and
              right (weight 1/4 each), all mirrored too.

            Crops have the size that `model` takes. Five and ten are taken from the image resized by
            256/224, or not resized if `image_size` is larger than what `model` takes.
        average: `"geometric"` or `"arithmetic"`.
        logits: Whether `model` gives logits; then the result is logits too, those of the mean.
        image_size: Height and width of the images, one number for a square; by default what
            `model` takes.
        chunk: Views that go through `model` as one batch. Memory grows with it times the batch
            size, time to trace the model with the number of views divided by it.
        before_last: Whether the mean is taken of the inputs of the last layer; `None` does where
            that is right and the layer is found. The geometric mean of sigmoids has no other way.
        name: Name of the model.

    Call arguments:
        inputs: uint8 or float images in the range that `model` takes (`[0, 255]` in this project),
            shape `(batch, height, width, channels)`.

    Returns:
        float32 `(batch, classes)`.

    Raises:
        ValueError: If an argument is out of range, a view does not fit, `logits` does not fit the
            last layer, or `model` is not built or has several inputs or outputs.
        TypeError: If `model` is no Keras model, or a view is something else.

    Example:
        >>> inputs = keras.Input((32, 32, 3))
        >>> features = keras.layers.GlobalAveragePooling2D()(inputs)
        >>> outputs = keras.layers.Dense(10, activation="softmax")(features)
        >>> model = TestTimeAugment(keras.Model(inputs, outputs), "ten_crop")
        >>> model(tf.zeros((4, 32, 32, 3), tf.uint8)).shape
        TensorShape([4, 10])

    Source:
        Ten crops: Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural
        Networks", 2012, section 4.1 (arithmetic mean). Five scales: He et al., "Deep Residual
        Learning for Image Recognition", 2015, section 3.4, which runs the network over the whole of
        each as `"resnet_scales"` does (that the mirror images are added is from its source [41],
        Simonyan and Zisserman). Shifts: Jordan, "94% on CIFAR-10 in 3.29 Seconds", 2024, section 3.
    """

    # Not a test, whatever its name makes pytest believe.
    __test__ = False

    def __init__(
        self,
        model,
        views="flip",
        *,
        average="geometric",
        logits=False,
        image_size=None,
        chunk=10,
        before_last=None,
        name=None,
    ):
        _validation.check_choice("average", average, _AVERAGES)
        _validation.check_choice("logits", logits, (True, False))
        _validation.check_integer("chunk", chunk, 1)
        *crop, channels = _input_shape(model)
        head = _last_layer(model)
        _check_last_layer(model, head, average, logits)
        image = _check_image_size(image_size, crop)
        batches, weights = _batches(resolve_views(views, crop, image), crop, image, chunk)

        inputs = keras.Input((*image, channels), name="images")
        cut = _check_before_last(before_last, head, average)
        body = keras.Model(model.inputs, head.input) if cut else model
        answers = _answers(body, inputs, batches)
        outputs = answers[0]
        if len(weights) > 1:
            counts = [len(batch) for batch in batches]
            kind = _mean_kind(average, logits, cut)
            outputs = ViewMean(counts, weights, kind, name="mean")(answers)
        if cut:
            outputs = head(outputs)
        if outputs.dtype != "float32":
            outputs = keras.layers.Identity(dtype="float32", name="float32")(outputs)
        super().__init__(inputs, outputs, name=name)
        # In one plain object, or Keras would save the model and the layers made of it twice, and
        # not find them again.
        self._made_of = types.SimpleNamespace(
            model=model,
            views=views,
            average=average,
            logits=logits,
            image_size=image_size,
            chunk=chunk,
            before_last=cut,
        )

    def call(self, inputs, training=None, mask=None):
        """Return the mean answers, always in inference mode."""
        return tf.stop_gradient(super().call(inputs, training=False))

    def train_step(self, *arguments, **named):
        """Refuse to be trained."""
        raise RuntimeError(
            f"{self.name!r} only predicts: train the model that it was made of, "
            f"{self._made_of.model.name!r}"
        )

    def get_config(self):
        """Return every argument."""
        serialize = keras.saving.serialize_keras_object
        config = vars(self._made_of) | {"name": self.name}
        config["model"] = serialize(config["model"])
        if not isinstance(config["views"], str):
            config["views"] = [serialize(view) for view in config["views"]]
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Return the model of a configuration."""
        config = dict(config)
        read = keras.saving.deserialize_keras_object
        config["model"] = read(config["model"], custom_objects=custom_objects)
        if not isinstance(config["views"], str):
            config["views"] = [read(view, custom_objects) for view in config["views"]]
        return cls(**config)


@keras.saving.register_keras_serializable(package="keras_recipes")
class ViewMean(keras.layers.Layer):
    """Weighted mean over views of what a model gave for batches of them, in float32.

    Args:
        counts: Views in each batch.
        weights: One for each view; they sum to 1.
        kind: `"plain"`; `"logarithms"` for probabilities whose logarithms are averaged;
            `"exponentials"` for logits whose softmax is.
        **kwargs: Base layer arguments.

    Call arguments:
        inputs: List of tensors of shape `(views * batch, classes)`, all images in the first view
            first.

    Returns:
        float32 `(batch, classes)`; with `"logarithms"` probabilities, with `"exponentials"`
        logarithms of them.
    """

    def __init__(self, counts, weights, kind, **kwargs):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.counts = list(counts)
        self.weights_of_views = [float(weight) for weight in weights]
        self.kind = kind

    def call(self, inputs):
        """Return the mean."""
        answers = tf.concat(
            [
                tf.reshape(tf.cast(batch, tf.float32), (count, -1, batch.shape[-1]))
                for batch, count in zip(inputs, self.counts, strict=True)
            ],
            axis=0,
        )
        if self.kind == "logarithms":
            return tf.nn.softmax(self._mean(tf.math.log(tf.maximum(answers, _TINY))))
        if self.kind == "exponentials":
            logarithms = tf.nn.log_softmax(answers)
            largest = tf.reduce_max(logarithms, axis=0)
            return largest + tf.math.log(self._mean(tf.exp(logarithms - largest)))
        return self._mean(answers)

    def _mean(self, values):
        if len(set(self.weights_of_views)) == 1:
            return tf.reduce_mean(values, axis=0)
        weights = tf.constant(self.weights_of_views, tf.float32, shape=(sum(self.counts), 1, 1))
        return tf.reduce_sum(weights * values, axis=0)

    def compute_output_shape(self, input_shape):
        """Return the shape of one batch of answers."""
        return (None, input_shape[0][-1])

    def get_config(self):
        """Return every argument."""
        own = {"counts": self.counts, "weights": self.weights_of_views, "kind": self.kind}
        return {**super().get_config(), **own}


def _mean_kind(average, logits, cut):
    """Return the `kind` of the `ViewMean`."""
    if average == "geometric":
        return "plain" if logits or cut else "logarithms"
    return "exponentials" if logits else "plain"


def _input_shape(model):
    """Return `(height, width, channels)` that a model takes, or raise."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model, received: {type(model).__name__}")
    shapes = [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or []]
    if not shapes and model.built:
        # Of a subclassed model only what it was called on is known.
        built = (model.get_build_config() or {}).get("input_shape")
        shapes = [tuple(built)] if built else []
    if not shapes:
        raise ValueError(
            f"model {model.name!r} must be built: make it from keras.Input, or call it once"
        )
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] is None:
        raise ValueError(
            f"model must take one batch of images (None, height, width, channels), received one "
            f"that takes: {shapes}"
        )
    return shapes[0][1:]


def _last_layer(model):
    """Return the layer that makes the output of a model from one input, `None` if unknown."""
    layers = getattr(model, "layers", [])
    if not layers or not getattr(model, "outputs", None):
        return None
    last = layers[-1]
    try:
        ends = last.output is model.outputs[0] and len(last.input.shape) == 2
    except (AttributeError, ValueError):
        # It was never called, or on several inputs.
        return None
    return last if ends and not isinstance(last, keras.Model) else None


def _activation(layer):
    """Return `"softmax"`, `"sigmoid"` or `"linear"` for such a function of a linear one, or ""."""
    if isinstance(layer, keras.layers.Softmax):
        return "softmax" if layer.axis in (-1, 1) else ""
    if keras.saving.get_registered_name(type(layer)) in _SOFTMAX_LAYERS:
        return "softmax"
    if type(layer) in (keras.layers.Dense, keras.layers.Activation):
        known = ("softmax", "sigmoid", "linear")
        found = [name for name in known if layer.activation is getattr(keras.activations, name)]
        return found[0] if found else ""
    return ""


def _check_last_layer(model, head, average, logits):
    """Raise `ValueError` if the outputs of a model are not what they are said to be."""
    outputs = getattr(model, "outputs", None)
    if outputs and (len(outputs) != 1 or len(outputs[0].shape) != 2):
        shapes = [tuple(tensor.shape) for tensor in outputs]
        raise ValueError(f"model must give one row of classes an image, received: {shapes}")
    activation = _activation(head)
    if logits and activation in ("softmax", "sigmoid"):
        raise ValueError(f"logits must be False: {model.name!r} ends in a {activation}")
    if not logits and activation == "linear":
        raise ValueError(
            f"logits must be True: {model.name!r} ends in {head.name!r} without an activation"
        )
    one = outputs and outputs[0].shape[1] == 1
    sums = ("exponentials", "logarithms")
    if one and _mean_kind(average, logits, activation == "sigmoid") in sums:
        other = "geometric" if average == "arithmetic" else "arithmetic"
        raise ValueError(
            f"average must be {other!r} for {model.name!r}, whose single output no softmax "
            f"normalises, received: {average!r}"
        )


def _check_before_last(before_last, head, average):
    """Return whether the mean is taken of the inputs of the last layer."""
    # A linear function of the mean is the mean of the function.
    possible = average == "geometric" and _activation(head) in ("softmax", "sigmoid")
    _validation.check_choice("before_last", before_last, (None, True, False))
    if before_last is None:
        return possible
    if before_last and not possible:
        raise ValueError(
            "before_last must not be True but for a geometric mean before a last layer that is a "
            "softmax or sigmoid"
        )
    if possible and not before_last and _activation(head) == "sigmoid":
        raise ValueError(
            "before_last must not be False for a geometric mean of sigmoids, whose answers no "
            "softmax normalises"
        )
    return before_last


def _check_image_size(image_size, crop):
    """Return height and width of the images."""
    if image_size is None:
        return tuple(crop)
    sizes = image_size if isinstance(image_size, (tuple, list)) else (image_size, image_size)
    if len(sizes) != 2:
        raise ValueError(f"image_size must be one or two integers, received: {image_size!r}")
    return tuple(_validation.check_integer("image_size", size, 1) for size in sizes)


def _batches(views, crop, image, chunk):
    """Return lists of `Window`s and layers, each for one batch, and the weights in this order.

    Views that come to the same pixels are one, with the sum of their weights.
    """
    weights, looks = {}, {}
    for view in views:
        look, weight = view, 1.0
        if isinstance(view, View):
            look, weight = window_of(view, crop, image), view.weight
        key = look if isinstance(look, Window) else id(look)
        looks[key] = look
        weights[key] = weights.get(key, 0.0) + weight
    groups = {}
    for key, look in looks.items():
        # A layer's result has a size that is not known here.
        size = look.result_size() if isinstance(look, Window) else key
        groups.setdefault(size, []).append(key)
    keys = [
        group[at : at + chunk] for group in groups.values() for at in range(0, len(group), chunk)
    ]
    total = sum(weights.values())
    ordered = [weights[key] / total for batch in keys for key in batch]
    return [[looks[key] for key in batch] for batch in keys], ordered


def _answers(body, inputs, batches):
    """Return what a model gives for each batch of views, one after the other."""
    answers = []
    for place, batch in enumerate(batches):
        given = [inputs, answers[-1]] if answers else inputs
        windows = batch if isinstance(batch[0], Window) else [Window()]
        images = Windows(windows, dtype="float32", name=f"views_{place}")(given)
        if not isinstance(batch[0], Window):
            images = Windows(windows, dtype="float32", name=f"own_{place}")(batch[0](images))
        answers.append(body(images, training=False))
    return answers
