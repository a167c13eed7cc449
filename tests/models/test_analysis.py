"""Fields, multiply-adds and memory of Keras models: by gradient, by hand, and as published."""

import re

import keras
import numpy as np
import pytest

from recipes import build_model
from recipes.errors import ConfigError
from recipes.layers import BlurPooling, NonLocal, SqueezeExcite
from recipes.models.analysis import analyze

SIZE = 640


def linear_twin(model, size):
    """Return a model of the same graph with one channel a layer and positive weights.

    Averages stand for maxima and identities for activations, so that a gradient is positive
    wherever an output sees the input, and zero elsewhere. In float64: oneDNN, which computes
    float32, writes out of bounds in the gradient of a 1x1 convolution of stride 2 to one channel.
    """

    def twin(layer):
        config = {**layer.get_config(), "dtype": "float64"}
        if isinstance(layer, keras.layers.MaxPooling2D):
            return keras.layers.AveragePooling2D.from_config(config)
        if isinstance(layer, (keras.layers.ReLU, keras.layers.Activation)):
            return keras.layers.Identity(name=layer.name, dtype="float64")
        if hasattr(layer, "kernel_size"):
            key = (
                "depthwise_initializer"
                if hasattr(layer, "depthwise_initializer")
                else ("kernel_initializer")
            )
            config[key] = keras.initializers.Constant(1 / np.prod(layer.kernel_size))
            if "filters" in config:
                config.update(filters=1, groups=1)
        return type(layer).from_config(config)

    inputs = keras.Input((size, size, 3), dtype="float64")
    return keras.models.clone_model(model, input_tensors=inputs, clone_function=twin)


def seen_by(model, place, size):
    """Return the first and last row and column of the image that one output sees."""
    import tensorflow as tf

    images = tf.ones((1, size, size, 3), tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(images)
        output = tf.reduce_sum(model(images)[0, place, place])
    seen = tape.gradient(output, images).numpy()[0].sum(-1) > 0
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    assert (rows[0], rows[-1]) == (columns[0], columns[-1])
    return int(rows[0]), int(rows[-1])


def backbone(name):
    if name.startswith("keras:"):
        build = getattr(keras.applications, name[6:])
        return build(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    return build_model(
        name, include_top=False, input_shape=(SIZE, SIZE, 3), include_preprocessing=False
    )


# Field, stride and effective padding; ResNet-50, Inception v3 and MobileNet of Keras: Araujo et al.
# 2019 (there with the padding of an even image); the others follow from layer lists.
FIELDS = {
    "keras:ResNet50": (483, 32, 241),
    "resnet50": (427, 32, 213),
    "keras:MobileNet": (315, 32, 126),
    "googlenet": (379, 32, 167),
    "vgg16": (212, 32, 90),
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.sampled(1)
def test_fields_of_known_networks_by_gradient(name):
    model = backbone(name)
    field = analyze(model).field
    assert (field.size, field.stride, field.padding) == FIELDS[name]
    assert field.aligned
    place = 8
    first = int(field.start + place * field.stride)
    assert first >= 0
    assert first + field.size <= SIZE
    assert seen_by(linear_twin(model, SIZE), place, SIZE) == (first, first + field.size - 1)


@pytest.mark.slow
def test_inception_v3_as_published():
    field = analyze(keras.applications.InceptionV3(weights=None)).field
    assert (field.size, field.stride, field.padding) == (1311, 32, 618)


def test_layers_of_many_kinds_by_gradient():
    inputs = keras.Input((96, 96, 3))
    x = keras.layers.Conv2D(2, 5, strides=2, padding="same")(inputs)
    x = keras.layers.ZeroPadding2D(((3, 1), (3, 1)))(x)
    x = keras.layers.SeparableConv2D(2, 3, dilation_rate=2)(x)
    x = keras.layers.Cropping2D(2)(x)
    left = keras.layers.AveragePooling2D(3, strides=2, padding="same")(x)
    right = x[:, 1::2, 1::2][:, :, :]
    right = keras.layers.Conv2D(2, (3, 3), padding="same")(right)
    right = keras.layers.Permute((2, 3, 1))(keras.layers.Permute((3, 1, 2))(right))
    merged = keras.layers.Concatenate()([left[:, 1:], keras.ops.abs(right)[:, :-1]])
    outputs = keras.layers.Reshape((-1, 22, 2, 2))(merged)
    assert outputs.shape[1:] == (21, 22, 2, 2)
    model = keras.Model(inputs, outputs)
    for variable in model.trainable_variables:
        variable.assign(np.ones(variable.shape))
    table = analyze(model)
    rows, columns, *_ = table.layers[-1].field
    import tensorflow as tf

    images = tf.ones((1, 96, 96, 3))
    with tf.GradientTape() as tape:
        tape.watch(images)
        output = tf.reduce_sum(model(images)[0, 10, 11])
    seen = tape.gradient(output, images).numpy()[0].sum(-1) > 0
    for field, place, axis in ((rows, 10, 1), (columns, 11, 0)):
        positions = np.flatnonzero(seen.any(axis))
        first = field.start + place * field.stride
        assert (positions[0], positions[-1]) == (first, first + field.size - 1)


def test_upsampling_and_transposed_convolution():
    """An output sees no more than said, and some output sees as much."""
    import tensorflow as tf

    for layer in (
        keras.layers.Conv2DTranspose(1, 3, strides=2, padding="same", kernel_initializer="ones"),
        keras.layers.Conv2DTranspose(1, 4, strides=2, padding="same", kernel_initializer="ones"),
        keras.layers.UpSampling2D(2),
        keras.layers.UpSampling2D(2, interpolation="bilinear"),
        keras.layers.Resizing(32, 32),
    ):
        model = keras.Sequential(
            [
                keras.Input((16, 16, 1)),
                keras.layers.Conv2D(1, 3, padding="same", kernel_initializer="ones"),
                layer,
            ]
        )
        report = analyze(model).layers[-1]
        assert report.stride == 0.5
        images = tf.ones((1, 16, 16, 1))
        counts = []
        for place in range(12, 18):
            with tf.GradientTape() as tape:
                tape.watch(images)
                output = model(images)[0, place, 14, 0]
            counts.append(int((tape.gradient(output, images)[0, :, :, 0].numpy() > 0).any(1).sum()))
        assert max(counts) == report.receptive_field


def test_branches_that_disagree_are_named():
    inputs = keras.Input((16, 16, 3))
    left = keras.layers.Conv2D(2, 3, strides=2, padding="same")(inputs)  # Pads below only.
    right = keras.layers.Conv2D(2, 1, strides=2)(inputs)
    table = analyze(keras.Model(inputs, keras.layers.Add(name="sum")([left, right])))
    assert not table.field.aligned
    assert table.remarks == ("branches of other stride or centre meet in sum",)
    # Padded evenly, as the builders here do, they agree.
    left = keras.layers.Conv2D(2, 3, strides=2)(keras.layers.ZeroPadding2D(1)(inputs))
    table = analyze(keras.Model(inputs, keras.layers.Add(name="sum")([left, right])))
    assert table.field.aligned
    assert (table.field.size, table.remarks) == (3, ())


def test_gates_and_attention_see_the_whole_image():
    inputs = keras.Input((16, 16, 4))
    x = keras.layers.Conv2D(4, 3, padding="same")(inputs)
    for gate in (SqueezeExcite(2), NonLocal()):
        table = analyze(keras.Model(inputs, gate(x)))
        assert table.sees_all
        assert table.field.size == 3
    assert not analyze(keras.Model(inputs, x)).sees_all
    assert analyze(keras.Model(inputs, BlurPooling()(x))).field.size == 5
    flat = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    assert analyze(flat).field is None


# Multiply-adds in G as torchvision publishes them (`_ops` of its weights), all networks as there.
PUBLISHED = {
    "alexnet": 0.714,
    "googlenet": 1.498,
    "resnet18": 1.814,
    "resnet50": 4.089,
    "mobilenet_v2": 0.301,
}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.sampled(1)
def test_published_multiply_adds(name):
    model = build_model(name)
    table = analyze(model)
    assert round(table.multiply_adds / 1e9, 3) == PUBLISHED[name]
    assert table.parameters == model.count_params()
    assert table.trainable == sum(int(np.prod(each.shape)) for each in model.trainable_weights)


def test_vgg16_as_published():
    """15.47 G; its dense layers are left out here and added by hand, since they take 0.5 GB."""
    table = analyze(build_model("vgg16", include_top=False))
    dense = 7 * 7 * 512 * 4096 + 4096 * 4096 + 4096 * 1000
    assert round((table.multiply_adds + dense) / 1e9, 2) == 15.47


def test_efficientnet_lite0_and_its_published_count():
    """407 M in its repository counts more than multiply-adds of convolutions.

    By its depth table these are 385 M, and 390 M is published for EfficientNet-B0, which has the
    same convolutions and small gates besides. With one operation more for each normalised value,
    activation and sum, it is within 1 % of the 407 M.
    """
    stages = (  # Expansion, channels, layers, stride, kernel (Tan and Le, 2019, table 1).
        (1, 16, 1, 1, 3),
        (6, 24, 2, 2, 3),
        (6, 40, 2, 2, 5),
        (6, 80, 3, 2, 3),
        (6, 112, 3, 1, 5),
        (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3),
    )
    size, width = 112, 32
    expected = size**2 * 32 * 27
    for expansion, channels, count, stride, kernel in stages:
        for layer in range(count):
            wide = width * expansion
            expected += size**2 * width * wide * (expansion > 1)
            size //= stride if layer == 0 else 1
            expected += size**2 * wide * (kernel**2 + channels)
            width = channels
    expected += size**2 * 320 * 1280 + 1280 * 1000
    table = analyze(build_model("efficientnet_lite0"))
    assert table.multiply_adds == expected
    assert abs(table.multiply_adds + table.other_operations - 407e6) < 0.01 * 407e6


def small(*layers, shape=(8, 8, 6)):
    return keras.Sequential([keras.Input(shape), *layers])


# Layer, multiply-adds, other operations: by hand for inputs of 8x8x6.
BY_HAND = {
    "conv": (keras.layers.Conv2D(4, 3, strides=2, padding="same"), 16 * 9 * 6 * 4, 16 * 4),
    "groups": (keras.layers.Conv2D(4, 3, groups=2, use_bias=False), 36 * 9 * 3 * 4, 0),
    "dilated": (keras.layers.Conv2D(4, 3, dilation_rate=2, activation="relu"), 16 * 216, 16 * 8),
    "transposed": (keras.layers.Conv2DTranspose(4, 2, strides=2, use_bias=False), 64 * 4 * 24, 0),
    "depthwise": (keras.layers.DepthwiseConv2D(3, depth_multiplier=2), 36 * 9 * 12, 36 * 12),
    "separable": (keras.layers.SeparableConv2D(4, 3), 36 * (9 * 6 + 24), 36 * 4),
    "dense": (keras.layers.Dense(5), 64 * 6 * 5, 64 * 5),
    "einsum": (keras.layers.EinsumDense("bhwc,cd->bhwd", (8, 8, 5)), 64 * 6 * 5, 0),
    "max pool": (keras.layers.MaxPooling2D(2), 0, 16 * 6 * 4),
    "global": (keras.layers.GlobalAveragePooling2D(), 0, 64 * 6),
    "norm": (keras.layers.BatchNormalization(), 0, 2 * 64 * 6),
    "relu": (keras.layers.ReLU(), 0, 64 * 6),
    "prelu": (keras.layers.PReLU(), 0, 64 * 6),
    "flatten": (keras.layers.Flatten(), 0, 0),
    "dropout": (keras.layers.Dropout(0.5), 0, 0),
    "blur": (BlurPooling(), 16 * 6 * 9, 0),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_counts_by_hand(name):
    layer, adds, others = BY_HAND[name]
    table = analyze(small(layer))
    assert (table.multiply_adds, table.other_operations) == (adds, others)
    assert table.parameters == layer.count_params()
    assert table.remarks == ()


def test_attention_by_hand():
    inputs = keras.Input((10, 6))
    outputs = keras.layers.MultiHeadAttention(2, 4, value_dim=3)(inputs, inputs)
    projections = 10 * 6 * (2 * 4 + 2 * 4 + 2 * 3) + 10 * 2 * 3 * 6
    assert analyze(keras.Model(inputs, outputs)).multiply_adds == projections + 100 * 2 * (4 + 3)
    product = keras.Model(inputs, keras.ops.matmul(inputs, keras.ops.transpose(inputs, (0, 2, 1))))
    assert analyze(product).multiply_adds == 10 * 10 * 6
    product = keras.Model(inputs, keras.ops.einsum("bic,bjc->bij", inputs, inputs))
    assert analyze(product).multiply_adds == 10 * 10 * 6
    product = keras.Model(inputs, keras.layers.Dot(axes=2)([inputs, inputs]))
    assert analyze(product).multiply_adds == 10 * 10 * 6


def test_shared_and_nested_layers():
    """A shared layer computes twice and has its weights once; nested models are opened."""
    shared = keras.layers.Conv2D(3, 3, padding="same", name="shared")
    inner = small(shared, keras.layers.ReLU(name="act"), shape=(8, 8, 3))
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, inner(shared(inputs)) + inputs)
    names = [layer.name for layer in model.layers]
    table = analyze(model)
    # Keras numbers the addition through the process: "add", "add_1", ...
    found = [re.sub(r"_\d+$", "", row.name.split("/")[-1]) for row in table.layers]
    assert found == ["shared", "shared", "act", "add"]
    assert table.layers[1].name == f"{inner.name}/shared"
    assert [row.parameters for row in table.layers] == [84, 0, 0, 0]
    assert table.multiply_adds == 2 * 64 * 81
    assert table.layers[-1].inputs == (2, -1)
    assert table.field.size == 5
    # Looking at a model leaves it as it was.
    assert [layer.name for layer in model.layers] == names
    keras.models.clone_model(model)


class Mystery(keras.layers.Layer):
    """A user's layer that looks beside each pixel without saying so."""

    def build(self, shape):
        self.kernel_matrix = self.add_weight(shape=(shape[-1], 4))

    def call(self, inputs):
        import tensorflow as tf

        return tf.matmul(inputs, self.kernel_matrix)


class Composite(keras.layers.Layer):
    """A user's layer of layers, with a weight of its own."""

    def __init__(self):
        super().__init__(name="composite")
        self.conv = keras.layers.Conv2D(3, 3, padding="same", name="conv")
        self.parts = [keras.layers.ReLU(name="act")]

    def build(self, shape):
        self.gain = self.add_weight(shape=(3,), name="gain")
        self.conv.build(shape)

    def call(self, inputs):
        return self.parts[0](self.conv(inputs) * self.gain)


def test_layers_of_users():
    table = analyze(small(Mystery(name="mystery")))
    assert table.layers[0].multiply_adds is None
    assert table.remarks == (
        "multiply-adds not counted in mystery",
        "taken to work pixel by pixel: mystery",
    )
    assert table.parameters == 24
    table = analyze(small(Composite(), shape=(8, 8, 3)))
    assert [row.name for row in table.layers][::2] == ["composite/conv", "composite/act"]
    assert (table.multiply_adds, table.parameters, table.field.size) == (64 * 81, 84 + 3, 3)


def test_memory_by_hand():
    inputs = keras.Input((8, 8, 2))
    x = keras.layers.Conv2D(4, 3, padding="same")(inputs)  # 256 numbers from 128
    y = keras.layers.ReLU()(x)
    z = keras.layers.Conv2D(8, 1)(y)  # 512
    s = keras.layers.Add()([z, keras.layers.Concatenate()([x, y])])
    model = keras.Model(inputs, keras.layers.Flatten()(s))
    table = analyze(model)
    # At the sum: z, the concatenation, and the result; x and y are gone by then. At the
    # concatenation: x, y, z and the result.
    assert table.inference_bytes == 4 * max(3 * 512, 256 + 256 + 512 + 512)
    # Kept: the inputs of both convolutions (images, y), y again as the output of its ReLU.
    # Gradients that meet at the sum: two of its inputs and its own.
    assert table.training_bytes == 4 * (128 + 256) + 4 * 3 * 512
    assert analyze(small(keras.layers.Flatten())).inference_bytes == 4 * 384
    half = small(keras.layers.Conv2D(6, 1, dtype="mixed_bfloat16"))
    assert analyze(half).inference_bytes == 384 * (4 + 2)


def test_sizes_that_the_model_leaves_open():
    model = small(keras.layers.Conv2D(4, 3), shape=(None, None, 3))
    with pytest.raises(ConfigError, match="leaves the size of its images open"):
        analyze(model)
    assert analyze(model, 10).multiply_adds == 64 * 27 * 4
    assert analyze(model, (10, 5, 3)).multiply_adds == 8 * 3 * 27 * 4
    for shape, message in (
        ((10, 10, 4), r"takes inputs of shape \(None, None, 3\)"),
        ((10, 10), "takes inputs of shape"),
        (0, "must be positive"),
        ("big", "input_shape must be"),
    ):
        with pytest.raises(ConfigError, match=message):
            analyze(model, shape)
    with pytest.raises(ConfigError, match="takes a Keras model"):
        analyze("resnet20")
