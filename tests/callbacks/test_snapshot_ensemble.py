"""SnapshotEnsemble: members are the weights at the ends of cycles."""

import json

import keras
import numpy as np
import pytest

from callbacks import CosineCycles, SnapshotEnsemble, WeightAverage


def test_members_are_the_weights_at_the_ends_of_cycles(line_model, tmp_path):
    model, x, y = line_model
    model.compile(keras.optimizers.SGD(CosineCycles(0.5, 2)), "mse")
    snapshots = SnapshotEnsemble(tmp_path, epochs=2)
    model.fit(x, y, epochs=5, verbose=0, callbacks=[snapshots])
    # One step an epoch at rates 0.5 and 0.25: w moves all of its way to 1, then half of it;
    # by the gradient 2 (w - 1), to 1 at the first step.
    weight, expected = 0.0, []
    for epoch in range(4):
        weight -= (0.5, 0.25)[epoch % 2] * 2 * (weight - 1)
        if epoch % 2:
            expected.append(weight)
    loaded = [keras.models.load_model(path) for path in snapshots.members]
    assert [path.name for path in snapshots.members] == ["member-01.keras", "member-02.keras"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "member-01.keras",
        "member-02.keras",
    ]
    assert [member.get_weights()[0][0, 0] for member in loaded] == pytest.approx(expected)
    assert not loaded[0].compiled


def test_members_differ_and_equal_what_training_held(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(CosineCycles(0.1, 4)), "mse")
    held = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            held.append(self.model.get_weights())

    x = np.random.default_rng(0).normal(size=(8, 3))
    snapshots = SnapshotEnsemble(tmp_path, epochs=2)
    # Two steps an epoch, four a cycle.
    callbacks = [snapshots, Look()]
    model.fit(x, x[:, :2], batch_size=4, epochs=4, verbose=0, callbacks=callbacks)
    members = [keras.models.load_model(path).get_weights() for path in snapshots.members]
    for member, epoch in zip(members, (2, 4), strict=True):
        for saved, then in zip(member, held[epoch - 1], strict=True):
            np.testing.assert_array_equal(saved, then)
    assert not np.array_equal(members[0][0], members[1][0])


def test_members_of_averaged_weights(line_model, tmp_path):
    model, x, y = line_model
    average = WeightAverage(0.5)
    snapshots = SnapshotEnsemble(tmp_path, epochs=1, average=average)
    model.fit(x, y, epochs=1, verbose=0, callbacks=[average, snapshots])
    member = keras.models.load_model(snapshots.members[0])
    assert member.get_weights()[0][0, 0] == pytest.approx(0.9 * 0.5)  # decay 0.1 at the first step


def test_a_resumed_run_knows_its_members(line_model, tmp_path):
    model, x, y = line_model
    first = SnapshotEnsemble(tmp_path, epochs=1)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[first])
    values, arrays = first.state()
    again = SnapshotEnsemble(tmp_path, epochs=1)
    again.restore(json.loads(json.dumps(values)), arrays)
    model.fit(x, y, initial_epoch=1, epochs=3, verbose=0, callbacks=[again])
    assert [path.name[7:9] for path in again.members] == ["01", "02", "03"]


def test_a_second_training_begins_anew(line_model, tmp_path):
    model, x, y = line_model
    snapshots = SnapshotEnsemble(tmp_path, epochs=2)
    model.fit(x, y, epochs=6, verbose=0, callbacks=[snapshots])
    assert [path.name[7:9] for path in snapshots.members] == ["01", "02", "03"]
    model.fit(x, y, epochs=3, verbose=0, callbacks=[snapshots])
    assert [path.name[7:9] for path in snapshots.members] == ["01"]
    # Twice from the fifth epoch to the sixth.
    for epoch in (4, 5, 4, 5):
        snapshots.on_epoch_begin(epoch)
        snapshots.on_epoch_end(epoch)
    assert [path.name[7:9] for path in snapshots.members] == ["01", "03"]


def test_a_failed_write_leaves_nothing(line_model, tmp_path, monkeypatch):
    model, x, y = line_model

    def fail(self, path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(keras.Sequential, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        model.fit(x, y, verbose=0, callbacks=[SnapshotEnsemble(tmp_path, epochs=1)])
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match="epochs must be an integer of at least 1, received: 0"):
        SnapshotEnsemble(tmp_path, epochs=0)
    with pytest.raises(ValueError, match="existing folder"):
        SnapshotEnsemble(tmp_path / "none", epochs=1)
