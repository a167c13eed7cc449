"""What `compress` is given in these tests, and how they look at what it makes."""

import dataclasses
from unittest import mock

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from recipes.data import load_data
from recipes.errors import RecipesError
from tuning import benchmarking
from tuning.candidates import Workshop


@pytest.fixture(scope="module")
def data(digits):
    """Return the digits as images with validation and test images."""
    images, labels = digits["train"]
    splits = {
        "train": (images[:800], labels[:800]),
        "validation": (images[800:], labels[800:]),
        "test": digits["test"],
    }
    return load_data(splits)


@pytest.fixture(scope="module")
def network(data):
    """Return a small trained network, all of whose activations are ReLUs."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, strides=2, activation="relu", name="first"),
            layers.Conv2D(16, 3, strides=2, activation="relu", name="second"),
            layers.Flatten(),
            layers.Dense(64, activation="relu", name="third"),
            layers.Dense(10, activation="softmax", name="last"),
        ],
        name="digits",
    )
    model.compile(keras.optimizers.Adam(0.005), "sparse_categorical_crossentropy")
    split = data.splits["train"]
    model.fit(split.images, split.labels, batch_size=32, epochs=8, verbose=0)
    return model


@pytest.fixture(scope="module", autouse=True)
def steady_clock():
    """Let a file be the faster the less of it is float: so small, they time as chance has it.

    All else about them is measured.
    """
    measure = benchmarking.benchmark

    def benchmark(files, **arguments):
        found = measure(files, **arguments)
        costs = [
            dataclasses.replace(cost, ratio=(1 + cost.float_operations) / (1 + cost.operations))
            for cost in found.files
        ]
        return dataclasses.replace(found, files=tuple(costs))

    with mock.patch.object(benchmarking, "benchmark", benchmark):
        yield


@pytest.fixture
def fail(monkeypatch):
    """Return a function that lets one candidate fail, half of its file written."""
    make = Workshop.make

    def let(candidate):
        def failing(self, name, path, restored=()):
            if name == candidate:
                path.write_bytes(b"half a file")
                raise RecipesError("out of luck")
            make(self, name, path, restored)

        monkeypatch.setattr(Workshop, "make", failing)

    return let


@pytest.fixture(scope="session")
def accuracy_of():
    """Return a function that runs a file on single images with the bare interpreter."""

    def accuracy(path, split):
        interpreter = Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
        given, made = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        right = 0
        for image, label in zip(split.images, split.labels, strict=True):
            interpreter.set_tensor(given["index"], image[np.newaxis].astype(given["dtype"]))
            interpreter.invoke()
            right += interpreter.get_tensor(made["index"])[0].argmax() == label
        return right / len(split.labels)

    return accuracy
