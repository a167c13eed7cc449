"""Two phases as one run, in a plain `fit`."""

import itertools
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from callbacks import EarlyStopping, WeightAverage
from recipes import load_data
from recipes.catalog import get_recipe
from recipes.errors import ConfigError
from recipes.transfer import LayerwiseSGD, advise, fine_tune, transfer_model
from recipes.transfer.plan import TransferPlan


class _Watch(keras.callbacks.Callback):
    """Note what the optimizer holds and what moved, epoch by epoch."""

    def __init__(self):
        super().__init__()
        self.begun, self.rows = 0, []

    def on_train_begin(self, logs=None):
        self.begun += 1
        self.before = {w.path: w.numpy() for w in self.model.weights}

    def on_epoch_end(self, epoch, logs=None):
        now = {w.path: w.numpy() for w in self.model.weights}
        optimizer = self.model.optimizer
        self.rows.append(
            {
                "epoch": epoch,
                "moved": {p for p in now if not np.array_equal(now[p], self.before[p])},
                "steps": int(optimizer.iterations.numpy()),
                "slots": len(optimizer.variables) - 1,  # the step; the rate is a schedule
                "trainable": len(self.model.trainable_variables),
                "rate": float(optimizer.learning_rate),
            }
        )
        self.before = now


def test_two_phases_are_one_run(small, images, labels):
    model, watch, average = small(), _Watch(), WeightAverage(0.5)
    stopping = EarlyStopping("val_loss", average=average)
    history = fine_tune(
        model,
        (images, labels),
        validation_data=(images, labels),
        head_epochs=2,
        tune_epochs=3,
        stages=1,
        batch_size=8,
        callbacks=[average, stopping, watch],
        say=None,
        verbose=0,
    )
    assert history.epoch == [0, 1, 2, 3, 4]
    assert {len(values) for values in history.history.values()} == {5}
    assert watch.begun == 1, "callbacks see one run"
    assert average.steps == 15
    assert stopping.best == pytest.approx(min(history.history["val_loss"]))
    head = {"logits/kernel", "logits/bias"}
    kernels = {f"stage2{name}/kernel" for name in ("_conv", "_block1_conv1", "_block1_conv2")}
    assert [row["moved"] for row in watch.rows] == [head] * 2 + [head | kernels] * 3
    assert [row["steps"] for row in watch.rows] == [3, 6, 3, 6, 9], "a fresh optimizer"
    assert all(row["slots"] == 2 * row["trainable"] for row in watch.rows)
    # Each phase ends at the end of its own cosine, near 0.
    rates = [row["rate"] for row in watch.rows]
    assert rates[0] > rates[1] < 1e-6
    assert rates[2] > rates[3] > rates[4] < 1e-7


@pytest.mark.slow
def test_rates_by_depth_reach_the_second_phase(small, images, labels, tmp_path):
    model = small()
    fine_tune(
        model, (images, labels), head_epochs=1, tune_epochs=1, rate_decay=0.5, optimizer="sgd",
        say=None, verbose=0,
    )  # fmt: skip
    assert isinstance(model.optimizer, LayerwiseSGD)
    assert len(model.optimizer.variables) == 1 + len(model.trainable_variables)
    assert model.optimizer.factor("stage1_conv/kernel") == 0.25
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.factor("stage1_conv/kernel") == 0.25
    assert "accuracy" in loaded.evaluate(images, labels, verbose=0, return_dict=True)


@pytest.mark.slow
def test_probe_then_tune(small, images, labels):
    model, lines, watch = small(), [], _Watch()
    fine_tune(
        model, (images, labels), validation_data=(images, labels), probe=True, head_epochs=0,
        tune_epochs=1, learning_rate=1e-6, callbacks=[watch], say=lines.append, verbose=0,
    )  # fmt: skip
    assert any(line.startswith("linear probe: ") for line in lines)
    assert watch.rows[0]["trainable"] == 2 + 7, "the head and seven kernels from the first epoch on"


def test_advice_decides_what_is_not_given_and_is_said(small, images, labels):
    lines = []
    history = fine_tune(
        small(), (images, labels), head_epochs=2, say=lines.append, verbose=0, batch_size=8
    )
    assert lines[0].startswith("advice: 24 training images, 8 a class: fewer than 1,000")
    assert len(history.epoch) == 2, "no fine-tuning of so few"
    text = "\n".join(lines)
    assert "head, 2 epochs: 51 of" in text
    assert "compile the model again" not in text, "it is done already"


@pytest.fixture
def planned(monkeypatch):
    """Return a function that gives epochs and trainable layers of each phase, and trains none."""
    phases = []

    def fit(model, *data, epochs, callbacks, **more):
        enter = callbacks[0].stages
        for start, end in itertools.pairwise([*enter, epochs]):
            enter[start](model)
            layers = {weight.path.split("/")[0] for weight in model.trainable_weights}
            phases.append((end - start, layers))
        return types.SimpleNamespace(epoch=range(epochs))

    def plan(*data, **arguments):
        phases.clear()
        monkeypatch.setattr(keras.Model, "fit", fit)
        fine_tune(*data, **arguments)
        return list(phases)

    return plan


def test_what_is_asked_for_goes_before_advice(planned, small, images, labels):
    """Of so few images the advice is to train the head alone."""
    lines = []
    (_, head), (epochs, tuned) = planned(
        small(), (images, labels), head_epochs=1, stages=1, say=lines.append
    )
    assert any("more than the head is asked for" in line for line in lines)
    assert head == {"logits"}
    assert epochs > 0
    assert {name.split("_")[0] for name in tuned} == {"stage2", "logits"}
    ((epochs, tuned),) = planned(small(), (images, labels), head_epochs=0, say=None)
    assert epochs > 0
    assert {name.split("_")[0] for name in tuned} == {"stem", "stage1", "stage2", "logits"}


@pytest.mark.parametrize("size", [8, None])
def test_advised_stages_that_a_network_has_not(size, planned):
    """Two stages are advised: one network has one, one has none that can be told apart."""
    inputs = keras.Input((size, size, 3))
    own = keras.Model(inputs, keras.layers.Conv2D(4, 3, padding="same", name="conv")(inputs))
    lines, images = [], np.zeros((1_000, 8, 8, 3), "uint8")
    phases = planned(
        transfer_model(own, 2), (images, np.arange(1_000) % 2), head_epochs=1, say=lines.append
    )
    assert [layers for _, layers in phases] == [{"logits"}, {"conv", "logits"}]
    said = "has no 2 stages to choose from: all of it is tuned"
    assert any(said in line for line in lines)
    recipe = get_recipe("fashion-mini").override({"transfer.weights": "imagenet"})
    lines.clear()
    TransferPlan(recipe, 1_000, 2, lines.append).check(transfer_model(own, 2))
    assert said in lines[-1]


def test_a_network_without_a_classifier_is_tuned_as_a_whole(planned, images, labels):
    inputs = keras.Input((16, 16, 3))
    maps = keras.layers.Conv2D(3, 1, name="maps")(inputs)
    pooled = keras.layers.GlobalAveragePooling2D()(maps)
    model = keras.Model(inputs, keras.layers.Softmax()(pooled))
    ((_, tuned),) = planned(model, (images, labels), head_epochs=0, tune_epochs=1, say=None)
    assert tuned == {"maps"}
    with pytest.raises(ConfigError, match="or head_epochs=0 to tune all of it"):
        fine_tune(model, (images, labels), head_epochs=1, tune_epochs=1, say=None)


def test_two_classes_in_one_output(images):
    """Accuracy and loss are those of the sigmoid's probabilities, by hand."""
    labels = np.arange(24) % 2
    inputs = keras.Input((16, 16, 3))
    own = keras.Model(inputs, keras.layers.Rescaling(1 / 255)(inputs))
    data = load_data((images.astype("uint8"), labels), validation=0.25, test=0.0)
    model = transfer_model(own, 1, classifier_activation="sigmoid")
    history = fine_tune(
        model, data, validation_data=(images, labels), head_epochs=1, say=None, verbose=0
    ).history
    chances = model.predict(images, verbose=0)[:, 0]
    right = np.where(labels == 1, chances, 1 - chances)
    assert history["val_loss"][0] == pytest.approx(-np.log(right).mean(), rel=1e-4)
    assert history["val_accuracy"][0] == pytest.approx((right > 0.5).mean())
    with pytest.raises(ConfigError, match="between 0 and 2, .* expected 0 to 1"):
        fine_tune(model, (images, np.arange(24) % 3), say=None)
    logits = transfer_model(own, 1, classifier_activation=None)
    with pytest.raises(ConfigError, match="one output: expected two classes and a sigmoid"):
        fine_tune(logits, (images, labels), say=None)


@pytest.mark.parametrize("endless", ["data", "validation_data"])
def test_a_dataset_without_an_end_is_one_line(endless, small, images, labels):
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)
    given = {"data": data, "validation_data": data, endless: data.repeat()}
    with pytest.raises(ConfigError, match=f"^{endless} never ends: leave out .repeat"):
        fine_tune(small(), **given, say=None)


@pytest.mark.parametrize("kind", ["ImageData", "dataset"])
@pytest.mark.slow
def test_other_kinds_of_data(kind, small, images, labels):
    if kind == "ImageData":
        pixels = images.astype("uint8")
        data = load_data({"train": (pixels, labels), "validation": (pixels[:6], labels[:6])})
        more = {"probe": True}
    else:
        data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)
        more = {"validation_data": data, "probe": True}
    history = fine_tune(small(), data, head_epochs=1, tune_epochs=1, say=None, verbose=0, **more)
    assert {"loss", "accuracy", "val_loss"} <= set(history.history)


def test_a_stop_in_the_head_s_phase_is_said(small, images, labels):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    lines = []
    fine_tune(
        small(), (images, labels), head_epochs=2, tune_epochs=2, callbacks=[Stop()],
        say=lines.append, verbose=0,
    )  # fmt: skip
    assert "ended training after epoch 1, in the head's phase" in lines[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"head_epochs": 0, "tune_epochs": 0}, "both 0: nothing to train"),
        ({"head_epochs": -1}, "head_epochs must be an integer of at least 0, received: -1"),
        ({"optimizer": "adam"}, "optimizer must be one of adamw, sgd"),
        ({"learning_rate": 0.0}, "learning rates must be positive"),
        ({"batch_norm": "off"}, "batch_norm must be one of"),
        ({"warmup": 1.0}, "warmup must be 0 or more and below 1, received: 1.0"),
        ({"weight_decay": "x"}, "weight_decay must be 0 or more"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, received: 0"),
        ({"probe": True}, "needs validation images"),
        ({"from_layer": "stge2", "tune_epochs": 1}, "did you mean 'stage2'"),
        ({"stages": 1, "fraction": 0.5, "tune_epochs": 1}, "stages"),
        ({"from_layer": "stge2"}, "did you mean 'stage2'"),
        ({"rate_decay": 2.0, "tune_epochs": 0}, "decay must be above 0 and at most 1"),
        ({"rate_decay": 0.0, "tune_epochs": 1}, "decay must be above 0 and at most 1"),
        ({"rate_decay": 2.0, "tune_epochs": 1}, "decay must be above 0 and at most 1"),
    ],
)
def test_wrong_arguments_are_one_line_before_anything_trains(
    arguments, message, small, images, labels
):
    watch = _Watch()
    with pytest.raises(ConfigError, match=message) as caught:
        fine_tune(small(), (images, labels), callbacks=[watch], say=None, verbose=0, **arguments)
    assert "\n" not in str(caught.value)
    assert not watch.begun


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("knows", [True, False])
def test_rates_of_a_dataset_that_does_not_know_its_length(knows, small, images, labels):
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)
    if not knows:
        data = data.filter(lambda images, labels: True)
    lines, watch = [], _Watch()
    fine_tune(
        small(), data, head_epochs=2, tune_epochs=0, callbacks=[watch], say=lines.append, verbose=0
    )
    assert any("learning rates are constant" in line for line in lines) is not knows
    assert (watch.rows[0]["rate"] == watch.rows[1]["rate"]) is not knows


def test_images_are_counted_whatever_the_batches_say(small, images, labels):
    lines = []
    data = tf.data.Dataset.from_tensor_slices((images, labels)).repeat(50).batch(32)
    assert data.element_spec[0].shape[0] is None
    with pytest.raises(ConfigError, match="both 0"):
        fine_tune(small(), data, head_epochs=0, tune_epochs=0, say=lines.append)
    assert lines[0].startswith("advice: 1,216 training images"), "38 batches, the last one short"


def test_the_probe_chooses_by_the_validation_images_that_were_given(
    small, images, labels, monkeypatch
):
    given = []
    monkeypatch.setattr(
        "recipes.transfer.fine_tuning.linear_probe",
        lambda model, train, validation, say: given.append(validation),
    )
    data = load_data((images.astype("uint8"), labels), validation=0.25, test=0.0)
    fine_tune(
        small(), data, validation_data=(images[:7], labels[:7]), probe=True, head_epochs=1,
        tune_epochs=0, say=None, verbose=0,
    )  # fmt: skip
    np.testing.assert_array_equal(given[0][0], images[:7])
    np.testing.assert_array_equal(given[0][1], labels[:7])


def test_classes_that_do_not_match_are_one_line(small, images):
    with pytest.raises(ConfigError, match="between 0 and 3, .* has 3 classes: expected 0 to 2"):
        fine_tune(small(), (images, np.arange(24) % 4), say=None)
    data = load_data((images.astype("uint8"), np.arange(24) % 4), test=0.0, validation=0.2)
    with pytest.raises(ConfigError, match="has 3 outputs, the images are of 4 classes"):
        fine_tune(small(), data, say=None)
    with pytest.raises(ConfigError, match="as many of the one as the other"):
        fine_tune(small(), (images, [0, 1]), say=None)


@pytest.mark.parametrize(
    ("images", "expected"),
    [(999, "frozen"), (1_000, "partial"), (9_999, "partial"), (10_000, "full")],
)
def test_advice_by_number(images, expected):
    advice = advise(images, 10)
    assert advice.strategy == expected
    assert f"{images:,} training images" in advice.reason


def test_advice_wants_numbers():
    with pytest.raises(ConfigError, match="images must be a positive integer, received: 0"):
        advise(0, 3)
    with pytest.raises(ConfigError, match="classes must be a positive integer, received: 1.5"):
        advise(10, 1.5)
