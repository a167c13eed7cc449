"""The training path: what it writes, that it learns, and that a killed run ends the same."""

import dataclasses
import signal
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from recipes import load_data, train
from recipes.config import ModelConfig, Recipe
from recipes.data.problems import Problem
from recipes.errors import ConfigError, DataError, DivergedError, RunError
from recipes.files import write_json
from recipes.models._symbolic import without_values
from recipes.network import Network
from recipes.run import Run
from recipes.training import make_optimizer, training_pipeline
from tuning.pipeline import resume_and_export, train_and_export

FILES = {
    "checkpoints",
    "data.json",
    "environment.json",
    "export.json",
    "history.jsonl",
    "metrics.json",
    "model.keras",
    "model.tflite",
    "model_float32.tflite",
    "predictions.npz",
    "recipe.json",
    "report.html",
    "report.json",
    "report.md",
}


@pytest.fixture(scope="module")
def tiny_data(tiny_source):
    return load_data(tiny_source)


def _weights(run):
    return keras.saving.load_model(run.path("model.keras")).get_weights()


def _assert_same_result(found, expected):
    for ours, theirs in zip(_weights(found), _weights(expected), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    drop = ("seconds", "images_per_second")
    histories = [
        [{name: epoch[name] for name in epoch if name not in drop} for epoch in run.history]
        for run in (found, expected)
    ]
    assert histories[0] == histories[1]
    assert found.metrics["test"] == expected.metrics["test"]
    assert found.metrics["selected_epoch"] == expected.metrics["selected_epoch"]


def test_a_run_holds_every_file_and_learns(tiny_run, tiny_recipe):
    assert {entry.name for entry in tiny_run.directory.iterdir()} == FILES
    assert tiny_run.recipe == tiny_recipe
    assert tiny_run.metrics["test"]["accuracy"] > 0.8, "three easy classes; chance is 0.33"
    assert [epoch["epoch"] for epoch in tiny_run.history] == [1, 2, 3, 4]
    first = tiny_run.history[0]
    assert first.keys() >= {"loss", "accuracy", "val_loss", "val_accuracy", "val_ece"}
    assert len(first["val_recall"]) == 3
    assert tiny_run.data["class_names"] == ["Trouser", "Bag", "Ankle boot"]


def test_the_model_file_says_what_it_is(tiny_run):
    model = keras.saving.load_model(tiny_run.path("model.keras"))
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    last = model.layers[-1]
    assert last.class_names == ["Trouser", "Bag", "Ankle boot"]
    assert last.temperature == tiny_run.metrics["temperature"]["value"]
    assert last.contract["image_shape"] == [28, 28, 1]
    assert last.contract["provenance"]["recipe"] == "tiny"


def test_the_metrics_are_those_of_the_model_file(tiny_run, tiny_data):
    model = keras.saving.load_model(tiny_run.path("model.keras"))
    test = tiny_data.splits["test"]
    probabilities = model.predict(test.load(np.arange(len(test))), verbose=0)
    accuracy = (probabilities.argmax(axis=1) == test.labels).mean()
    assert tiny_run.metrics["test"]["accuracy"] == pytest.approx(accuracy)
    kept = np.load(tiny_run.path("predictions.npz"))
    np.testing.assert_allclose(kept["probabilities"], probabilities, atol=1e-5)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    tiny_run, tiny_recipe, tiny_data, tmp_path
):
    again = train(tiny_recipe, tiny_data, tmp_path / "again", progress=False)
    _assert_same_result(again, tiny_run)
    other = tiny_recipe.override({"training.seed": 1, "training.epochs": 1})
    other = train(other, tiny_data, tmp_path / "other", progress=False)
    assert other.history[0]["loss"] != tiny_run.history[0]["loss"]


class _Crash(keras.callbacks.Callback):
    """Die in the middle of an epoch."""

    def __init__(self, epoch, batch, error=KeyboardInterrupt):
        super().__init__()
        self.at = (epoch, batch)
        self.error = error

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise self.error


@pytest.mark.parametrize("place", [(0, 3), (2, 5), "judging"])
@pytest.mark.sampled(1)
def test_a_run_that_died_anywhere_resumes_to_the_same_weights(
    place, tiny_run, tiny_recipe, tiny_data, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        if place == "judging":

            def die(*arguments):
                raise KeyboardInterrupt

            patch.setattr("recipes.evaluation.judging.judge", die)
        crash = [] if place == "judging" else [_Crash(*place)]
        with pytest.raises(KeyboardInterrupt):
            train(tiny_recipe, tiny_data, tmp_path / "run", callbacks=crash, progress=False)
    assert not Run(tmp_path / "run").finished
    with pytest.raises(RunError, match="interrupted run; go on with: recipes train --resume"):
        train(tiny_recipe, tiny_data, tmp_path / "run")
    resumed = train(tiny_recipe, tiny_data, tmp_path / "run", resume=True, progress=False)
    _assert_same_result(resumed, tiny_run)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_process_resumes_to_the_same_weights(
    tiny_run, tiny_recipe, tiny_source, processes, tmp_path
):
    recipe_file, folder = tmp_path / "recipe.json", tmp_path / "run"
    write_json(recipe_file, tiny_recipe.to_dict())
    history = folder / "history.jsonl"
    processes.kill_when(
        lambda: history.exists() and history.read_text().count("\n") >= 2,
        [sys.executable, "-m", "recipes", "train", recipe_file, tiny_source, "--out", folder],
    )
    resumed = resume_and_export(folder, progress=False)
    assert {entry.name for entry in folder.iterdir()} >= FILES
    _assert_same_result(resumed, tiny_run)


@pytest.mark.slow
def test_a_disk_that_fills_up_is_one_line_and_the_run_resumes(
    tiny_run, tiny_recipe, tiny_data, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        save, calls = np.savez, []

        def full_at_the_third(*arguments, **arrays):
            calls.append(arguments)
            if len(calls) == 3:
                raise OSError(28, "No space left on device")
            save(*arguments, **arrays)

        patch.setattr("numpy.savez", full_at_the_third)
        with pytest.raises(RunError, match="cannot write to .*: No space left on device"):
            train(tiny_recipe, tiny_data, tmp_path / "run", progress=False)
    assert not list(tmp_path.rglob(".*")), "no half-written file is left"
    resumed = train(tiny_recipe, tiny_data, tmp_path / "run", resume=True, progress=False)
    _assert_same_result(resumed, tiny_run)


def test_resuming_another_run_is_refused(tiny_recipe, tiny_data, tmp_path):
    crash = _Crash(1, 0, FileNotFoundError(2, "No such file", "mine/log.txt"))
    with pytest.raises(RunError, match="^cannot read or write mine/log.txt: No such file$"):
        train(tiny_recipe, tiny_data, tmp_path, callbacks=[crash], progress=False)
    other = tiny_recipe.override({"optimizer.learning_rate": 0.05})
    with pytest.raises(RunError, match="another recipe"):
        train(other, tiny_data, tmp_path, resume=True)
    images = tiny_data.splits["train"].load(np.arange(300 - 30))
    other_data = load_data((images, np.arange(270) % 3))
    with pytest.raises(RunError, match="of other images"):
        train(tiny_recipe, other_data, tmp_path, resume=True)


@pytest.mark.slow
def test_resuming_with_another_version_is_said(tiny_recipe, tiny_data, tmp_path):
    recipe = tiny_recipe.override({"training.epochs": 1})
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tiny_data, tmp_path, callbacks=[_Crash(0, 1)], progress=False)
    environment = Run(tmp_path).environment
    environment["versions"]["keras"] = "3.0.0"
    write_json(tmp_path / "environment.json", environment)
    lines = []
    train(recipe, tiny_data, tmp_path, resume=True, say=lines.append, progress=False)
    expected = f"resuming with keras {keras.__version__}, the run began with 3.0.0: not bit-exact"
    assert expected in lines


def test_a_finished_run_is_left_alone(tiny_run, tiny_recipe, tiny_data):
    before = tiny_run.path("metrics.json").stat().st_mtime_ns
    lines = []
    train(tiny_recipe, tiny_data, tiny_run.directory, resume=True, say=lines.append)
    assert lines == [f"{tiny_run.directory} is already finished"]
    assert tiny_run.path("metrics.json").stat().st_mtime_ns == before
    images = tiny_data.splits["train"].load(np.arange(270))
    with pytest.raises(RunError, match="is a run of other images"):
        train(tiny_recipe, load_data((images, np.arange(270) % 3)), tiny_run.directory, resume=True)


def test_a_diverged_run_says_so(tiny_recipe, tiny_data, tmp_path):
    recipe = tiny_recipe.override({"optimizer.learning_rate": 1e12, "optimizer.clip_norm": None})
    with pytest.raises(DivergedError, match="training diverged.*lower optimizer.learning_rate"):
        train(recipe, tiny_data, tmp_path / "run", progress=False)


class _Ruin(keras.callbacks.Callback):
    """Let the logits be NaN from an epoch on."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            bias = self.model.trainable_variables[-1]
            bias.assign(np.full(bias.shape, np.nan))


def test_a_run_that_diverges_later_says_so(tiny_recipe, tiny_data, tmp_path):
    recipe = tiny_recipe.override({"training.keep": "last", "training.epochs": 2})
    message = "training diverged: val_loss of epoch 2 was not finite; try a lower"
    with pytest.raises(RunError, match=message):
        train(recipe, tiny_data, tmp_path / "run", callbacks=[_Ruin()], progress=False)
    with pytest.raises(RunError, match=message):
        train(recipe, tiny_data, tmp_path / "run", resume=True, progress=False)


class _Updates(keras.callbacks.Callback):
    """Note the updates done by the end of each epoch."""

    def on_train_begin(self, logs=None):
        self.done = []

    def on_epoch_end(self, epoch, logs=None):
        self.done.append(int(self.model.optimizer.iterations))


def test_steps_an_execution_that_do_not_fill_an_epoch(tiny_recipe, tiny_data, tmp_path):
    """270 images in batches of 32 are 8 updates: 3 at a time would be 9."""
    recipe = tiny_recipe.override({"training.steps_per_execution": 3, "training.epochs": 2})
    data = dataclasses.replace(tiny_data, problems=(Problem("tiny", "warning", "small images"),))
    updates, lines = _Updates(), []
    train(recipe, data, tmp_path / "run", callbacks=[updates], say=lines.append, progress=False)
    assert "warning: small images" in lines
    assert updates.done == [8, 16]
    assert "2 steps an execution: 3 do not divide the 8 of an epoch" in lines


class _Lose(keras.callbacks.Callback):
    """Remove a file of the images while training runs."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_epoch_begin(self, epoch, logs=None):
        self.path.unlink(missing_ok=True)


@pytest.mark.slow
def test_a_file_that_is_lost_while_training_is_named(tiny_recipe, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 20, 8, 8, 3), np.uint8)
    for name, images in zip(("ant", "bee"), pixels, strict=True):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / "photos" / name / f"{number}.png")
    data = load_data(tmp_path / "photos", memory_limit=1)
    lost = Path(data.splits["train"].paths[0])
    recipe = tiny_recipe.override({"training.batch_size": 4, "training.epochs": 2})
    with pytest.raises(DataError, match=f"{lost.name}, which could be read at the start"):
        train(recipe, data, tmp_path / "run", callbacks=[_Lose(lost)], progress=False)


class _Exhaust(keras.callbacks.Callback):
    """Run out of memory."""

    def on_epoch_begin(self, epoch, logs=None):
        raise tf.errors.ResourceExhaustedError(None, None, "too large")


def test_a_file_that_was_lost_before_is_not_to_blame(tiny_recipe, tiny_data, tmp_path):
    tiny_data.splits["train"].lost.append(DataError("of an earlier training"))
    with pytest.raises(tf.errors.ResourceExhaustedError, match="too large"):
        train(tiny_recipe, tiny_data, tmp_path / "run", callbacks=[_Exhaust()], progress=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"augmentation.crop_padding": 28, "augmentation.crop_fill": "reflect"},
            "crop_padding must be below height and width .* received: 28 for images of 28 x 28",
        ),
        ({"model.name": "resnet21"}, "unknown model.*did you mean"),
        (
            {"model.name": "vgg11", "model.stochastic_depth": 0.1},
            "vgg11 takes no argument 'stochastic_depth'",
        ),
    ],
)
def test_a_wrong_recipe_is_one_line(settings, message, tiny_recipe, tiny_data, tmp_path):
    recipe = tiny_recipe.override({"model.width": None, **settings})
    with pytest.raises(ConfigError, match=message):
        train(recipe, tiny_data, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists(), "nothing is written for a wrong recipe"


@pytest.mark.slow
def test_fewer_images_than_a_batch(tiny_recipe, tiny_data, tmp_path):
    recipe = tiny_recipe.override({"training.batch_size": 512, "training.epochs": 1})
    lines = []
    run = train(recipe, tiny_data, tmp_path / "run", say=lines.append, progress=False)
    assert run.finished
    assert any(line.startswith("batch size 270") for line in lines)


def test_early_stopping_stops_and_keeps_the_best(tiny_recipe, tiny_data, tmp_path):
    recipe = tiny_recipe.override(
        {"training.patience": 1, "training.epochs": 30, "training.monitor": "val_accuracy"}
    )
    run = train(recipe, tiny_data, tmp_path / "run", progress=False)
    accuracies = [epoch["val_accuracy"] for epoch in run.history]
    best = int(np.argmax(accuracies)) + 1
    assert len(accuracies) == best + 1 < 30
    assert run.metrics["selected_epoch"] == best
    assert run.metrics["validation"]["accuracy"] == pytest.approx(accuracies[best - 1])


@pytest.mark.slow
def test_class_weights_and_balanced_sampling_run(tiny_recipe, tiny_data, tmp_path):
    for settings in ({"data.class_weights": True}, {"data.sampling": "balanced"}):
        recipe = tiny_recipe.override({**settings, "training.epochs": 1})
        assert train(recipe, tiny_data, tmp_path / next(iter(settings)), progress=False).finished


def test_weight_decay_spares_biases_and_normalisation(tiny_recipe):
    model = keras.Sequential(
        [keras.layers.Input((4,)), keras.layers.Dense(4), keras.layers.BatchNormalization()]
    )
    recipe = tiny_recipe.override({"optimizer.weight_decay": 0.5, "schedule.warmup": 0.0})
    for name in ("sgd", "adamw"):
        chosen = recipe.override({"optimizer.name": name, "optimizer.learning_rate": 0.1})
        model.set_weights([np.ones_like(weight) for weight in model.get_weights()])
        optimizer = make_optimizer(chosen, model, steps=1000)
        optimizer.apply([keras.ops.zeros(v.shape) for v in model.trainable_variables])
        moved = {v.path: float(keras.ops.max(v)) for v in model.trainable_variables}
        kernel = moved.pop(model.layers[0].kernel.path)
        assert kernel == pytest.approx(1 - 0.1 * 0.5, rel=1e-5)
        assert set(moved.values()) == {1.0}


@pytest.mark.parametrize(("dropout", "expected"), [(None, {0.5}), (0.0, set()), (0.2, {0.2})])
def test_dropout_is_what_the_recipe_says_or_the_family_s_own(dropout, expected):
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    data = load_data((images, np.arange(20) % 2), validation=0.2, test=0.0)
    recipe = Recipe(name="x", model=ModelConfig(name="vgg11", dropout=dropout))
    model = without_values(Network(recipe, data).build, "float32")
    rates = {layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)}
    assert rates - {0.0} == expected


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_no_weight_decay_leaves_the_weights_alone(name, tiny_recipe):
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(4)])
    before = [weight.copy() for weight in model.get_weights()]
    settings = {"optimizer.name": name, "optimizer.weight_decay": 0.0}
    optimizer = make_optimizer(tiny_recipe.override(settings), model, steps=10)
    optimizer.apply([keras.ops.zeros(v.shape) for v in model.trainable_variables])
    for weight, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)


@pytest.mark.slow
def test_the_pipeline_goes_on_at_any_epoch(tiny_recipe, tiny_data):
    whole = list(training_pipeline(tiny_recipe, tiny_data, 128).take(6))
    tail = list(training_pipeline(tiny_recipe, tiny_data, 128, first_epoch=1).take(4))
    for expected, found in zip(whole[2:], tail, strict=True):
        for left, right in zip(expected, found, strict=True):
            np.testing.assert_array_equal(left, right)


def test_read_only_output_is_refused_before_any_work(tiny_recipe, tmp_path):
    with pytest.raises(RunError, match="cannot write to /proc/nothing/run"):
        train_and_export(tiny_recipe, "fashion-mini", "/proc/nothing/run")


@pytest.mark.slow
def test_user_callbacks_are_called(tiny_recipe, tiny_data, tmp_path):
    seen = []
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs))
    recipe = tiny_recipe.override({"training.epochs": 1})
    train(recipe, tiny_data, tmp_path / "run", callbacks=[callback], progress=False)
    assert seen[0]["val_loss"] > 0


@pytest.mark.slow
def test_a_policy_changes_the_images_and_nothing_else(tiny_recipe, tiny_data):
    with_policy = tiny_recipe.override({"augmentation.policy": "randaugment(n=1, m=9)"})
    plain, changed = (
        next(iter(training_pipeline(recipe, tiny_data, 32)))
        for recipe in (tiny_recipe, with_policy)
    )
    assert (plain[0].numpy() != changed[0].numpy()).any((1, 2, 3)).mean() > 0.5
    np.testing.assert_array_equal(plain[1], changed[1])


def test_an_unknown_policy_is_refused_before_anything_is_written(tiny_recipe, tiny_data, tmp_path):
    recipe = tiny_recipe.override({"augmentation.policy": "randagument"})
    with pytest.raises(ConfigError, match=r"augmentation.policy: .*did you mean 'randaugment'"):
        train(recipe, tiny_data, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
