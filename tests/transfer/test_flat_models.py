"""Flat copies and transfer models: same numbers as the original, every layer reachable."""

import keras
import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.layers import ChannelNormalization, Scale
from recipes.transfer import flatten_model, gives_logits, transfer_model


def test_a_flat_copy_computes_the_same_and_shares_nothing(own, images, values, moved):
    flat = flatten_model(own)
    assert not [layer for layer in flat.layers if isinstance(layer, keras.Model)]
    assert [layer.name for layer in flat.layers if layer.weights] == [
        "inner_conv", "bn", "conv", "last"]  # fmt: skip
    np.testing.assert_array_equal(flat(images), own(images, training=False))
    before = values(own)
    for weight in flat.weights:
        weight.assign(weight + 1.0)
    assert moved(own, before) == set()


def test_the_original_keeps_its_own_graph(own, images):
    before = own(images, training=False)
    transfer_model(own, 3)
    assert own.get_layer("last").output is own.outputs[0]
    np.testing.assert_array_equal(own(images, training=False), before)


def test_shared_layers_stay_shared(images):
    shared = keras.layers.Conv2D(3, 3, padding="same", name="shared")
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, shared(shared(inputs)))
    flat = flatten_model(model)
    assert flat.count_params() == model.count_params() == 84
    np.testing.assert_array_equal(flat(images), model(images))


def test_what_is_not_in_the_configuration_comes_along(images):
    """A function without a name, learnt statistics, and single weights that train."""
    norm = keras.layers.Normalization()
    norm.adapt(images)
    still = keras.layers.BatchNormalization(name="still")
    layers = [norm, keras.layers.Lambda(lambda x: x + 1.0), still]
    model = keras.Sequential([keras.Input((16, 16, 3)), *layers])
    still.trainable = False
    still.beta.trainable = True
    flat = flatten_model(model)
    np.testing.assert_array_equal(flat(images), model(images))
    assert [weight.path for weight in flat.trainable_weights] == ["still/beta"]


def test_a_backbone_that_comes_frozen_trains_if_asked(own):
    own.trainable = False
    model = transfer_model(own, 3, frozen=False)
    kinds = {path.rsplit("/", 1)[1] for path in (w.path for w in model.trainable_weights)}
    assert kinds == {"kernel", "bias", "gamma", "beta"}
    assert not own.trainable


def test_several_inputs_and_operations(images):
    first, second = keras.Input((16, 16, 3), name="x"), keras.Input((16, 16, 3), name="y")
    joined = keras.ops.concatenate([first * 2.0, keras.ops.relu(second - first)], axis=-1)
    model = keras.Model([first, second], [joined, keras.layers.Flatten()(joined)])
    found = flatten_model(model)([images, images[::-1]])
    for ours, theirs in zip(found, model([images, images[::-1]]), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_augmentation_is_left_out_and_what_breaks_batch_norm_is_refused(own, images):
    with_flips = keras.Sequential(
        [keras.Input((16, 16, 3)), keras.layers.RandomFlip(), keras.layers.RandomRotation(0.1), own]
    )
    flat = flatten_model(with_flips)
    assert not [layer for layer in flat.layers if "random" in layer.name]
    np.testing.assert_array_equal(flat(images), own(images, training=False))
    resized = keras.Sequential([keras.Input((9, 9, 3)), keras.layers.Resizing(16, 16), own])
    with pytest.raises(ConfigError, match="is a Resizing, which inside a model .* input pipeline"):
        flatten_model(resized)


def test_a_model_without_a_graph_is_refused():
    class Mine(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ConfigError, match="has no graph to copy"):
        flatten_model(Mine())
    with pytest.raises(ConfigError, match="has no graph to copy"):
        flatten_model(keras.Sequential([keras.layers.Dense(2)]))


@pytest.mark.parametrize("name", ["MobileNetV2", "EfficientNetB0"])
@pytest.mark.slow
def test_a_keras_application_as_a_backbone(name):
    """Features of the flat copy are those of the application, to the bit."""
    keras.utils.set_random_seed(0)
    base = getattr(keras.applications, name)(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    model = transfer_model(base, 3)
    features = keras.Model(model.input, model.get_layer("head_pool").input)
    before = [weight.numpy() for weight in model.weights]
    np.testing.assert_array_equal(features(images), base(images, training=False))
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value, err_msg=f"model(x) moved {weight.path}")


def test_preprocessing_goes_inside(own, images):
    mean, variance = [100.0, 110.0, 120.0], [50.0**2, 60.0**2, 70.0**2]
    model = transfer_model(own, 3, mean=mean, variance=variance, classifier_activation=None)
    features = keras.Model(model.input, model.get_layer("head_pool").output)
    by_hand = (images - np.array(mean)) / np.sqrt(variance)
    expected = np.mean(own(by_hand.astype("float32"), training=False), axis=(1, 2))
    np.testing.assert_allclose(features(images), expected, rtol=1e-4, atol=1e-4)
    named = transfer_model("resnet9", 3, weights=None, mean=mean, variance=variance)
    (layer,) = [layer for layer in named.layers if isinstance(layer, ChannelNormalization)]
    assert layer.mean == mean


def test_the_head_is_what_was_asked_for(small, images):
    model = small(dense=(8, 5), dropout=0.3, pooling="max", classifier_activation=None)
    names = [layer.name for layer in model.layers[-7:]]
    assert names == ["head_pool", "head_dropout1", "head_dense1", "head_dropout2", "head_dense2",
                     "head_dropout", "logits"]  # fmt: skip
    feature_map = keras.Model(model.input, model.get_layer("head_pool").input)(images)
    x = np.max(feature_map, axis=(1, 2))
    for name in ("head_dense1", "head_dense2", "logits"):
        kernel, bias = model.get_layer(name).get_weights()
        x = x @ kernel + bias
        x = np.maximum(x, 0) if name != "logits" else x
    np.testing.assert_allclose(model(images), x, rtol=1e-4, atol=1e-4)
    assert gives_logits(model)
    assert not gives_logits(small())


def test_the_head_is_float32_whatever_the_policy(small, images):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small()
    finally:
        keras.config.set_dtype_policy("float32")
    assert {layer.compute_dtype for layer in model.layers[-3:]} == {"float32"}
    assert model.get_layer("stage2_conv").compute_dtype == "bfloat16"
    assert model(images).dtype == "float32"


def test_another_size_and_another_end(own, images):
    model = transfer_model(own, 3, features="relu", input_shape=(24, 20, 3))
    assert model.input_shape == (None, 24, 20, 3)
    assert [layer.name for layer in model.layers if layer.weights] == [
        "inner_conv", "bn", "logits"]  # fmt: skip
    original = own.get_layer("inner").get_layer("bn")
    np.testing.assert_array_equal(model.get_layer("bn").gamma, original.gamma)


def test_what_follows_the_features_need_not_fit_another_size():
    layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="features")]
    old = keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(5)])
    model = transfer_model(old, 3, features="features", input_shape=(16, 16, 3))
    assert model.output_shape == (None, 3)
    kernel = old.get_layer("features").kernel
    np.testing.assert_array_equal(model.get_layer("features").kernel, kernel)


def _classifier(*last):
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="dense"), *last])


def _cast():
    return keras.layers.Activation("linear", dtype="float32")


def _wrapped():
    inputs = keras.Input((4,))
    return keras.Model(inputs, _classifier(keras.layers.Softmax())(inputs))


def _by_function():
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.ops.softmax(keras.layers.Dense(3)(inputs)))


class _OwnStep(keras.Model):
    def train_step(self, data):
        return {}


def _with_a_step_of_its_own():
    inputs = keras.Input((4,))
    inner = _OwnStep(inputs, keras.layers.Dense(3, activation="softmax")(inputs))
    return keras.Sequential([keras.Input((4,)), inner])


def _joined(*lasts):
    inputs = keras.Input((4,))
    branches = [_classifier(*last)(inputs) for last in lasts]
    return keras.Model(inputs, keras.layers.Average()(branches))


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (_classifier, True),
        (_with_a_step_of_its_own, False),
        (lambda: _joined([keras.layers.Softmax()], [keras.layers.Softmax()]), False),
        (lambda: _joined([], []), True),
        (lambda: _classifier(Scale(0.125), keras.layers.Reshape((3,))), True),
        (lambda: _classifier(keras.layers.Activation("sigmoid")), False),
        (lambda: _classifier(keras.layers.Softmax(), keras.layers.Flatten()), False),
        (_wrapped, False),
        (lambda: keras.Sequential([keras.Input((4,)), _wrapped()]), False),
        (_by_function, False),
        (lambda: _classifier(keras.layers.Softmax(), _cast()), False),
        (lambda: _classifier(_cast()), True),
    ],
)
def test_what_a_classifier_gives(build, expected):
    """The expected answer is that of the rows' sums."""
    model = build()
    outputs = model(np.random.default_rng(0).normal(size=(6, 4)))
    is_positive = bool(np.all((outputs >= 0) & (outputs <= 1)))
    assert is_positive is not expected
    assert gives_logits(model) is expected


def test_outputs_that_do_not_tell_are_one_line():
    model = _classifier(keras.layers.LayerNormalization())
    with pytest.raises(ConfigError, match="ends in LayerNormalization, .* say from_logits"):
        gives_logits(model)
    with pytest.raises(ConfigError, match="ends in Average, .* say from_logits"):
        gives_logits(_joined([], [keras.layers.Softmax()]))

    class Mine(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ConfigError, match="ends in Mine, .* say from_logits"):
        gives_logits(Mine())


def test_a_weights_file_of_the_backbone(small, tmp_path, images):
    trained = small()
    backbone = keras.Model(trained.input, trained.get_layer("head_pool").input)
    backbone.save_weights(tmp_path / "backbone.weights.h5")
    model = transfer_model(
        "resnet9", 7, input_shape=(16, 16, 3), weights=tmp_path / "backbone.weights.h5",
        backbone_arguments={"width": 4},
    )  # fmt: skip
    for layer in backbone.layers:
        for ours, theirs in zip(
            model.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "resnet21"}, "unknown model 'resnet21'; did you mean"),
        ({"backbone": 50}, "backbone must be a name .* or a Keras model, received: 50"),
        ({"classes": 0}, "classes must be a positive integer, received: 0"),
        ({"classes": True}, "classes must be a positive integer, received: True"),
        ({"dense": (8, 0)}, "dense must be a positive integer, received: 0"),
        ({"dense": 8}, "dense must be a list of positive integers, received: 8"),
        ({"classifier_activation": "sofmax"}, "unknown classifier_activation, received: 'sofmax'"),
        ({"pooling": "mean"}, "pooling must be one of avg, max, received: 'mean'"),
        ({"dropout": 1}, r"dropout must be in \[0, 1\), received: 1"),
        ({"features": "stage1_conv"}, "features is for a backbone that is a model of your own"),
        ({"backbone_arguments": {"widht": 4}}, "did you mean 'width'"),
        ({"backbone_arguments": {"include_top": True}}, "transfer_model sets .*: include_top"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message):
    with pytest.raises(ConfigError, match=message) as caught:
        transfer_model(**{"backbone": "resnet9", "classes": 3, "weights": None, **arguments})
    assert "\n" not in str(caught.value)


def test_a_model_that_cannot_be_a_backbone_is_one_line(own):
    classifier = keras.Sequential([own, keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(4)])
    with pytest.raises(ConfigError, match=r"\(None, 4\), .* map is features='last'"):
        transfer_model(classifier, 3)
    assert transfer_model(classifier, 3, features="last").output_shape == (None, 3)
    with pytest.raises(ConfigError, match="has no layer 'lst'; did you mean 'last'"):
        transfer_model(classifier, 3, features="lst")
    with pytest.raises(ConfigError, match="own is a model, which brings its own"):
        transfer_model(own, 3, weights="file.weights.h5")
    with pytest.raises(ConfigError, match="takes images of 3 channels, received"):
        transfer_model(own, 3, input_shape=(16, 16, 1))
    with pytest.raises(ConfigError, match="mean and variance must be given together"):
        transfer_model(own, 3, mean=[1.0, 1.0, 1.0])
    for mean, variance in (([1.0] * 3, [1.0]), ([1.0] * 2, [1.0] * 2)):
        with pytest.raises(ConfigError, match="mean and variance|channels"):
            transfer_model(own, 3, mean=mean, variance=variance)
