"""Accelerated copies compute what their originals compute, forward, backward and over time."""

import keras
import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.layers import FusedBatchNormalization
from recipes.models.accelerate import accelerate

# Small, and large enough that no BatchNorm of a network with stride 32 averages few numbers.
SIZE = 64


def images(count=8, size=SIZE, channels=3):
    return np.random.default_rng(0).uniform(0, 1, (count, size, size, channels)).astype("float32")


def randomize(model, seed=1):
    """Draw all weights, so that no BatchNorm is the identity and no copy equal by chance."""
    random = np.random.default_rng(seed)
    for variable in model.weights:
        if "moving" in variable.path or "gamma" in variable.path:
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
        elif variable.path.endswith(("bias", "beta")):
            variable.assign(random.normal(scale=0.1, size=variable.shape))


def layers_of(model):
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from layers_of(layer)


def kinds(model):
    return [type(layer) for layer in layers_of(model)]


def check_equal(model, copy, inputs):
    """Compare names, flags, weights, outputs, and in training mode outputs and statistics."""
    assert copy.name == model.name
    assert [layer.name for layer in layers_of(copy)] == [layer.name for layer in layers_of(model)]
    assert [layer.trainable for layer in layers_of(copy)] == [
        layer.trainable for layer in layers_of(model)
    ]
    assert [weight.name for weight in copy.weights] == [weight.name for weight in model.weights]
    paths = [[weight.path for weight in each.trainable_weights] for each in (copy, model)]
    assert paths[0] == paths[1]
    for new, old in zip(copy.weights, model.weights, strict=True):
        assert new is not old
        np.testing.assert_array_equal(new, old)
    compare = keras.tree.map_structure
    compare(assert_close, copy(inputs), model(inputs))
    compare(assert_close, copy(inputs, training=False), model(inputs, training=False))
    # In training mode a deep random network makes rounding errors larger from layer to layer. How
    # much, the original tells: by what it answers to inputs that differ in the last digit.
    before = model.get_weights()
    expected = model(inputs, training=True)
    statistics = model.get_weights()
    model.set_weights(before)
    restore_random_state(copy, model)
    rounding = 0.0
    for seed in range(3):
        random = np.random.default_rng(seed)

        def in_the_last_digit(each, random=random):
            return each * (1 + 1e-7 * random.choice([-1, 1], each.shape)).astype(np.float32)

        nudged = model(keras.tree.map_structure(in_the_last_digit, inputs), training=True)
        rounding = max(rounding, largest(compare(distance, nudged, expected)))
        model.set_weights(before)
        restore_random_state(copy, model)
    assert rounding < 1e-3
    difference = largest(compare(distance, copy(inputs, training=True), expected))
    assert difference < max(1e-5, 4 * rounding)
    for new, old in zip(copy.get_weights(), statistics, strict=True):
        assert distance(new, old) < max(1e-5, 4 * rounding)


def assert_close(new, old):
    assert distance(new, old) < 1e-5


def distance(new, old):
    """The largest difference, of 1 or of the largest number if that is more."""
    new, old = np.asarray(new), np.asarray(old)
    return float(np.abs(new - old).max() / max(1.0, np.abs(old).max()))


def largest(distances):
    return max(keras.tree.flatten(distances))


def restore_random_state(source, target):
    """Rewind the random layers of one model to where those of another are."""
    for new, old in zip(seeds(target), seeds(source), strict=True):
        new.assign(old)


def seeds(model):
    return [each for each in model.variables if "seed_generator" in each.path]


APPLICATIONS = {
    "MobileNetV2": {"alpha": 0.35},
    "ResNet50": {},
    "MobileNetV3Small": {"alpha": 0.75, "include_preprocessing": True},
    "EfficientNetB0": {},
    "DenseNet121": {},
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name[0] in "DER")) for name in APPLICATIONS],
)
@pytest.mark.sampled(0, 2)
@pytest.mark.slow
def test_applications(name):
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(SIZE, SIZE, 3), classes=5, **APPLICATIONS[name]
    )
    randomize(model)
    copy = accelerate(model)
    assert keras.layers.BatchNormalization not in kinds(copy)
    assert kinds(copy).count(FusedBatchNormalization) == kinds(model).count(
        keras.layers.BatchNormalization
    )
    check_equal(model, copy, images() * (255 if "Net" in name and "V3" in name else 1))


def unusual_model():
    """Two inputs, two outputs by name, shared and nested layers, functions, frozen parts."""
    shared = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="shared")
    norm = keras.layers.BatchNormalization(name="shared_norm", momentum=0.8, epsilon=1e-2)
    inner = keras.Sequential(
        [
            keras.Input((None, None, 4)),
            keras.layers.Conv2D(6, 1, name="inner_conv"),
            keras.layers.BatchNormalization(name="inner_norm", scale=False),
            keras.layers.Dropout(0.5, name="inner_dropout"),
        ],
        name="inner",
    )
    inner.get_layer("inner_conv").trainable = False
    # A batch normalisation of which the offset alone trains.
    inner.get_layer("inner_norm").trainable = False
    inner.get_layer("inner_norm").beta.trainable = True
    tower_input = keras.Input((None, None, 4))
    tower = keras.Model(tower_input, inner(tower_input) + 1.0, name="tower")
    left, right = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right")
    a, b = norm(shared(left)), norm(shared(right))
    frozen = keras.layers.BatchNormalization(name="frozen", trainable=False)
    merged = tower(keras.layers.Add(name="sum")([a, frozen(b) / 2.0]))
    kept = keras.layers.BatchNormalization(name="as_in_inference")(merged, training=False)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(keras.ops.square(kept))
    odd = keras.layers.Lambda(lambda x: x * 2.0, name="doubled")(pooled)
    vector_norm = keras.layers.BatchNormalization(name="vector_norm")(odd)
    other_axis = keras.layers.BatchNormalization(axis=1, name="other_axis")(merged)
    outputs = {
        "class": keras.layers.Dense(2, name="class")(vector_norm),
        "map": keras.layers.Activation(lambda x: -x, name="map")(other_axis),
    }
    return keras.Model({"left": left, "right": right}, outputs, name="unusual")


def test_everything_that_a_graph_can_hold():
    keras.utils.set_random_seed(0)
    model = unusual_model()
    randomize(model)
    copy = accelerate(model)
    assert [
        type(copy.get_layer(name)).__name__
        for name in ("shared_norm", "frozen", "as_in_inference", "vector_norm", "other_axis")
    ] == ["FusedBatchNormalization"] * 3 + ["BatchNormalization"] * 2
    inner = copy.get_layer("tower").get_layer("inner")
    assert type(inner.get_layer("inner_norm")) is FusedBatchNormalization
    assert isinstance(inner, keras.Sequential)
    assert not inner.get_layer("inner_conv").trainable
    # Dropout draws the same: the state of random layers came along.
    check_equal(model, copy, {"left": images(size=8), "right": 1 - images(size=8)})
    assert set(copy.output) == {"class", "map"}


def test_gradients_and_the_original_stay(monkeypatch):
    """Smooth activations: at the edge of a ReLU, rounding alone changes gradients."""
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = inputs
    for number in range(3):
        x = keras.layers.Conv2D(6, 3, padding="same", name=f"conv{number}")(x)
        x = keras.layers.BatchNormalization(name=f"norm{number}")(x)
        x = keras.layers.Activation("silu", name=f"act{number}")(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    randomize(model)
    before = model.get_weights()
    copy = accelerate(model)
    gradients = []
    for each in (model, copy):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(each(images(size=8), training=True) ** 3)
        gradients.append(tape.gradient(loss, [v.value for v in each.trainable_weights]))
    for old, new in zip(*gradients, strict=True):
        assert_close(new, old)
    model.set_weights(before)
    copy.compile("sgd", "mse")
    copy.fit(images(size=8), np.zeros((8, 6)), verbose=0)
    for old, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)
    assert not model.compiled


def test_compiled_state_is_not_carried_and_models_save(tmp_path):
    inputs = keras.Input((8, 8, 3), name="images")
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(2, 3)(inputs))
    model = keras.Model(inputs, keras.layers.Flatten()(x))
    model.compile("adam", lambda labels, outputs: keras.ops.sum(outputs, -1))
    model.train_on_batch(images(size=8), np.zeros((8, 72)))
    copy = accelerate(model)
    assert not copy.compiled
    copy.save(tmp_path / "copy.keras")
    loaded = keras.models.load_model(tmp_path / "copy.keras")
    np.testing.assert_array_equal(loaded(images(size=8)), copy(images(size=8)))
    # Weights of one go into the other.
    copy.set_weights([value + 0.5 for value in copy.get_weights()])
    model.set_weights(copy.get_weights())
    assert_close(model(images(size=8)), copy(images(size=8)))


def test_adapted_normalization_is_copied():
    norm = keras.layers.Normalization(name="norm")
    norm.adapt(images(size=8) * 50)
    model = keras.Sequential([keras.Input((8, 8, 3)), norm, keras.layers.BatchNormalization()])
    check_equal(model, accelerate(model), images(size=8) * 50)


def test_mixed_precision_keeps_both_ends_in_float32():
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV3Small((SIZE, SIZE, 3), weights=None, classes=4)
    copy = accelerate(model, precision="mixed_bfloat16")
    policies = {layer.name: layer.dtype_policy.name for layer in copy.layers}
    preparing = (keras.layers.Rescaling, keras.layers.Normalization)
    assert {policies[each.name] for each in copy.layers if isinstance(each, preparing)} == {
        "float32"
    }
    # The pooled vector keeps its axes here, and the logits are a convolution.
    names = [layer.name for layer in copy.layers]
    pool = max(place for place, name in enumerate(names) if "global_average_pooling" in name)
    assert policies["logits"] == policies[names[pool]] == policies[names[-1]] == "float32"
    assert policies["expanded_conv_squeeze_excite_conv"] == "mixed_bfloat16"
    assert policies["conv"] == policies["conv_1"] == policies[names[pool - 1]] == "mixed_bfloat16"
    assert copy.output.dtype == "float32"
    assert {weight.dtype for weight in copy.trainable_weights} == {"float32"}
    for new, old in zip(copy.weights, model.weights, strict=True):
        np.testing.assert_array_equal(new, old)
    np.testing.assert_allclose(copy(images() * 255), model(images() * 255), atol=0.02)
    back = accelerate(copy, precision="float32")
    assert {layer.dtype_policy.name for layer in back.layers} == {"float32"}
    assert_close(back(images() * 255), model(images() * 255))


def test_automatic_precision_follows_the_processor(monkeypatch):
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
    for chosen in ("float32", "mixed_bfloat16"):
        monkeypatch.setattr(
            "recipes.hardware.choose_precision", lambda asked, chosen=chosen: (chosen, "said so")
        )
        assert accelerate(model, precision="auto").layers[0].dtype_policy.name == chosen


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


class OwnStep(keras.Model):
    def train_step(self, data):
        return {}


class Odd(keras.layers.Layer):
    def __init__(self, function):
        super().__init__(name="odd")
        self.function = function

    def call(self, inputs):
        return self.function(inputs)

    def get_config(self):
        return {"name": "odd"}


def test_what_cannot_be_replayed_is_refused():
    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.BatchNormalization()(inputs)
    with pytest.raises(ConfigError, match="Subclassed is a subclass with its own call$"):
        accelerate(Subclassed())
    with pytest.raises(ConfigError, match=r"train_step; keras.Model\(model.inputs, model.outputs"):
        accelerate(OwnStep(inputs, outputs))
    with pytest.raises(ConfigError, match="takes a Keras model, received: 'resnet50'"):
        accelerate("resnet50")
    with pytest.raises(ConfigError, match="odd of class Odd cannot be copied"):
        accelerate(keras.Model(inputs, Odd(lambda x: x + 1)(outputs)))
    with pytest.raises(ConfigError, match="precision must be one of"):
        accelerate(keras.Model(inputs, outputs), precision="bfloat16")
    with pytest.raises(ConfigError, match="has no shapes yet"):
        accelerate(keras.Sequential([keras.layers.BatchNormalization()]))


def test_a_subclass_that_only_adds_names_is_taken():
    class Backbone(keras.Model):
        def __init__(self, width):
            inputs = keras.Input((8, 8, 3))
            x = keras.layers.Conv2D(width, 3, name="conv")(inputs)
            super().__init__(inputs, keras.layers.BatchNormalization(name="norm")(x))
            self.width = width

    model = Backbone(4)
    check_equal(model, accelerate(model), images(size=8))
