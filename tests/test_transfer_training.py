"""Transfer through the one training path: phases, resuming in and between them, old recipes."""

import json
import signal
import sys

import keras
import numpy as np
import pytest

from callbacks import WeightAverage
from recipes import load_data, train
from recipes.catalog import get_recipe
from recipes.config import (
    AugmentationConfig,
    ModelConfig,
    OptimizerConfig,
    Recipe,
    TrainingConfig,
    TransferConfig,
)
from recipes.errors import ConfigError, RunError
from recipes.files import write_json
from recipes.models import build_model
from recipes.run import Run

EPOCHS, HEAD_EPOCHS = 4, 2


@pytest.fixture(scope="module")
def data(tiny_source):
    return load_data(tiny_source)


def _backbone(**arguments):
    return build_model("resnet9", include_top=False, input_shape=(28, 28, 1), width=8, **arguments)


@pytest.fixture(scope="module")
def backbone_file(tmp_path_factory):
    """Weights of a backbone with statistics unlike those of a new network."""
    keras.utils.set_random_seed(7)
    model = _backbone()
    generator = np.random.default_rng(7)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.moving_mean.shape
            layer.moving_mean.assign(generator.normal(0, 0.3, shape))
            layer.moving_variance.assign(generator.uniform(0.5, 2, shape))
    path = tmp_path_factory.mktemp("backbone") / "backbone.weights.h5"
    model.save_weights(path)
    return str(path)


@pytest.fixture(scope="module")
def recipe(backbone_file):
    return Recipe(
        name="tiny-transfer",
        model=ModelConfig(name="resnet9", width=8, dropout=0.1),
        optimizer=OptimizerConfig(name="adamw", learning_rate=3e-3, weight_decay=0.01),
        augmentation=AugmentationConfig(crop_padding=2, mixup_alpha=0.2, mix_probability=0.5),
        training=TrainingConfig(
            epochs=EPOCHS, batch_size=32, ema=0.9, keep="last", precision="float32"
        ),
        transfer=TransferConfig(
            weights=backbone_file,
            strategy="partial",
            unfreeze_stages=1,
            head_epochs=HEAD_EPOCHS,
            head_learning_rate=1e-2,
            rate_decay=0.5,
            linear_probe=True,
        ),
    )


@pytest.fixture(scope="module")
def finished(recipe, data, tmp_path_factory):
    lines = []
    folder = tmp_path_factory.mktemp("transfer") / "run"
    run = train(recipe, data, folder, say=lines.append, progress=False)
    return run, lines


def _weights(run):
    model = keras.saving.load_model(run.path("model.keras"))
    return {weight.path: weight.numpy() for weight in model.weights}


def _assert_same_result(found, expected):
    ours, theirs = _weights(found), _weights(expected)
    assert ours.keys() == theirs.keys()
    for path, value in ours.items():
        np.testing.assert_array_equal(value, theirs[path], err_msg=path)
    drop = ("seconds", "images_per_second")
    histories = [
        [{name: epoch[name] for name in epoch if name not in drop} for epoch in run.history]
        for run in (found, expected)
    ]
    assert histories[0] == histories[1]
    assert found.metrics["test"] == expected.metrics["test"]


def test_both_phases_are_one_run(finished):
    run, lines = finished
    assert [epoch["epoch"] for epoch in run.history] == [1, 2, 3, 4]
    trainable = [epoch["trainable_parameters"] for epoch in run.history]
    head = 32 * 3 + 3
    # The kernels of stage 2: one 3x3 from 16 to 32 channels, two from 32 to 32; no batch norm.
    stage2 = 9 * (16 * 32 + 2 * 32 * 32)
    assert trainable == [head, head, head + stage2, head + stage2]
    model = keras.saving.load_model(run.path("model.keras"))
    assert sum(weight.numpy().size for weight in model.trainable_weights) == trainable[-1]
    assert run.metrics["test"]["accuracy"] > 0.8, "three easy classes; chance is 0.33"
    text = "\n".join(lines)
    assert "advice: 270 training images, 90 a class" in text
    assert "linear probe: validation accuracy" in text
    assert "from epoch 1: 99 of" in text
    assert "from epoch 3: " in text


def test_what_is_frozen_is_that_of_the_file_to_the_bit(finished, backbone_file):
    """Two optimizers, an average and a precision policy have passed over them."""
    run, _ = finished
    backbone = _backbone(weights=backbone_file)
    trained = _weights(run)
    moved = set()
    for weight in backbone.weights:
        if not np.array_equal(weight.numpy(), trained[weight.path]):
            moved.add(weight.path)
    kernels = {w.path for w in backbone.weights if "conv" in w.path and "stage2" in w.path}
    assert moved == kernels


class _Crash(keras.callbacks.Callback):
    """Die in the middle of an epoch, or at the start of one."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.at = (epoch, batch)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        if self.at == (epoch, None):
            raise KeyboardInterrupt

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    "place",
    [
        pytest.param((0, 3), id="before the first checkpoint", marks=pytest.mark.exhaustive),
        pytest.param((1, 2), id="in the head's phase", marks=pytest.mark.slow),
        pytest.param((2, None), id="between the phases"),
        pytest.param((3, 1), id="in the second phase"),
    ],
)
@pytest.mark.slow
def test_a_run_that_died_anywhere_resumes_to_the_same_weights(
    place, finished, recipe, data, tmp_path
):
    with pytest.raises(KeyboardInterrupt):
        train(recipe, data, tmp_path / "run", callbacks=[_Crash(*place)], progress=False)
    resumed = train(recipe, data, tmp_path / "run", resume=True, progress=False)
    _assert_same_result(resumed, finished[0])


@pytest.mark.slow
def test_a_spoilt_checkpoint_of_the_second_phase_falls_back_to_the_first(
    finished, recipe, data, tmp_path
):
    with pytest.raises(KeyboardInterrupt):
        train(recipe, data, tmp_path / "run", callbacks=[_Crash(3, 0)], progress=False)
    newest = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
    assert newest.name == "epoch-0003.npz"
    newest.write_bytes(newest.read_bytes()[:1000])
    resumed = train(recipe, data, tmp_path / "run", resume=True, progress=False)
    _assert_same_result(resumed, finished[0])


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_process_resumes_to_the_same_weights(
    finished, recipe, tiny_source, processes, tmp_path
):
    recipe_file, folder = tmp_path / "recipe.json", tmp_path / "run"
    write_json(recipe_file, recipe.to_dict())
    history = folder / "history.jsonl"
    processes.kill_when(
        lambda: history.exists() and history.read_text().count("\n") >= HEAD_EPOCHS,
        [sys.executable, "-m", "recipes", "train", recipe_file, tiny_source, "--out", folder],
    )
    resumed = train(recipe, tiny_source, folder, resume=True, progress=False)
    _assert_same_result(resumed, finished[0])


@pytest.mark.exhaustive
def test_patience_does_not_end_the_run_before_the_second_phase(recipe, data, tmp_path):
    settings = {"training.patience": 1, "transfer.head_learning_rate": 1e-9, "training.ema": None}
    run = train(recipe.override(settings), data, tmp_path / "run", progress=False)
    assert len(run.history) > HEAD_EPOCHS


def test_a_changed_weights_file_is_refused(recipe, data, backbone_file, tmp_path):
    copy = tmp_path / "copy.weights.h5"
    with open(backbone_file, "rb") as file:
        copy.write_bytes(file.read())
    mine = recipe.override({"transfer.weights": str(copy), "transfer.linear_probe": False})
    with pytest.raises(KeyboardInterrupt):
        train(mine, data, tmp_path / "run", callbacks=[_Crash(0, None)], progress=False)
    _backbone().save_weights(copy)
    with pytest.raises(RunError, match="run of another weights file"):
        train(mine, data, tmp_path / "run", resume=True, progress=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"transfer.unfreeze_from": "stag2"}, "no layer 'stag2'; did you mean 'stage2'"),
        ({"transfer.unfreeze_stages": 9}, "stages must be a whole number from 0 to 3"),
        ({"transfer.weights": "missing.weights.h5"}, "missing.weights.h5"),
        ({"transfer.head_epochs": 4}, "head_epochs must be below training.epochs, 4"),
        ({"transfer.rate_decay": 0.0}, "transfer.rate_decay must be above 0 and at most 1"),
        ({"transfer.strategy": "half"}, "transfer.strategy must be 'auto' or 'frozen'"),
        ({"transfer.head_epoch": 1}, "did you mean 'transfer.head_epochs'"),
    ],
)
def test_a_wrong_recipe_is_one_line_and_writes_nothing(settings, message, recipe, data, tmp_path):
    with pytest.raises(ConfigError, match=message) as caught:
        train(recipe.override(settings), data, tmp_path / "run", progress=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_the_strategy_follows_the_advice_unless_it_is_given(recipe):
    from recipes.transfer.plan import TransferPlan

    def plan(images, **settings):
        chosen = recipe.override({f"transfer.{name}": value for name, value in settings.items()})
        return TransferPlan(chosen, images, 3, lambda line: None)

    assert plan(300, strategy="auto").strategy == "frozen"
    assert plan(3_000, strategy="auto").strategy == "partial"
    assert plan(30_000, strategy="auto").strategy == "full"
    assert plan(300, strategy="full").strategy == "full"
    frozen = plan(30_000, strategy="frozen")
    assert [(phase.name, phase.start, phase.epochs) for phase in frozen.phases] == [("head", 0, 4)]
    phases = plan(300, strategy="full").phases
    assert [(p.name, p.start, p.epochs, p.learning_rate) for p in phases] == [
        ("head", 0, 2, 1e-2),
        ("tune", 2, 2, 3e-3),
    ]
    assert [p.name for p in plan(300, strategy="full", head_epochs=0).phases] == ["tune"]


def test_a_recipe_file_from_before_there_was_transfer_still_works(tmp_path):
    old = get_recipe("fashion-mini").to_dict()
    del old["transfer"]
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(old))
    assert get_recipe(str(path)) == get_recipe("fashion-mini")
    assert Recipe.from_dict(old).transfer == TransferConfig(weights=None)


@pytest.mark.slow
def test_a_run_from_before_there_was_transfer_is_read_and_resumed(tiny_recipe, data, tmp_path):
    short = tiny_recipe.override({"training.epochs": 1})
    with pytest.raises(KeyboardInterrupt):
        train(short, data, tmp_path / "run", callbacks=[_Crash(0, None)], progress=False)
    old = json.loads((tmp_path / "run" / "recipe.json").read_text())
    del old["transfer"]
    write_json(tmp_path / "run" / "recipe.json", old)
    assert Run(tmp_path / "run").recipe == short
    resumed = train(short, data, tmp_path / "run", resume=True, progress=False)
    assert resumed.finished
    assert "trainable_parameters" not in resumed.history[0]


@pytest.mark.slow
def test_the_average_goes_on_over_both_phases(recipe, data, tmp_path):
    seen = {}

    class Look(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            seen["optimizer"] = int(self.model.optimizer.iterations.numpy())
            (average,) = (c for c in self.others if isinstance(c, WeightAverage))
            seen["average"] = average.steps

    look = Look()
    averages = []
    original = WeightAverage.__init__

    def remember(self, *arguments, **keywords):
        original(self, *arguments, **keywords)
        averages.append(self)

    look.others = averages
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WeightAverage, "__init__", remember)
        train(recipe, data, tmp_path / "run", callbacks=[look], progress=False)
    steps = 270 // 32
    assert seen == {"optimizer": 2 * steps, "average": 4 * steps}
