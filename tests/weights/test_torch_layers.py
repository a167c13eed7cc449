"""PyTorch's layouts, against what PyTorch's documentation says that its layers compute."""

import keras
import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.layers import FusedBatchNormalization
from recipes.weights import TorchLayer, assign_torch


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def convolved(images, weight, bias, groups=1):
    """`torch.nn.functional.conv2d` without padding, by its definition, on NCHW images."""
    windows = np.lib.stride_tricks.sliding_window_view(images, weight.shape[2:], axis=(2, 3))
    each, outputs = len(weight) // groups, []
    for group in range(groups):
        channels = np.split(windows, groups, axis=1)[group]
        kernels = weight[group * each : (group + 1) * each]
        outputs.append(np.einsum("nchwij,ocij->nohw", channels, kernels))
    return np.concatenate(outputs, axis=1) + bias[:, None, None]


def one_layer(layer, shape):
    return keras.Sequential([keras.Input(shape), layer])


@pytest.mark.parametrize(
    ("layer", "weight_shape", "groups"),
    [
        (lambda: keras.layers.Conv2D(8, (2, 3), name="layer"), (8, 6, 2, 3), 1),
        (lambda: keras.layers.Conv2D(8, 3, groups=2, name="layer"), (8, 3, 3, 3), 2),
        (lambda: keras.layers.DepthwiseConv2D(3, name="layer"), (6, 1, 3, 3), 6),
        (
            lambda: keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="layer"),
            (12, 1, 3, 3),
            6,
        ),
        (lambda: keras.layers.Dense(8, name="layer"), (8, 6, 1, 1), 1),
    ],
)
def test_convolutions(layer, weight_shape, groups):
    model = one_layer(layer(), (5, 6, 6))
    arrays = {"a.weight": random(*weight_shape), "a.bias": random(weight_shape[0], seed=1)}
    report = assign_torch(model, arrays, {"layer": "a"})
    assert (report.assigned, report.skipped, report.unused) == (("layer",), {}, ())
    images = random(2, 6, 5, 6, seed=2)
    expected = convolved(images, arrays["a.weight"], arrays["a.bias"], groups)
    outputs = model(images.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(outputs, expected.transpose(0, 2, 3, 1), rtol=0, atol=1e-5)


def test_a_linear_layer_over_channels_is_a_1x1_convolution():
    model = one_layer(keras.layers.Conv2D(4, 1, name="layer"), (5, 5, 6))
    arrays = {"a.weight": random(4, 6), "a.bias": random(4, seed=1)}
    assign_torch(model, arrays, {"layer": "a"})
    images = random(2, 5, 5, 6, seed=2)
    expected = images @ arrays["a.weight"].T + arrays["a.bias"]
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=1e-5)


def test_a_convolution_along_one_axis():
    model = one_layer(keras.layers.Conv1D(4, 3, use_bias=False, name="layer"), (7, 2))
    arrays = {"a.weight": random(4, 2, 3)}
    assign_torch(model, arrays, {"layer": "a"})
    line = random(1, 7, 2, seed=2)
    windows = np.lib.stride_tricks.sliding_window_view(line, 3, axis=1)
    expected = np.einsum("nlck,ock->nlo", windows, arrays["a.weight"])
    np.testing.assert_allclose(model(line), expected, rtol=0, atol=1e-5)


def test_a_dense_layer_after_a_flattening():
    model = keras.Sequential(
        [
            keras.Input((2, 3, 4)),
            keras.layers.Flatten(),
            keras.layers.Dense(5, name="layer"),
        ]
    )
    arrays = {"a.weight": random(5, 24), "a.bias": random(5, seed=1)}
    assign_torch(model, arrays, {"layer": TorchLayer("a", flatten=(4, 2, 3))})
    images = random(2, 4, 2, 3, seed=2)
    expected = images.reshape(2, -1) @ arrays["a.weight"].T + arrays["a.bias"]
    outputs = model(images.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [FusedBatchNormalization, keras.layers.BatchNormalization])
def test_batch_normalization(kind):
    model = one_layer(kind(epsilon=1e-5, name="layer"), (3, 3, 4))
    arrays = {
        "a.weight": random(4),
        "a.bias": random(4, seed=1),
        "a.running_mean": random(4, seed=2),
        "a.running_var": np.abs(random(4, seed=3)),
        "a.num_batches_tracked": np.array(9),
    }
    assert assign_torch(model, arrays, {"layer": "a"}).unused == ()
    images = random(2, 3, 3, 4, seed=4)
    centred = (images - arrays["a.running_mean"]) / np.sqrt(arrays["a.running_var"] + 1e-5)
    expected = centred * arrays["a.weight"] + arrays["a.bias"]
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=1e-4)


def test_layer_normalization_and_single_parameters():
    class Factor(keras.layers.Layer):
        def build(self, shape):
            self.factor = self.add_weight(shape=(shape[-1],), name="factor")

        def call(self, inputs):
            return inputs * self.factor

    model = keras.Sequential(
        [
            keras.Input((3, 3, 4)),
            keras.layers.LayerNormalization(epsilon=1e-6, name="norm"),
            Factor(name="scale"),
        ]
    )
    arrays = {"n.weight": random(4), "n.bias": random(4, seed=1), "s": random(4, 1, 1, seed=2)}
    report = assign_torch(model, arrays, {"norm": "n", "scale": "s"})
    assert report.assigned == ("norm", "scale")
    images = random(2, 3, 3, 4, seed=3)
    deviation = np.sqrt(images.var(-1, keepdims=True) + 1e-6)
    normal = (images - images.mean(-1, keepdims=True)) / deviation
    expected = (normal * arrays["n.weight"] + arrays["n.bias"]) * arrays["s"][:, 0, 0]
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=1e-4)


TABLE = {"stem_conv": "conv1", "stem_bn": "bn1", "stage1_conv": "conv2", "logits": "fc"}


def torch_arrays(classes=5):
    return {
        "conv1.weight": random(6, 3, 3, 3),
        **{f"bn1.{name}": random(6) + 9 for name in ("weight", "bias", "running_mean")},
        "bn1.running_var": np.ones(6),
        "bn1.num_batches_tracked": np.array(3),
        "conv2.weight": random(6, 1, 3, 3),
        "conv2.bias": random(6),
        "fc.weight": random(classes, 6),
        "fc.bias": random(classes),
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc.weight": random(7, 6)}, r"logits takes the shape \(6, 5\), .* \(7, 6\) as 'fc.wei"),
        ({"fc.bias": None}, r"logits takes 2 arrays, the file holds 1 \(no 'fc.bias'"),
        (
            {"conv1.weight": None, "conv1.weigth": random(6, 3, 3, 3)},
            "stem_conv takes 1 array, .*no 'conv1.weight'; did you mean 'conv1.weigth'",
        ),
        ({"conv1.bias": random(6)}, "stem_conv takes 1 array, the file holds 2 .'conv1.bias' has"),
        ({"conv2.weight": random(6)}, "stage1_conv takes the shape"),
        ({"conv1.weight": random(6, 3, 3, 3, 1)}, "stem_conv takes the shape"),
        ({"fc.bias": np.array(["a"] * 5)}, "logits takes numbers, the file holds <U1"),
        (
            {"fc.bias": None, "conv2.bias": None, "bn1.bias": None},
            "stem_bn takes 4 .* 2 more layers do not fit",
        ),
    ],
)
def test_what_does_not_fit_changes_nothing(network, change, message):
    model = network.make()
    before = network.values(model)
    arrays = {**torch_arrays(), **change}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    with pytest.raises(ConfigError, match=message) as caught:
        assign_torch(model, arrays, TABLE, source="file.pth")
    assert str(caught.value).startswith("weights of file.pth do not fit network: ")
    for path, value in network.values(model).items():
        np.testing.assert_array_equal(value, before[path])


def test_skipped_layers_are_reported(network):
    model = network.make()
    before = network.values(model)
    arrays = {**torch_arrays(classes=7), "aux.weight": random(2)}
    report = assign_torch(model, arrays, TABLE, skip_mismatched=True, source="file.pth")
    assert report.assigned == ("stem_conv", "stem_bn", "stage1_conv")
    assert list(report.skipped) == ["logits"]
    assert report.unused == ("aux.weight",)
    after = network.values(model)
    for path in ("logits/kernel", "logits/bias"):
        np.testing.assert_array_equal(after[path], before[path])
    expected = arrays["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(after["stem_conv/kernel"], expected)
    assert str(report).splitlines() == [
        "file.pth: 3 layers set, 1 skipped, 1 name unused",
        "  skipped logits: takes the shape (6, 5), the file holds (7, 6) as 'fc.weight'",
        "  unused aux.weight",
    ]


def test_a_file_of_which_nothing_fits_is_an_error_even_so(network):
    with pytest.raises(ConfigError, match="; 3 more layers do not fit .nothing fits"):
        assign_torch(network.make(), {"x": random(2)}, TABLE, skip_mismatched=True)


def test_features_take_the_same_table(network):
    features = network.make(top=False)
    report = assign_torch(features, torch_arrays(), TABLE)
    assert report.assigned == ("stem_conv", "stem_bn", "stage1_conv")
    assert report.unused == ("fc.weight", "fc.bias")


def test_a_layer_that_is_not_in_the_table(network):
    with pytest.raises(ConfigError, match="network has no PyTorch name for .* stem_bn"):
        assign_torch(network.make(), torch_arrays(), {**TABLE, "stem_bn": None})


def test_layers_of_a_nested_model():
    inner = one_layer(keras.layers.Dense(4, name="dense"), (3,))
    inner.name = "inner"
    model = keras.Sequential([keras.Input((3,)), inner, keras.layers.Dense(2, name="dense")])
    arrays = {
        "a.weight": random(4, 3),
        "a.bias": random(4),
        "b.weight": random(2, 4),
        "b.bias": random(2),
    }
    report = assign_torch(model, arrays, {"inner/dense": "a", "dense": "b"})
    assert report.assigned == ("inner/dense", "dense")
    np.testing.assert_array_equal(inner.layers[-1].kernel, arrays["a.weight"].T)


def test_half_precision_variables(network):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = network.make()
    finally:
        keras.config.set_dtype_policy("float32")
    arrays = {name: array.astype("float16") for name, array in torch_arrays().items()}
    assign_torch(model, arrays, TABLE)
    kernel = model.get_layer("logits").kernel
    assert kernel.dtype == "float32"
    np.testing.assert_array_equal(kernel, arrays["fc.weight"].T.astype("float32"))
