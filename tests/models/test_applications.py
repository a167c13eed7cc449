import keras
import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.layers import FusedBatchNormalization
from recipes.models import build_application, build_model
from recipes.models._symbolic import without_values

SMALL = {"input_shape": (32, 32, 3), "classes": 5}
# The functions that prepare the images for each network, by keras.io.
MODULES = {
    "ResNet50": "resnet",
    "ResNet50V2": "resnet_v2",
    "VGG16": "vgg16",
    "MobileNet": "mobilenet",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3Small": "mobilenet_v3",
    "EfficientNetB0": "efficientnet",
    "EfficientNetV2B0": "efficientnet_v2",
    "DenseNet121": "densenet",
    "InceptionV3": "inception_v3",
    "InceptionResNetV2": "inception_resnet_v2",
    "Xception": "xception",
    "ConvNeXtTiny": "convnext",
    "NASNetMobile": "nasnet",
}
FAST = ("MobileNet", "MobileNetV3Small", "EfficientNetB0")
LARGER = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}
PREPROCESSING = (keras.layers.Rescaling, keras.layers.Normalization)


def symbolic(application, **keywords):
    """Build a model whose variables have shapes but no values."""
    return without_values(build_application, application, **keywords)


def opened(model):
    """Return the layers of a model with weights, those of nested models one by one."""
    layers = []
    for layer in model.layers:
        layers += opened(layer) if isinstance(layer, keras.Model) else [layer]
    return [layer for layer in layers if layer.weights and not isinstance(layer, PREPROCESSING)]


def give_same_weights(ours, theirs):
    """Set random arrays in both models that keep activations at their size."""
    random = np.random.default_rng(0)
    twins = opened(theirs)
    if {layer.name for layer in opened(ours)} == {layer.name for layer in twins}:
        by_name = {layer.name: layer for layer in twins}
        twins = [by_name[layer.name] for layer in opened(ours)]
    for layer, twin in zip(opened(ours), twins, strict=True):
        arrays = [
            random.standard_normal(weight.shape, "float32")
            * (2 / np.prod(weight.shape[: 2 if weight.shape[-1] == 1 else -1])) ** 0.5
            if len(weight.shape) > 1
            else random.uniform(0.5, 1.5, weight.shape)
            for weight in twin.weights
        ]
        twin.set_weights(arrays)
        layer.set_weights(arrays)


def make_images(size, count=2):
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 3)).astype("float32")


@pytest.mark.parametrize(
    "application",
    [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in MODULES],
)
@pytest.mark.sampled(1, 2)
def test_outputs_equal_those_of_keras_on_prepared_images(application):
    size = LARGER.get(application, 32)
    arguments = {"input_shape": (size, size, 3), "classes": 5, "classifier_activation": None}
    ours = build_model(f"keras:{application}", **arguments)
    theirs = getattr(keras.applications, application)(**arguments, weights=None)
    give_same_weights(ours, theirs)
    images = make_images(size)
    prepare = getattr(keras.applications, MODULES[application]).preprocess_input
    expected = theirs.predict(prepare(images.copy()), verbose=0)
    before = ours.get_weights()
    outputs = ours(images)
    # Images changed by rounding alone change the outputs of Keras' EfficientNetV2 by 1e-4 of them.
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=3e-4 * np.abs(expected).max())
    for old, new in zip(before, ours.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert not any(isinstance(layer, (keras.Model, *PREPROCESSING)) for layer in ours.layers)


@pytest.mark.parametrize("application", ["ResNet50", "ResNet50V2", "DenseNet121"])
@pytest.mark.sampled(1)
def test_preparation(application):
    # One network each of the three ways that Keras has: "caffe", "tf" and "torch".
    model = symbolic(application, input_shape=(32, 32, 3), include_top=False)
    names = [layer.name for layer in model.layers]
    last = "normalization_order" if "normalization_order" in names else "normalization"
    images = make_images(32)
    prepared = keras.Model(model.input, model.get_layer(last).output)(images)
    prepare = getattr(keras.applications, MODULES[application]).preprocess_input
    np.testing.assert_allclose(prepared, prepare(images.copy()), atol=1e-4)


def test_other_statistics_keep_the_order_of_the_channels():
    arguments = {"input_shape": (32, 32, 3), "include_top": False}
    model = symbolic("ResNet50", **arguments, mean=[1.0, 2.0, 3.0], variance=[4.0, 16.0, 64.0])
    order = keras.Model(model.input, model.get_layer("normalization_order").output)
    np.testing.assert_allclose(order(np.full((1, 32, 32, 3), 5.0))[0, 0, 0], [0.25, 0.75, 2.0])
    plain = symbolic("ResNet50", **arguments, include_preprocessing=False)
    assert not any("normalization_" in layer.name for layer in plain.layers)
    grey = symbolic("ResNet50", **{**arguments, "input_shape": (32, 32, 1)})
    assert len(grey.get_layer("normalization").mean) == 1


@pytest.mark.slow
def test_names_do_not_depend_on_what_was_built_before():
    first, second = (symbolic("InceptionV3", include_top=False) for _ in range(2))
    names = [layer.name for layer in first.layers]
    assert names == [layer.name for layer in second.layers]
    numbers = {int(name.partition("_")[2] or 0) for name in names if name.startswith("conv2d")}
    assert numbers == set(range(94))
    assert (first.input_shape, first.name) == ((None, 299, 299, 3), "keras_InceptionV3")


@pytest.fixture(scope="module")
def small():
    """Return a small network that must not be changed."""
    return build_application("MobileNetV2", **SMALL)


def test_saving(small, tmp_path):
    path = tmp_path / "model.keras"
    small.save(path)
    images = make_images(32)
    np.testing.assert_array_equal(keras.models.load_model(path)(images), small(images))
    again = build_model("keras:MobileNetV2", **SMALL, weights=path)
    np.testing.assert_array_equal(again(images), small(images))


@pytest.mark.slow
@pytest.mark.parametrize("application", ["MobileNetV3Small", "ConvNeXtTiny", "InceptionResNetV2"])
def test_saving_networks_with_layers_of_their_own(application, tmp_path):
    size = LARGER.get(application, 32)
    model = build_application(application, input_shape=(size, size, 3), classes=5)
    model.save(tmp_path / "model.keras")
    images = make_images(size)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(images), model(images))


@pytest.mark.slow
def test_training():
    model = build_application("MobileNetV2", **SMALL)
    kinds = {type(layer) for layer in model.layers}
    assert FusedBatchNormalization in kinds
    assert keras.layers.BatchNormalization not in kinds
    before = [weight.numpy() for weight in model.weights]
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(make_images(32, 8), np.arange(8) % 5, verbose=0)
    moved = [not np.array_equal(old, new) for old, new in zip(before, model.weights, strict=True)]
    assert np.mean(moved) > 0.95


@pytest.mark.parametrize(
    ("application", "arguments", "rates"),
    [
        ("MobileNetV2", {}, []),
        ("MobileNetV2", {"dropout": 0.4}, [("head_dropout", 0.4)]),
        ("MobileNet", {}, [("dropout", 0.001)]),
        ("MobileNet", {"dropout": 0.3}, [("dropout", 0.3)]),
        ("MobileNet", {"dropout": 0.0}, []),
        ("VGG16", {"dropout": 0.5}, [("head_dropout", 0.5)]),
    ],
)
@pytest.mark.sampled(1)
def test_dropout(application, arguments, rates):
    model = symbolic(application, **SMALL, **arguments)
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert [(layer.name, layer.rate) for layer in layers] == rates


def test_dropout_inside_the_network_stays():
    model = symbolic("EfficientNetB0", **SMALL, dropout=0.5)
    rates = {layer.name: layer.rate for layer in model.layers if "drop" in layer.name}
    assert rates.pop("top_dropout") == 0.5
    assert max(rates.values()) < 0.2


@pytest.mark.parametrize("application", ["MobileNetV2", "MobileNetV3Small", "VGG16"])
def test_the_head_is_float32_in_mixed_precision(application):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = symbolic(application, **SMALL, classifier_activation=None)
    assert model.outputs[0].dtype == "float32"
    assert model.get_layer("normalization").compute_dtype == "float32"
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert convolutions[2].compute_dtype == "bfloat16"


def with_statistics(function):
    """Return a builder that has weights for "imagenet", learnt statistics of images among them."""

    def build(*, weights, **arguments):
        assert weights == "imagenet"
        model = function(weights=None, **arguments)
        random = np.random.default_rng(0)
        for layer in model.layers:
            if isinstance(layer, keras.layers.Normalization):
                layer.set_weights(
                    [np.array([0.4, 0.5, 0.6]), np.array([0.1, 0.2, 0.3]), np.array(1)]
                )
                layer.finalize_state()
            elif layer.weights:
                layer.set_weights([random.uniform(0.5, 1, w.shape) for w in layer.weights])
        return model

    build.__name__ = function.__name__
    return build


def test_weights_of_keras_come_with_their_statistics(monkeypatch):
    build = with_statistics(keras.applications.EfficientNetB0)
    monkeypatch.setattr(keras.applications, "EfficientNetB0", build)
    arguments = {"input_shape": (32, 32, 3), "include_top": False}
    model = build_application("EfficientNetB0", **arguments, weights="imagenet")
    theirs = build(**arguments, weights="imagenet")
    np.testing.assert_allclose(model.get_layer("normalization").mean, [102, 127.5, 153], rtol=1e-5)
    stem = [one.get_layer("stem_conv").output for one in (model, theirs)]
    images = make_images(32)
    ours, expected = (
        keras.Model(one.input, output)(images)
        for one, output in zip((model, theirs), stem, strict=True)
    )
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_file_of_keras(small, tmp_path, recwarn):
    theirs = keras.applications.MobileNetV2(**SMALL, weights=None, classifier_activation=None)
    give_same_weights(build_application("MobileNetV2", **SMALL), theirs)
    theirs.save(tmp_path / "weights.h5")
    arguments = {**SMALL, "classifier_activation": None}
    model = build_application("MobileNetV2", **arguments, weights=tmp_path / "weights.h5")
    images = make_images(32)
    expected = np.asarray(theirs(images / 127.5 - 1))
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("application", "arguments", "message"),
    [
        ("ResNet51", {}, "unknown network of keras.applications: 'ResNet51'; did you mean 'ResNe"),
        (50, {}, "unknown network of keras.applications: 50"),
        ("InceptionV3", SMALL, "keras.applications.InceptionV3: Input size must be at least 75x75"),
        ("MobileNetV2", {"weights": "lost.h5"}, "weights file not found: lost.h5"),
        ("MobileNetV2", {"weights": "lost.keras"}, "lost.keras"),
        ("MobileNetV2", {"weights": "imagenet", "classes": 5}, "keras.applications.MobileNetV2"),
        (
            "MobileNetV2",
            {"weights": "imagenet", "include_top": False, "input_shape": (32, 32, 1)},
            "take images of 3 channels, received input_shape",
        ),
        ("MobileNetV2", {"classes": 0}, "classes must be a positive integer"),
        ("MobileNetV2", {"pooling": "sum"}, "pooling must be None, 'avg' or 'max'"),
        ("MobileNetV2", {"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ("MobileNetV2", {"input_shape": (32, 32)}, "input_shape must be"),
        ("MobileNetV2", {"input_shape": (32, 32, 4)}, "images of 4 channels need mean"),
        ("MobileNetV2", {**SMALL, "mean": [1.0] * 3}, "mean and variance must be given together"),
    ],
)
@pytest.mark.sampled(2)
def test_wrong_arguments(application, arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_application(application, **arguments)


def test_any_name_of_keras_is_a_model():
    with pytest.raises(ConfigError, match="unknown network of keras.applications: 'ResNet999'"):
        build_model("keras:ResNet999")
    with pytest.raises(ConfigError, match="application is part of the name 'keras:VGG16'"):
        build_model("keras:VGG16", application="VGG19")
