"""Stems for images of other channels."""

import keras
import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.layers import ConvNormActivation
from recipes.weights import load_weights, save_npz

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype("float32")


@pytest.fixture
def colour(network, tmp_path):
    """Return a network for three channels and a file of its weights."""
    model = network.make()
    save_npz(model, tmp_path / "colour.npz")
    return model, tmp_path / "colour.npz"


def test_grey_images_give_what_they_gave_as_three_equal_channels(network, colour):
    model, file = colour
    grey = network.make(channels=1, seed=1)
    report = load_weights(grey, file)
    assert report.notes == ("stem_conv: the kernels for 3 channels were summed into 1",)
    images = IMAGES[..., :1]
    expected = model(np.repeat(images, 3, axis=-1))
    np.testing.assert_allclose(grey(images), expected, rtol=1e-5)


def test_a_fourth_channel_that_is_the_mean_of_the_others_changes_only_the_size(network, colour):
    model, file = colour
    infrared = network.make(channels=4, seed=1)
    report = load_weights(infrared, file)
    assert report.notes == (
        "stem_conv: the kernels for 3 channels were extended to 4: the others get their mean, "
        "and all are scaled by 3/4",
    )
    old, new = model.get_layer("stem_conv").kernel, infrared.get_layer("stem_conv").kernel
    np.testing.assert_allclose(new[:, :, :3], 0.75 * np.array(old), rtol=1e-6)
    np.testing.assert_allclose(new[:, :, 3], 0.75 * np.mean(old, axis=2), rtol=1e-6)
    # For an image whose four channels are equal the responses are those of three equal ones.
    grey = IMAGES[..., :1]
    expected = model(np.repeat(grey, 3, axis=-1))
    np.testing.assert_allclose(infrared(np.repeat(grey, 4, axis=-1)), expected, rtol=1e-5)


def test_a_stem_in_a_block_is_adapted_too(tmp_path):
    def make(channels):
        return keras.Sequential(
            [keras.Input((8, 8, channels)), ConvNormActivation(4, name="stem")], name="in_stem"
        )

    model, grey = make(3), make(1)
    save_npz(model, tmp_path / "colour.npz")
    load_weights(grey, tmp_path / "colour.npz")
    images = IMAGES[..., :1]
    np.testing.assert_allclose(grey(images), model(np.repeat(images, 3, axis=-1)), rtol=1e-5)


def test_from_one_channel_to_three(network, tmp_path):
    grey = network.make(channels=1)
    save_npz(grey, tmp_path / "grey.npz")
    colour = network.make(seed=1)
    load_weights(colour, tmp_path / "grey.npz")
    images = IMAGES[..., :1]
    np.testing.assert_allclose(colour(np.repeat(images, 3, axis=-1)), grey(images), rtol=1e-5)


@pytest.mark.parametrize(
    ("channels", "how", "message"),
    [
        (1, "exact", r"stem_conv takes the shape \(3, 3, 1, 6\), the file holds \(3, 3, 3, 6\)"),
        (2, "adapt", r"stem_conv takes the shape \(3, 3, 2, 6\)"),
        (3, "sum", "channels must be 'adapt' or 'exact', received: 'sum'"),
    ],
)
def test_refused(network, colour, channels, how, message):
    with pytest.raises(ConfigError, match=message):
        load_weights(network.make(channels=channels), colour[1], channels=how)


def test_other_convolutions_are_never_adapted(network, tmp_path):
    def make(width):
        inputs = keras.Input((8, 8, 3))
        x = keras.layers.Conv2D(width, 3, name="stem_conv")(inputs)
        return keras.Model(inputs, keras.layers.Conv2D(4, 3, name="second_conv")(x))

    save_npz(make(3), tmp_path / "three.npz")
    with pytest.raises(ConfigError, match=r"stem_conv takes .*; 1 more layer does not fit"):
        load_weights(make(1), tmp_path / "three.npz")
