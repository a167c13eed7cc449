import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import augment
from augment._layer_base import ImageAugmentation, shared_program

IMAGE_LAYERS = {
    "RandomFlip": {"horizontal": False, "vertical": True, "probability": 0.75},
    "RandomBrightness": {"factor": (0.5, 2.0)},
    "RandomBrightnessShift": {"delta": 0.4},
    "RandomChannelShuffle": {"probability": 0.8},
    "RandomColorJitter": {"brightness": 0.3, "contrast": 0, "hue": (0, 0.3), "order": "fixed"},
    "RandomContrast": {"factor": 0.7},
    "RandomGrayscale": {"probability": 0.6},
    "RandomHue": {"turns": 0.3, "probability": 0.9},
    "RandomHueLinear": {"turns": (0, 0.2)},
    "RandomLighting": {"deviation": 0.4, "value_range": (0, 255)},
    "RandomSaturation": {"factor": (0, 3)},
    "RandomCrop": {"padding": 3, "fill": "reflect", "value": 4},
    "RandomErasing": {"probability": 0.8, "scale": (0.1, 0.2), "ratio": (0.5, 2), "fill": "mean"},
    "RandomGridMask": {"keep": 0.4, "unit": (0.3, 0.6), "degrees": (0, 90), "fill": 8},
    "RandomMultiScaleCrop": {"size": 8, "shorter_side": (9, 12), "interpolation": "nearest"},
    "RandomResizedCrop": {"size": 8, "scale": (0.2, 0.9), "probability": 0.9},
    "Cutout": {"size": 3, "probability": 0.9, "fill": 7},
}
MIX_LAYERS = {
    "MixUp": {
        "alpha": 0.7,
        "classes": 4,
        "label_smoothing": 0.1,
        "probability": 0.9,
        "mode": "batch",
    },
    "CutMix": {
        "alpha": 0.7,
        "classes": 4,
        "label_smoothing": 0.1,
        "probability": 0.9,
        "mode": "element",
    },
    "MixUpOrCutMix": {
        "mixup_alpha": 0.7,
        "cutmix_alpha": 0.6,
        "switch_probability": 0.4,
        "probability": 0.9,
        "classes": 4,
        "label_smoothing": 0.1,
        "mode": "element",
    },
}
FUNCTIONS = {
    "RandomFlip": augment.random_flip,
    "RandomBrightness": augment.random_brightness,
    "RandomBrightnessShift": augment.random_brightness_shift,
    "RandomChannelShuffle": augment.random_channel_shuffle,
    "RandomColorJitter": augment.random_color_jitter,
    "RandomContrast": augment.random_contrast,
    "RandomGrayscale": augment.random_grayscale,
    "RandomHue": augment.random_hue,
    "RandomHueLinear": augment.random_hue_linear,
    "RandomLighting": augment.random_lighting,
    "RandomSaturation": augment.random_saturation,
    "RandomCrop": augment.random_crop,
    "RandomErasing": augment.random_erasing,
    "Cutout": augment.cutout,
    "RandomGridMask": augment.random_grid_mask,
    "RandomMultiScaleCrop": augment.random_multi_scale_crop,
    "RandomResizedCrop": augment.random_resized_crop,
    "MixUp": augment.mixup,
    "CutMix": augment.cutmix,
    "MixUpOrCutMix": augment.mixup_or_cutmix,
}
LAYERS = {**IMAGE_LAYERS, **MIX_LAYERS}
# Arguments of those that cannot do without.
NEEDED = {
    "Cutout": {"size": 3},
    "RandomCrop": {"padding": 2},
    "RandomMultiScaleCrop": {"size": 16, "shorter_side": (16, 20)},
    "RandomResizedCrop": {"size": 16},
}
# All there are; they are made in one way, so that most is shown for a few alone.
EVERY_IMAGE_LAYER = [
    name
    for name in augment.__all__
    if isinstance(getattr(augment, name), type)
    and issubclass(getattr(augment, name), ImageAugmentation)
]
LABELS = np.array([0, 1, 2, 3, 3, 2])


def make(name, **changes):
    return getattr(augment, name)(**{**LAYERS[name], "seed": 11, **changes})


def call(layer, images, **arguments):
    """Return the changed images, whatever kind of layer it is."""
    if type(layer).__name__ in IMAGE_LAYERS:
        return layer(images, **arguments).numpy()
    return layer((images, LABELS), **arguments)[0].numpy()


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.sampled(4)
def test_each_call_is_the_function_with_the_next_seed(random_images, name):
    layer, images = make(name), random_images(6)
    for step in range(3):
        inputs = (images,) if name in IMAGE_LAYERS else (images, LABELS)
        expected = FUNCTIONS[name](*inputs, seed=[11, step], **LAYERS[name])
        found = layer(images if name in IMAGE_LAYERS else inputs, training=True)
        if name in IMAGE_LAYERS:
            np.testing.assert_array_equal(found, expected)
        else:
            np.testing.assert_array_equal(found[0], expected[0])
            np.testing.assert_allclose(found[1], expected[1], atol=1e-7)


@pytest.mark.parametrize("name", LAYERS)
def test_configuration_holds_every_argument_and_survives_json(random_images, name):
    layer = make(name)
    saved = keras.saving.serialize_keras_object(layer)
    assert saved["registered_name"] == f"keras_recipes>{name}"
    again = keras.saving.deserialize_keras_object(json.loads(json.dumps(saved)))
    config = again.get_config()
    for argument, value in {**LAYERS[name], "seed": 11}.items():
        found = config[argument]
        assert (tuple(found) if isinstance(found, list) else found) == value
    images = random_images(6)
    np.testing.assert_array_equal(
        call(again, images, training=True), call(layer, images, training=True)
    )


@pytest.mark.parametrize("arguments", [{}, {"training": False}])
@pytest.mark.parametrize("name", LAYERS)
def test_images_stay_unless_training(random_images, name, arguments):
    images = random_images(6)
    np.testing.assert_array_equal(call(make(name), images, **arguments), images)


@pytest.mark.parametrize("name", MIX_LAYERS)
def test_labels_become_rows_even_unless_training(random_images, name):
    images = random_images(6)
    _, targets = make(name)((images, LABELS), training=False)
    np.testing.assert_array_equal(targets, np.eye(4)[LABELS])


@pytest.mark.parametrize("name", EVERY_IMAGE_LAYER)
@pytest.mark.sampled(1)
def test_every_layer_in_a_pipeline(random_images, name):
    """Strength 0 is the image itself; one program serves all seeds; it survives JSON."""
    images = random_images(6, 16, 16)
    layer = getattr(augment, name)(**NEEDED.get(name, {}))
    if hasattr(layer, "probability"):
        layer = type(layer).from_config({**layer.get_config(), "probability": 1.0})
    pipeline = augment.Pipeline([layer], seed=1)
    changed = pipeline(images, training=True)
    assert (changed.numpy() != images).any()
    text = pipeline.program().compiler_text(tf.constant(images), None, [1, 0], 1.0)
    assert "s64[2]" in text.splitlines()[0]
    saved = json.dumps(keras.saving.serialize_keras_object(pipeline))
    again = keras.saving.deserialize_keras_object(json.loads(saved))
    np.testing.assert_array_equal(again(images, training=True), changed)
    pipeline.strength = 0
    np.testing.assert_array_equal(pipeline(images, training=True), images)


def test_layers_that_do_the_same_are_compiled_once():
    first, second = augment.Cutout(3, seed=1), augment.Cutout(size=3, seed=2)
    pipeline = augment.Pipeline([first])
    programs = first.program(), pipeline.program()
    assert second.program() is programs[0]
    assert augment.Cutout(4).program() is not programs[0]
    # As when there are more others than it holds.
    shared_program.cache_clear()
    assert first.program() is programs[0]
    assert pipeline.program() is programs[1]


def test_what_is_changed_counts():
    layer = augment.RandomBrightness(factor=(1, 1), seed=np.int64(3))
    layer.factor = np.array([2, 2])
    images = np.full((2, 4, 4, 1), 50, np.uint8)
    assert (layer(images, training=True).numpy() == 100).all()
    layer.factor = -1
    with pytest.raises(ValueError, match="factor must be a number"):
        layer(images)
    with pytest.raises(AttributeError, match="seed"):
        layer.seed = 4
    assert json.dumps(layer.get_config()["seed"]) == "3"
    pipeline = augment.Pipeline([augment.RandomFlip()])
    pipeline.output_dtype = "float32"
    assert pipeline(images).dtype == tf.float32


def test_a_resizing_layer_needs_images_of_the_size_outside_of_training_too(random_images):
    layer = augment.RandomResizedCrop(size=8)
    images = random_images(2, 12, 8)
    assert layer(images, training=True).shape == (2, 8, 8, 3)
    with pytest.raises(ValueError, match="RandomResizedCrop makes images of 8 x 8 in training"):
        layer(images)
    with pytest.raises(ValueError, match=r"received: \(None, 12, 8, 3\)"):
        augment.Pipeline([layer])(keras.Input((12, 8, 3)))
    np.testing.assert_array_equal(layer(images[:, :8]), images[:, :8])


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.sampled(4)
def test_dictionaries_in_tf_data_under_mixed_precision(random_images, name):
    """Other entries come through: no class 257 rounded to 256, no string in the way."""
    layer = make(name, dtype="mixed_bfloat16")
    images, numbers = random_images(6), np.arange(252, 258)
    data = {"images": images, "labels": LABELS, "number": numbers, "name": ["cat"] * 6}
    dataset = tf.data.Dataset.from_tensors(data)
    (result,) = dataset.map(lambda batch: layer(batch, training=True))
    assert result["images"].dtype == tf.uint8
    np.testing.assert_array_equal(result["number"], numbers)
    assert result["name"][0].numpy() == b"cat"
    assert result["labels"].dtype == (tf.float32 if name in MIX_LAYERS else tf.int64)


@pytest.mark.parametrize("name", ["RandomFlip", "MixUp"])
def test_pairs_of_float_images_in_tf_data_under_mixed_precision(random_images, name):
    layer = make(name, dtype="mixed_bfloat16")
    pairs = tf.data.Dataset.from_tensors((random_images(6).astype("float32"), LABELS))
    ((images, labels),) = pairs.map(lambda *pair: layer(pair, training=True))
    assert images.dtype == tf.float32
    assert labels.dtype == (tf.float32 if name in MIX_LAYERS else tf.int64)


def test_in_a_model_they_act_in_training_alone(random_images):
    images = random_images(8).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            augment.RandomCrop(padding=2, seed=1),
            augment.Cutout(size=4, seed=2),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3),
        ]
    )
    moving_mean = model.layers[2].moving_mean
    before = moving_mean.numpy()
    first, second = model(images), model(images)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(before, moving_mean.numpy())
    assert (model(images, training=True) != model(images, training=True)).numpy().any()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(images, np.arange(8) % 3, batch_size=4, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    assert keras.models.model_from_json(model.to_json()).layers[0].padding == 2


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("RandomFlip", {"probability": 2}, "probability must be a number"),
        ("RandomFlip", {"horizontal": "yes"}, "horizontal must be True or False"),
        ("RandomCrop", {"padding": -1}, "padding must be an integer"),
        ("RandomErasing", {"scale": (0.2, 0.1)}, "scale must be in rising order"),
        ("Cutout", {"size": 0.5}, "size must be an integer"),
        ("MixUp", {"alpha": -1}, "alpha must be a number"),
        ("CutMix", {"mode": "pairs"}, "mode must be"),
        ("MixUpOrCutMix", {"classes": 1}, "classes must be an integer"),
    ],
)
def test_bad_arguments_are_found_when_made(name, changes, message):
    with pytest.raises(ValueError, match=message):
        make(name, **changes)


@pytest.mark.parametrize("name", MIX_LAYERS)
def test_mixing_without_labels_is_refused(random_images, name):
    layer = make(name)
    with pytest.raises(ValueError, match=r"needs \(images, labels\) or .*: images alone"):
        layer(random_images(2), training=True)
    with pytest.raises(ValueError, match=r"mixes labels too: .*\['images'\]"):
        layer({"images": random_images(2)}, training=True)
