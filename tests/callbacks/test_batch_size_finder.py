"""The search on memories that are known; trials in another process; everything left as it was."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from callbacks import batch_size_finder, find_batch_size
from callbacks.batch_size_finder import BatchSizeSearch, BatchTrial, free_bytes, search_batch_size

MIB = 2**20


@pytest.mark.parametrize("limit", [1, 3, 16, 100, 1000])
def test_search(limit):
    for capacity in (0, 1, 2, 5, 15, 16, 17, 31, 33, 63, 64, 100, 257, 999, 1000, 5000):
        sizes = []

        def trial(size, sizes=sizes, capacity=capacity):
            sizes.append(size)
            return BatchTrial(size, size <= capacity)

        found = search_batch_size(trial, limit)
        largest = max((one.batch_size for one in found if one.fits), default=0)
        possible = min(capacity, limit)
        assert max(sizes) <= limit
        # Doublings, and halvings of a bracket of sixteen steps, which a limit may make uneven.
        assert len(sizes) == len(set(sizes)) <= np.ceil(np.log2(limit)) + 1 + 5
        assert largest <= possible
        # Exact where a batch is small, else within a sixteenth, in steps of a power of two.
        step = max(1, 2 ** int(np.log2(max(possible, 1))) // 16)
        assert possible - largest < step or largest == limit
        assert largest % step == 0 or largest == limit


def test_prints_as_a_table():
    trials = (
        BatchTrial(8, True, 700 * MIB, 1234.56),
        BatchTrial(12, True, 900 * MIB, 800.0),
        BatchTrial(16, False, 3 * 2**30),
    )
    found = BatchSizeSearch(12, trials, 1000 * MIB, 1024, "CPU")
    assert found.fastest == 8
    assert str(found).splitlines() == [
        "  batch     memory  images/s  on the CPU, in 1000 MiB",
        "      8    700 MiB    1234.6  fastest",
        "     12    900 MiB     800.0  largest",
        "     16   3.00 GiB         -  does not fit",
    ]


def make(optimizer="adam", maps=8, side=256):
    """Return a model that keeps `maps` maps of `side * side` float32 values for its gradient."""
    model = keras.Sequential(
        [
            keras.layers.Input((side, side, 1)),
            keras.layers.Conv2D(1, 1),
            *(keras.layers.Activation("sigmoid") for _ in range(maps)),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    model.compile(optimizer, "mse")
    return model


def spec(side=256):
    images = tf.TensorSpec((None, side, side, 1), tf.float32)
    return images, tf.TensorSpec((None, 1), tf.float32)


def snapshot(model):
    return [np.array(v.numpy()) for v in (*model.variables, *model.optimizer.variables)]


def assert_same(model, before):
    for one, other in zip(snapshot(model), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_in_another_process():
    model = make()
    model.fit(np.ones((2, 256, 256, 1)), np.ones((2, 1)), verbose=0)
    before, optimizer = snapshot(model), model.optimizer
    # Inputs, eight maps for the gradient, and a few gradients: 256 KiB each.
    found = find_batch_size(model, spec(), limit=32)
    assert_same(model, before)
    assert model.optimizer is optimizer
    assert found.batch_size == found.limit == 32
    assert [trial.batch_size for trial in found.trials] == [1, 2, 4, 8, 16, 32]
    assert all(trial.images_per_second > 0 for trial in found.trials)
    *_, less, more = (trial.memory for trial in found.trials)
    maps = (more - less) / 16 / (MIB / 4)
    assert 7 <= maps <= 20
    # Python, TensorFlow and the model.
    assert 200 * MIB < found.trials[0].memory < 2000 * MIB


@pytest.mark.slow
def test_the_budget_is_kept():
    model = make(keras.optimizers.SGD(0.1))
    dataset = tf.data.Dataset.from_tensors((np.ones((4, 256, 256, 1)), np.ones((4, 1))))
    small = find_batch_size(model, dataset, limit=1).trials[0].memory
    found = find_batch_size(model, dataset, memory_budget=small + 200 * MIB)
    fitting = [trial for trial in found.trials if trial.fits]
    assert all(trial.memory <= found.memory_budget for trial in fitting)
    assert all(trial.memory > found.memory_budget for trial in found.trials if not trial.fits)
    assert found.batch_size == max(trial.batch_size for trial in fitting)
    # Of 200 MiB, each image takes 8 to 20 maps of 256 KiB (the budget holds for noise, too).
    assert 30 <= found.batch_size <= 110
    assert not model.optimizer.built
    assert str(found).count("largest") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"memory_budget": 100 * MIB}, ValueError, "not even a batch of one image .* 100 MiB"),
        (
            {"data": (tf.TensorSpec((None, 9), tf.float32), tf.TensorSpec((None, 1), tf.float32))},
            RuntimeError,
            "could not be trained on a batch of 1 in another process: .*",
        ),
    ],
)
def test_what_fails_there_is_said_here(arguments, error, message):
    with pytest.raises(error, match=message):
        find_batch_size(make(), **{"data": spec(), "limit": 2, **arguments})


class TestOnAGpu:
    """Where the steps run in this process; here on the CPU, with a memory that is made up."""

    @pytest.fixture(autouse=True)
    def gpu(self, monkeypatch):
        class Device:
            name = "/device:GPU:0"

        sizes, steps = [], batch_size_finder.timed_steps

        def limited(model, batch):
            sizes.append(int(batch[0].shape[0]))
            if sizes[-1] > 20:
                raise tf.errors.ResourceExhaustedError(None, None, "OOM")
            return steps(model, batch)

        reset = []
        memory = lambda device: {"peak": 100 * sizes[-1], "current": 0}  # noqa: E731
        monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [Device()])
        monkeypatch.setattr(tf.config.experimental, "reset_memory_stats", reset.append)
        monkeypatch.setattr(tf.config.experimental, "get_memory_info", memory)
        monkeypatch.setattr(batch_size_finder, "timed_steps", limited)
        return reset

    def test_it_finds_the_largest_and_restores(self, gpu):
        model = make(maps=1, side=4)
        x, y = np.ones((2, 4, 4, 1)), np.ones((2, 1))
        model.fit(x, y, verbose=0)
        before, optimizer = snapshot(model), model.optimizer
        found = find_batch_size(model, spec(4))
        assert_same(model, before)
        assert model.optimizer is optimizer
        assert (found.batch_size, found.device, found.memory_budget) == (20, "GPU", None)
        assert [(one.batch_size, one.fits) for one in found.trials] == [
            *((1, True), (2, True), (4, True), (8, True), (16, True)),
            *((20, True), (21, False), (22, False), (24, False), (32, False)),
        ]
        assert found.trials[5].memory == 2000
        assert set(gpu) == {"GPU:0"}
        model.fit(x, y, verbose=0)
        twin = make(maps=1, side=4)
        twin.optimizer.build(twin.trainable_variables)
        for variable, value in zip(
            (*twin.variables, *twin.optimizer.variables), before, strict=True
        ):
            variable.assign(value)
        twin.fit(x, y, verbose=0)
        assert_same(model, snapshot(twin))

    def test_a_budget_below_what_there_is(self):
        assert find_batch_size(make(maps=1, side=4), spec(4), memory_budget=1000).batch_size == 10

    def test_an_optimizer_that_was_never_used_stays_so(self):
        model = make(keras.optimizers.SGD(0.1, momentum=0.9), maps=1, side=4)
        optimizer, before = model.optimizer, snapshot(model)
        find_batch_size(model, spec(4), limit=2)
        assert model.optimizer is optimizer
        assert not optimizer.built
        assert_same(model, before)

    def test_nothing_fits(self):
        with pytest.raises(ValueError, match="not even a batch of one image fits into 0 MiB"):
            find_batch_size(make(maps=1, side=4), spec(4), memory_budget=10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": 0}, "limit must be an integer of at least 1, received: 0"),
        ({"memory_budget": 0}, "memory_budget must be bytes, above 0, received: 0"),
        ({"data": np.ones(3)}, "data must be a dataset of .inputs, targets."),
        (
            {"data": (tf.TensorSpec((None, None), tf.float32), tf.TensorSpec((None, 1)))},
            "all axes but the batch be known",
        ),
        ({"data": (tf.TensorSpec(()), tf.TensorSpec((None, 1)))}, "data must be batched"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        find_batch_size(make(maps=1, side=4), **{"data": spec(4), **arguments})


def test_a_model_that_is_not_compiled():
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="needs a compiled model"):
        find_batch_size(model, spec())


def test_free_memory_is_part_of_the_whole():
    with open("/proc/meminfo", encoding="ascii") as file:
        total = int(file.readline().split()[1]) * 1024
    assert 0 < free_bytes() < total
