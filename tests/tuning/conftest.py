"""A small classifier, trained once, whose accuracy quantisation could spoil."""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from callbacks.calibration import fit_temperature
from recipes.layers import CalibratedSoftmax

CLASS_NAMES = tuple(f"digit {digit}" for digit in range(10))


def pytest_configure(config):
    # Keras 3.15 reads its variables by NumPy's old protocol whenever it saves weights.
    config.addinivalue_line(
        "filterwarnings",
        "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
    )


@pytest.fixture(scope="session")
def digits():
    """Return scikit-learn's digits, 16x16x1 uint8: 1200 to train on, 597 to test on."""
    images, labels = load_digits(return_X_y=True)
    images = np.minimum(images.reshape(-1, 8, 8, 1) * 16, 255).astype(np.uint8)
    images = images.repeat(2, axis=1).repeat(2, axis=2)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], labels[order].astype(np.int64)
    return {"train": (images[:1200], labels[:1200]), "test": (images[1200:], labels[1200:])}


@pytest.fixture(scope="session")
def digit_logits(digits):
    """Return a trained convolutional network that gives logits."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    images, labels = digits["train"]
    inputs = keras.Input((16, 16, 1))
    x = layers.Normalization(mean=[float(images.mean())], variance=[float(images.var())])(inputs)
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))
    x = shortcut = layers.MaxPooling2D()(x)
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))
    x = layers.Flatten()(layers.MaxPooling2D()(layers.Add()([x, shortcut])))
    model = keras.Model(inputs, layers.Dense(10)(layers.Dropout(0.1)(x)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(images, labels, batch_size=32, epochs=5, verbose=0)
    return model


@pytest.fixture(scope="session")
def digit_classifier(digit_logits, digits):
    """Return it with calibrated probabilities, class names and a contract."""
    images, labels = digits["train"]
    fit = fit_temperature(digit_logits.predict(images, verbose=0), labels)
    contract = {"image_shape": [16, 16, 1], "fit": "pad", "provenance": {"seed": 0}}
    head = CalibratedSoftmax(fit.temperature, CLASS_NAMES, contract)
    return keras.Model(digit_logits.input, head(digit_logits.output), name="digits")


@pytest.fixture(scope="session")
def exported(digit_classifier, digits, tmp_path_factory):
    """Return the paths of its three files."""
    from tuning import export_tflite

    folder = tmp_path_factory.mktemp("exported")
    return {
        name: export_tflite(
            digit_classifier,
            folder / f"{name}.tflite",
            precision=name,
            calibration_images=digits["train"][0][:200],
        )
        for name in ("float32", "float16", "int8")
    }


@pytest.fixture
def tiny_model():
    """Return a function that builds an untrained classifier of 8x8 images around some layers."""

    def build(*middle, channels=1, classes=3, head=True):
        inputs = x = keras.Input((8, 8, channels))
        for layer in middle:
            x = layer(x)
        if len(x.shape) == 4:
            x = keras.layers.GlobalAveragePooling2D()(x)
        x = keras.layers.Dense(classes)(x)
        return keras.Model(inputs, CalibratedSoftmax()(x) if head else x)

    return build
