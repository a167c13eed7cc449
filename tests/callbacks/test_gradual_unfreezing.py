"""Unfreezing inside one fit: who trains when, what the optimizer holds, what runs on."""

import keras
import numpy as np
import pytest

from callbacks import GradualUnfreezing, WeightAverage
from callbacks._layers import frozen_weights, walk
from callbacks.gradual_unfreezing import continued_optimizer, stage_of_epoch


@keras.saving.register_keras_serializable(package="tests")
class Pair(keras.layers.Layer):
    """A composite layer that holds a weight of its own besides two layers."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = [keras.layers.Dense(4, name="inner"), keras.layers.BatchNormalization()]

    def build(self, input_shape):
        self.own = self.add_weight(shape=(4,), name="own")
        self.parts[0].build(input_shape)
        self.parts[1].build((None, 4))

    def call(self, inputs, training=None):
        return self.parts[1](self.parts[0](inputs), training=training) + self.own


def _model():
    keras.utils.set_random_seed(0)
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="b")], name="nested")
    inputs = keras.Input((3,))
    x = Pair(name="a")(inputs)
    outputs = keras.layers.Dense(2, name="c")(inner(x))
    model = keras.Model(inputs, outputs)
    for layer in model.layers[:-1]:
        layer.trainable = False
    model.compile(keras.optimizers.Adam(0.01), loss="mse", metrics=["mae"])
    return model


@pytest.fixture
def batch():
    generator = np.random.default_rng(0)
    return generator.normal(1, 2, (16, 3)), generator.normal(size=(16, 2))


class _Record(keras.callbacks.Callback):
    """Note at the end of each epoch what moved, and what the optimizer holds."""

    def __init__(self):
        super().__init__()
        self.moved, self.slots, self.begun, self.steps = [], [], 0, []

    def on_train_begin(self, logs=None):
        self.begun += 1
        self.before = self._values()

    def _values(self):
        return {weight.path: weight.numpy() for weight in self.model.weights}

    def on_epoch_end(self, epoch, logs=None):
        now = self._values()
        self.moved.append({p for p, v in now.items() if not np.array_equal(v, self.before[p])})
        self.before = now
        names = {w.path for w in self.model.trainable_variables}
        self.slots.append((len(self.model.optimizer.variables) - 2, 2 * len(names)))
        self.steps.append(int(self.model.optimizer.iterations.numpy()))


def _parents(paths):
    return {path.rsplit("/", 1)[0] for path in paths}


def test_each_stage_moves_what_it_names_and_only_that(batch):
    model, record = _model(), _Record()
    unfreezing = GradualUnfreezing({1: ["b"], 2: ["a"]})
    history = model.fit(*batch, epochs=3, verbose=0, callbacks=[unfreezing, record])
    assert _parents(record.moved[0]) == {"c"}
    assert _parents(record.moved[1]) == {"nested/b", "c"}
    assert _parents(record.moved[2]) == {"a", "a/inner", "nested/b", "c"}, "no batch normalisation"
    assert all(found == expected for found, expected in record.slots)
    assert record.begun == 1
    assert history.epoch == [0, 1, 2]
    assert all(len(history.history[name]) == 3 for name in ("loss", "mae"))


def test_without_the_callback_nothing_new_trains(batch):
    """What Keras does when a layer is unfrozen during fit: nothing, and it does not say so."""

    class Naive(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.get_layer("a").trainable = epoch > 0

    model, record = _model(), _Record()
    model.fit(*batch, epochs=2, verbose=0, callbacks=[Naive(), record])
    assert _parents(record.moved[1]) == {"c"}


def test_the_optimizer_goes_on_unless_it_is_made_anew(batch):
    carried, fresh = _Record(), _Record()
    _model().fit(
        *batch,
        epochs=2,
        batch_size=4,
        verbose=0,
        callbacks=[GradualUnfreezing({1: ["b"]}), carried],
    )
    make = GradualUnfreezing({1: ["b"]}, lambda model, epoch: keras.optimizers.SGD(0.1 * epoch))
    model = _model()
    model.fit(*batch, epochs=2, batch_size=4, verbose=0, callbacks=[make, fresh])
    assert carried.steps == [4, 8]
    assert fresh.steps == [4, 4]
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)


def test_a_continued_optimizer_steps_as_if_it_had_never_changed():
    """Against Adam's formulas in NumPy, over a change after two steps."""
    generator = np.random.default_rng(0)
    gradients = generator.normal(size=(3, 5))
    first, second = keras.Variable(np.zeros(5), name="first"), keras.Variable([1.0], name="second")
    optimizer = keras.optimizers.Adam(0.1, epsilon=1e-7)
    optimizer.build([first])
    for gradient in gradients[:2]:
        optimizer.apply([keras.ops.array(gradient, "float32")])
    optimizer = continued_optimizer(optimizer, [second, first])
    optimizer.apply([keras.ops.array([1.0]), keras.ops.array(gradients[2], "float32")])

    value, mean, square = np.zeros(5), np.zeros(5), np.zeros(5)
    for step, gradient in enumerate(gradients, start=1):
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        rate = 0.1 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        value -= rate * mean / (np.sqrt(square) + 1e-7)
    np.testing.assert_allclose(first.numpy(), value, rtol=1e-5)
    # It joins at step 3 with empty moments, and moves by less than a full step at first.
    expected = 1 - 0.1 * np.sqrt(1 - 0.999**3) / (1 - 0.9**3) * 0.1 / np.sqrt(0.001)
    np.testing.assert_allclose(second.numpy(), [expected], rtol=1e-5)


def test_exclusions_from_weight_decay_are_not_lost_silently():
    variable = keras.Variable([1.0], name="v")
    optimizer = keras.optimizers.AdamW(0.1)
    optimizer.exclude_from_weight_decay([variable])
    optimizer.build([variable])
    with pytest.raises(ValueError, match="exclude from weight decay, which cannot be carried"):
        continued_optimizer(optimizer, [variable])


def test_it_saves_what_it_compiled(batch, tmp_path):
    layers = [keras.layers.Dense(3, name=name, trainable=name == "c") for name in "abc"]
    model = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(2, name="d")])
    model.compile("adam", loss="mse", metrics=["mae"])
    unfreezing = GradualUnfreezing({1: ["b"]}, lambda model, epoch: keras.optimizers.SGD(0.25))
    model.fit(*batch, epochs=2, verbose=0, callbacks=[unfreezing])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer, keras.optimizers.SGD)
    assert float(loaded.optimizer.learning_rate) == 0.25
    assert int(loaded.optimizer.iterations.numpy()) == 1
    assert set(loaded.evaluate(*batch, verbose=0, return_dict=True)) == {"loss", "mae"}
    assert _parents(w.path for w in loaded.trainable_variables) == {"b", "c", "d"}


def test_a_metric_of_the_user_s_own_runs_on(batch):
    def mine(true, predicted):
        return keras.ops.mean(true - predicted)

    model = _model()
    model.compile("sgd", loss=lambda true, predicted: (true - predicted) ** 2, metrics=[mine])
    record = _Record()
    history = model.fit(
        *batch, epochs=2, verbose=0, callbacks=[GradualUnfreezing({1: ["b"]}), record]
    )
    assert len(history.history["mine"]) == 2
    assert "nested/b" in _parents(record.moved[1])


def test_a_second_fit_begins_again(batch):
    model, record = _model(), _Record()
    unfreezing = GradualUnfreezing({0: lambda model: setattr(model.layers[1], "trainable", False),
                                    1: ["b"]})  # fmt: skip
    for _ in range(2):
        model.fit(*batch, epochs=2, verbose=0, callbacks=[unfreezing, record])
    assert record.begun == 2


def test_a_run_that_begins_late_catches_up(batch):
    model, record = _model(), _Record()
    unfreezing = GradualUnfreezing({1: ["b"], 2: ["a"]})
    model.fit(*batch, epochs=4, initial_epoch=3, verbose=0, callbacks=[unfreezing, record])
    assert _parents(record.moved[0]) == {"a", "a/inner", "nested/b", "c"}


@pytest.mark.parametrize(
    ("stages", "message"),
    [({}, "at least one epoch"), ({-1: ["b"]}, "at least 0, received: -1"), ({1.5: []}, "1.5")],
)
def test_wrong_stages_are_refused(stages, message):
    with pytest.raises(ValueError, match=message):
        GradualUnfreezing(stages)


def test_an_unknown_layer_is_refused_before_training(batch):
    with pytest.raises(ValueError, match="the stage of epoch 1 names no layer: 'bb'"):
        _model().fit(*batch, verbose=0, callbacks=[GradualUnfreezing({1: ["bb"]})])


@pytest.mark.parametrize(
    ("starts", "epoch", "expected"), [((2, 5), 0, None), ((2, 5), 2, 2), ((5, 2), 7, 5)]
)
def test_stage_of_epoch(starts, epoch, expected):
    assert stage_of_epoch(starts, epoch) == expected


def test_walk_opens_everything_once():
    model = _model()
    names = [layer.name for layer in walk(model)]
    assert {"a", "inner", "nested", "b", "c"} <= set(names)
    assert len(names) == len(set(names))


def test_frozen_weights_are_those_that_cannot_move():
    model = _model()
    by_id = {id(weight): weight.path for weight in model.weights}
    frozen = {by_id[key] for key in frozen_weights(model)}
    assert frozen == set(by_id.values()) - {"c/kernel", "c/bias"}
    pair = model.get_layer("a")
    pair.parts[1].trainable = True
    frozen = {by_id[key] for key in frozen_weights(model)}
    assert "a/own" in frozen
    assert not any("batch_normalization" in path for path in frozen), "statistics move, too"


def test_an_average_leaves_frozen_weights_alone_to_the_bit(batch):
    model = _model()
    before = {weight.path: weight.numpy() for weight in model.weights}
    average, record = WeightAverage(0.7), _Record()
    model.fit(
        *batch,
        epochs=30,
        batch_size=4,
        verbose=0,
        callbacks=[GradualUnfreezing({2: ["b"]}), average, record],
    )
    moved = {w.path for w in model.weights if not np.array_equal(w.numpy(), before[w.path])}
    assert _parents(moved) == {"nested/b", "c"}
    assert average.steps == 120
