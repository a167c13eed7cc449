"""Names of layers that contain each other."""

import keras
import numpy as np
import pytest

from recipes.weights import load_weights, save_npz


def make(name):
    """Return a model of one layer, called conv."""
    layer = keras.layers.Conv2D(1, 1, name="conv")
    return keras.Sequential([keras.Input((2, 2, 1)), layer], name=name)


@pytest.mark.parametrize("name", ["my_conv", "conv", "conv_net"])
@pytest.mark.parametrize("file", ["model.weights.h5", "model.keras", "model.npz", None])
def test_a_layer_is_told_from_its_model(name, file, tmp_path):
    model, other = make(name), make(name)
    kernel, bias = np.full((1, 1, 1, 1), 3.0), np.array([5.0])
    model.get_layer("conv").set_weights([kernel, bias])
    if file is None:
        load_weights(other, {"0.weight": kernel, "0.bias": bias}, torch_layers={"conv": "0"})
    else:
        path = tmp_path / file
        save = {"h5": model.save_weights, "keras": model.save}.get(file.rpartition(".")[2])
        save_npz(model, path) if save is None else save(path)
        load_weights(other, path)
    found = [value.item() for value in other.get_layer("conv").get_weights()]
    assert found == [3.0, 5.0]
