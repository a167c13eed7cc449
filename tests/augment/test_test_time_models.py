"""Test-time augmentation of whole networks: inference mode, files, exports, mistakes."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from augment import Pipeline, RandomFlip, TestTimeAugment, View

CLASSES = 4


def conv_model(activation="softmax", shape=(16, 16, 3), inside=(), dtype=None, seed=0):
    """Make a network with all that behaves differently in training."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    inputs = keras.Input(shape)
    x = layers.Normalization(axis=None, mean=120.0, variance=5000.0)(inputs)
    for layer in inside:
        x = layer(x)
    x = layers.Conv2D(8, 3, padding="same", dtype=dtype)(x)
    x = layers.Dropout(0.5)(layers.ReLU()(layers.BatchNormalization()(x)))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(CLASSES, kernel_initializer="he_normal", dtype="float32")(x)
    return keras.Model(inputs, layers.Activation(activation, dtype="float32")(x), name="net")


@pytest.mark.parametrize("average", ["geometric", "arithmetic"])
@pytest.mark.parametrize("views", [[View()], [View(), View(weight=2)]])
@pytest.mark.parametrize("logits", [False, True])
def test_one_view_is_the_model_bit_for_bit(random_images, views, average, logits):
    model = conv_model("linear" if logits else "softmax")
    views = TestTimeAugment(model, views, average=average, logits=logits)
    images = random_images(6, 16, 16)
    np.testing.assert_array_equal(views(images), model(images, training=False))
    np.testing.assert_array_equal(views(images.astype(np.float32)), views(images))


def test_inference_mode_always_and_no_gradient(random_images):
    """Keras 3.15 overrides `base(x, training=False)` in `fit`, and its layers of augmentation
    switch those after them to training."""
    model = conv_model(inside=[keras.layers.RandomFlip()])
    expected = model(random_images(6, 16, 16), training=False)
    before = model.get_weights()
    views = TestTimeAugment(model, [View()])
    for arguments in ({}, {"training": True}, {"training": False}):
        with tf.GradientTape() as tape:
            found = views(random_images(6, 16, 16), **arguments)
        np.testing.assert_array_equal(found, expected)
        gradients = tape.gradient(found, views.trainable_variables)
        assert len(gradients) == 6
        assert not any(part is not None for part in gradients)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


@keras.saving.register_keras_serializable(package="keras_recipes_test_files")
class Transpose(keras.layers.Layer):
    """A view that is no `View`."""

    def call(self, images):
        return tf.transpose(images, (0, 2, 1, 3))


@pytest.mark.parametrize("make", [conv_model, lambda: keras.Sequential(conv_model().layers)])
@pytest.mark.parametrize(
    ("views", "arguments"),
    [
        ("ten_crop", {"average": "arithmetic", "chunk": 4}),
        ([View(size=20), View(shift=(1, 2)), Transpose()], {"average": "geometric"}),
        ("flip", {"image_size": 16}),
    ],
)
def test_saving(random_images, tmp_path, make, views, arguments):
    model = make()
    first = TestTimeAugment(model, views, name="mine", **arguments)
    first.save(tmp_path / "views.keras")
    again = keras.saving.load_model(tmp_path / "views.keras")
    assert type(again) is TestTimeAugment
    images = random_images(3, 16, 16)
    np.testing.assert_array_equal(again(images), first(images))
    assert json.loads(again.to_json())["config"]["name"] == "mine"
    # The weights are there once, and are those of the model itself.
    assert again.count_params() == model.count_params()
    model.set_weights([weight * 0 for weight in model.get_weights()])
    np.testing.assert_array_equal(first(images), np.full((3, CLASSES), 1 / CLASSES, np.float32))


@pytest.mark.slow
def test_a_new_process_loads_the_file(random_images, tmp_path):
    """As `recipes predict` does, with whatever of this package the file holds."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = Pipeline([RandomFlip()], seed=1)(inputs)
    model = TestTimeAugment(keras.Model(inputs, conv_model()(x)), "flip", average="arithmetic")
    model.save(tmp_path / "views.keras")
    images = random_images(3, 16, 16)
    np.save(tmp_path / "images.npy", images)
    program = (
        "import sys, numpy as np\n"
        "from recipes.evaluation.classifier import load_classifier\n"
        "images = np.load(sys.argv[1] + '/images.npy')\n"
        "answers = load_classifier(sys.argv[1] + '/views.keras').predict(images)\n"
        "np.save(sys.argv[1] + '/answers.npy', answers)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert answer.returncode == 0, answer.stderr
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), model(images), atol=1e-6)


def test_mixed_precision_sees_pixels_unrounded():
    """bfloat16 holds whole numbers up to 256: resized pixels must not go through it."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        inputs = keras.Input((4, 4, 1))
        outputs = keras.layers.GlobalMaxPooling2D(dtype="float32")(inputs)
        outputs = keras.layers.Concatenate(dtype="float32")([outputs, outputs])
        views = TestTimeAugment(keras.Model(inputs, outputs), [View(size=5)], average="arithmetic")
        images = np.full((1, 4, 4, 1), 251.3, np.float32)
        np.testing.assert_allclose(views(images), [[251.3, 251.3]], rtol=1e-6)
    finally:
        keras.config.set_dtype_policy(policy)


def test_a_subclassed_model(random_images):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.net = conv_model()

        def call(self, images):
            return self.net(images)

    model = Own()
    with pytest.raises(ValueError, match="must be built: make it from keras.Input, or call it"):
        TestTimeAugment(model, "flip")
    images = random_images(3, 16, 16).astype(np.float32)
    expected = np.mean([model(images), model(images[:, :, ::-1])], axis=0)
    found = TestTimeAugment(model, "flip", average="arithmetic")(images)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("quantization", ["float32", "float16", "int8"])
@pytest.mark.parametrize(
    ("views", "average", "size"),
    [("flip", "geometric", 16), ("ten_crop", "arithmetic", 20), ("resnet50views", "geometric", 18)],
)
@pytest.mark.sampled(2)
def test_export_as_one_tflite_model(random_images, tmp_path, views, average, size, quantization):
    from ai_edge_litert.interpreter import Interpreter

    from recipes.evaluation.classifier import load_classifier
    from recipes.layers import CalibratedSoftmax
    from tuning import export_tflite

    net = conv_model("linear")
    head = CalibratedSoftmax(1.5, ["a", "b", "c", "d"], {"image_shape": [16, 16, 3]})
    model = keras.Model(net.input, head(net.output))
    model = TestTimeAugment(model, views, average=average, image_size=size)
    images = random_images(40, size, size)
    path = export_tflite(
        model, tmp_path / "m.tflite", precision=quantization, calibration_images=images
    )
    classifier = load_classifier(path)
    assert classifier.class_names == ("a", "b", "c", "d")
    if quantization == "int8":
        # The bytes of an image as they are, though the network begins by subtracting its mean.
        details = Interpreter(str(path)).get_input_details()[0]
        assert details["dtype"] == np.uint8
        assert details["quantization"] == pytest.approx((1.0, 0), abs=1e-6)
    tolerance = {"float32": 1e-5, "float16": 1e-3, "int8": 0.02}[quantization]
    np.testing.assert_allclose(classifier.predict(images), model(images), atol=tolerance)


BAD = [
    ({"views": "ten_crops"}, ValueError, "did you mean 'ten_crop'"),
    ({"views": []}, ValueError, "a list of at least one View"),
    ({"views": [lambda images: images]}, TypeError, "write a function of your own as a layer"),
    ({"views": [View(size=15)]}, ValueError, "takes images of 16 pixels along axis 0, this view"),
    ({"views": [View(size=20, place=None)]}, ValueError, "this view has 20"),
    ({"views": [View(shift=(16, 0))]}, ValueError, "shift must be smaller than the image"),
    ({"average": "harmonic"}, ValueError, "average must be 'geometric' or 'arithmetic'"),
    ({"logits": True}, ValueError, "logits must be False: 'net' ends in a softmax"),
    ({"chunk": 0}, ValueError, "chunk must be an integer of at least 1"),
    ({"image_size": (20, 20, 3)}, ValueError, "image_size must be one or two integers"),
    ({"image_size": 12}, ValueError, "takes images of 16 pixels"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD)
def test_mistakes(arguments, error, message):
    with pytest.raises(error, match=message) as caught:
        TestTimeAugment(conv_model(), **arguments)
    assert "\n" not in str(caught.value)


def test_models_that_do_not_fit():
    with pytest.raises(TypeError, match=r"must be a keras\.Model, received: function"):
        TestTimeAugment(lambda images: images)
    with pytest.raises(ValueError, match="logits must be True: 'net' ends in 'activation"):
        TestTimeAugment(conv_model("linear"))
    inputs = keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match=r"one row of classes an image, received: \[\(None, 8, 8"):
        TestTimeAugment(keras.Model(inputs, keras.layers.ReLU()(inputs)))
    vectors = keras.Input((8,))
    with pytest.raises(ValueError, match="must take one batch of images"):
        TestTimeAugment(keras.Model(vectors, keras.layers.Dense(3)(vectors)))
    flat = keras.layers.GlobalAveragePooling2D()(inputs)
    single = keras.layers.Activation(lambda x: keras.ops.sigmoid(x))(keras.layers.Dense(1)(flat))
    with pytest.raises(ValueError, match="average must be 'arithmetic'"):
        TestTimeAugment(keras.Model(inputs, single))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 0}, "size must be an integer of at least 1"),
        ({"place": (0.5, 1.5)}, r"place must be two numbers in \[0, 1\]"),
        ({"place": 0.5}, "place must be two numbers"),
        ({"shift": (0.5, 1)}, "shift must be two whole numbers"),
        ({"horizontal": "yes"}, "horizontal must be True or False"),
        ({"weight": 0}, "weight must be a number"),
    ],
)
def test_views_that_cannot_be(fields, message):
    with pytest.raises(ValueError, match=message):
        View(**fields)


def test_before_the_last_layer_or_after_it(random_images):
    model, images = conv_model(), random_images(3, 16, 16)
    before, after = (TestTimeAugment(model, "flip", before_last=where) for where in (True, False))
    np.testing.assert_allclose(before(images), after(images), atol=1e-6)
    with pytest.raises(ValueError, match="before_last must not be True but for a geometric mean"):
        TestTimeAugment(model, "flip", average="arithmetic", before_last=True)
    several = conv_model("sigmoid")
    with pytest.raises(ValueError, match="must not be False for a geometric mean of sigmoids"):
        TestTimeAugment(several, "flip", before_last=False)
    found = TestTimeAugment(several, "flip", average="arithmetic", before_last=False)(images)
    expected = (several(images).numpy() + several(images[:, :, ::-1]).numpy()) / 2
    np.testing.assert_allclose(found, expected, atol=1e-6)
