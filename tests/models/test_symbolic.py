"""Networks without values leave nothing behind that Keras would give values later."""

import keras

from recipes.models import build_model
from recipes.models._symbolic import without_values


def test_shapes_are_there():
    assert without_values(build_model, "resnet20").count_params() == 269_722 + 1_376


def give_values():
    """Do what Keras does when a layer without a `build` of its own is built."""
    with keras.StatelessScope():
        pass


def test_no_values_are_given_later():
    made = []

    def initializer(shape, dtype=None):
        made.append(shape)
        return keras.ops.zeros(shape, dtype)

    def build():
        dense = keras.layers.Dense(2, kernel_initializer=initializer)
        return keras.Sequential([keras.Input((3,)), dense])

    model = without_values(build)
    assert model.count_params() == 8
    give_values()
    assert not made
    with keras.StatelessScope(initialize_variables=False):
        build()
    give_values()
    assert made == [(3, 2)], "the scope alone does not do it"


def test_the_policy_is_that_of_the_caller():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = without_values(lambda: keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))
    assert model.layers[-1].compute_dtype == "bfloat16"
