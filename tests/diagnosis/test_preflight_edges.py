"""The preflight where data, optimizer or layers are unusual but sound."""

import keras
import numpy as np
import pytest

from recipes import load_data
from recipes.config import ModelConfig, Recipe, TrainingConfig, TransferConfig
from recipes.diagnosis import of_recipe
from recipes.diagnosis.activations import Observer
from recipes.diagnosis.preflight import preflight
from recipes.diagnosis.training_steps import probe_optimizer, restored
from recipes.models import build_model


def network(rate=1e-3):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.layers.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate), loss)
    return model


def some(count=12):
    generator = np.random.default_rng(0)
    return generator.normal(size=(count, 4)).astype("float32"), np.arange(count) % 3


def test_batches_of_one_image_are_looked_at_together():
    model, (images, labels) = network(), some()
    found = preflight(model, (images, labels), batch_size=1, batches=9, steps=0)
    assert "activations" in found.checks
    assert not found.findings, str(found)
    outputs = images[:9] @ model.layers[0].kernel.numpy()
    spread = np.sqrt(np.maximum(outputs, 0).var(axis=0).mean())
    assert found.layers[0].spread == pytest.approx(spread, rel=1e-4)
    alone = preflight(model, (images[:1], labels[:1]), steps=0)
    assert alone.skipped["activations"] == "one image"
    assert [finding.name for finding in alone.findings] == ["one_class"]


class Constant(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that cannot be written down."""

    def __call__(self, step):
        return 0.01


@pytest.mark.parametrize("rate", [Constant(), lambda: 0.01])
def test_a_rate_that_cannot_be_rebuilt(rate):
    found = preflight(network(rate), some(), steps=0)
    assert found.skipped["updates"].startswith("cannot rebuild the learning rate ")
    assert "gradients" in found.checks
    assert not found.findings, str(found)


def test_weights_of_one_path_are_told_apart():
    inputs = keras.layers.Input((4,))
    first, second = (keras.layers.Dense(3, name="d") for _ in "ab")
    branches = [keras.Model(inputs, first(inputs)), keras.Model(inputs, second(2 * inputs))]
    model = keras.Model(inputs, keras.layers.Subtract()([branch(inputs) for branch in branches]))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images, labels = some()
    with restored(model):
        probe = probe_optimizer(model, (images, labels, None), 1)
    kernels = [path for path in probe.moved if "kernel" in path]
    assert kernels == ["d/kernel", "d/kernel#2"]
    # The gradient of a kernel grows with its inputs.
    assert probe.moved[kernels[1]] == pytest.approx(2 * probe.moved[kernels[0]], rel=1e-4)
    with restored(model):
        seen = Observer(model)(images, labels)
    assert [gradient.name for gradient in seen.gradients] == list(probe.moved)


def test_a_transfer_is_looked_at_in_its_first_phase(tiny_source, tmp_path, monkeypatch):
    backbone = build_model("resnet9", include_top=False, input_shape=(28, 28, 1), width=8)
    backbone.save_weights(tmp_path / "backbone.weights.h5")
    transfer = TransferConfig(
        weights=str(tmp_path / "backbone.weights.h5"), strategy="frozen", head_learning_rate=0.02
    )
    recipe = Recipe(
        name="tiny-transfer",
        model=ModelConfig(name="resnet9", width=8),
        training=TrainingConfig(epochs=2, batch_size=32, precision="float32"),
        transfer=transfer,
    )
    monkeypatch.setattr(of_recipe, "preflight", lambda model, *others, **more: model)
    model = of_recipe.preflight_recipe(recipe, load_data(tiny_source), batches=1)
    assert [weight.shape for weight in model.trainable_variables] == [(32, 3), (3,)]
    assert model.optimizer.get_config()["learning_rate"]["config"]["peak"] == 0.02
