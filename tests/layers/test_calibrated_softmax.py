import keras
import numpy as np
import pytest
import scipy.special

from recipes.layers import CalibratedSoftmax

LOGITS = np.random.default_rng(0).normal(scale=4, size=(6, 5)).astype("float32")


def test_layer(check_layer):
    arguments = {
        "temperature": 1.7,
        "class_names": ["a", "b", "c", "d", "e"],
        "contract": {"image_shape": [28, 28, 1], "nested": {"value": None}},
    }
    check_layer(CalibratedSoftmax, arguments, images=LOGITS, output_dtype="float32")


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_probabilities(temperature):
    probabilities = CalibratedSoftmax(temperature)(LOGITS).numpy()
    expected = scipy.special.softmax(LOGITS.astype("float64") / temperature, axis=-1)
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-6)
    np.testing.assert_array_equal(probabilities.argmax(-1), LOGITS.argmax(-1))


def test_large_logits_do_not_overflow():
    probabilities = CalibratedSoftmax(0.01)(np.float32([[1e4, -1e4]])).numpy()
    np.testing.assert_array_equal(probabilities, [[1, 0]])


@pytest.mark.parametrize("temperature", [0, -1, float("inf"), float("nan")])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match="temperature must be a positive number"):
        CalibratedSoftmax(temperature)


def test_names_and_contract_survive_saving_twice(tmp_path):
    layer = CalibratedSoftmax(2.0, class_names=("cat", "dog"), contract={"color": "rgb"})
    model = keras.Sequential([keras.Input((2,)), layer])
    for name in ("once.keras", "twice.keras"):
        model.save(tmp_path / name)
        model = keras.models.load_model(tmp_path / name)
    assert model.layers[-1].class_names == ["cat", "dog"]
    assert model.layers[-1].contract == {"color": "rgb"}
    assert model.layers[-1].temperature == 2.0
