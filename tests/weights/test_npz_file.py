"""Weights as plain NumPy archives: what is in them, and what is refused."""

import keras
import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.weights import read_npz, save_npz


class Twins(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.second = (keras.layers.Dense(2, name="twin") for _ in range(2))
        self(np.zeros((1, 2)))

    def call(self, inputs):
        return self.second(self.first(inputs))


def test_npz_files_hold_plain_arrays(network, tmp_path):
    model = network.make()
    save_npz(model, tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz", allow_pickle=False) as file:
        assert set(file) == {
            *(weight.path for weight in model.weights),
            "normalization/mean",
            "normalization/variance",
        }
        np.testing.assert_array_equal(file["normalization/mean"], [100.0] * 3)
        np.testing.assert_array_equal(file["stem_conv/kernel"], model.get_layer("stem_conv").kernel)
    with pytest.raises(ConfigError, match="path must end in .npz, received: .*model.txt"):
        save_npz(model, tmp_path / "model.txt")
    with pytest.raises(ConfigError, match="not found"):
        read_npz(tmp_path / "missing.npz")
    with pytest.raises(ConfigError, match="has no weights; build it first"):
        save_npz(keras.Sequential([keras.layers.Dense(2)]), tmp_path / "empty.npz")
    with pytest.raises(ConfigError, match="has 2 layers with weights called 'twin'"):
        save_npz(Twins(), tmp_path / "twins.npz")
    assert {path.name for path in tmp_path.iterdir()} == {"model.npz"}
