"""The adapters, read back with the tools of those who read them."""

import json
import sys
from unittest import mock

import keras
import pytest
import tensorflow as tf

from callbacks import MLflowLog, RunLog, TensorBoardLog, WandbLog
from callbacks.loggers import epoch_values


def _events(folder):
    """All events of a folder in the order of writing, as (step, {tag: value}, is_start)."""
    for path in sorted(folder.iterdir()):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            values = {value.tag: value.simple_value for value in event.summary.value}
            yield event.step, values, event.HasField("session_log")


def test_scalars_are_the_history_under_its_names(line_model, tmp_path):
    model, x, y = line_model
    log = TensorBoardLog(tmp_path)
    history = model.fit(x, y, validation_data=(x, y), epochs=3, verbose=0, callbacks=[log]).history
    scalars = [(step, values) for step, values, _ in _events(tmp_path) if values]
    assert [step for step, _ in scalars] == [1, 2, 3]
    assert set(scalars[0][1]) == {*history, "learning_rate"}
    for name, values in history.items():
        assert [found[name] for _, found in scalars] == pytest.approx(values, rel=1e-6)


def test_tensorboard_shows_a_resumed_run_once(line_model, tmp_path):
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    model, x, y = line_model
    model.fit(x, y, epochs=3, verbose=0, callbacks=[TensorBoardLog(tmp_path)])
    resumed = model.fit(
        x, y, initial_epoch=1, epochs=4, verbose=0, callbacks=[TensorBoardLog(tmp_path)]
    ).history
    accumulator = reading.EventAccumulator(str(tmp_path)).Reload()
    assert set(accumulator.Tags()["scalars"]) == {"loss", "mae", "learning_rate"}
    found = accumulator.Scalars("loss")
    assert [event.step for event in found] == [1, 2, 3, 4]
    assert [event.value for event in found[1:]] == pytest.approx(resumed["loss"])


def test_a_resumed_run_takes_back_what_it_runs_again(line_model, tmp_path):
    model, x, y = line_model
    model.fit(x, y, epochs=3, verbose=0, callbacks=[TensorBoardLog(tmp_path)])
    again = [TensorBoardLog(tmp_path)]
    model.fit(x, y, initial_epoch=1, epochs=3, verbose=0, callbacks=again)
    starts = [step for step, _, is_start in _events(tmp_path) if is_start]
    assert starts == [1, 2]


def test_with_a_run_log_each_name_once(line_model, tmp_path):
    model, x, y = line_model
    run_log = RunLog(tmp_path / "log.jsonl")
    log = TensorBoardLog(tmp_path / "events", run_log=run_log)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[run_log, log])
    for path in (tmp_path / "events").iterdir():
        for record in tf.data.TFRecordDataset(str(path)):
            tags = [
                value.tag for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value
            ]
            assert len(tags) == len(set(tags))
    newest = list(_events(tmp_path / "events"))[-1][1]
    assert set(newest) == set(run_log.lines[-1]) - {"epoch"}
    assert newest["loss"] == pytest.approx(run_log.lines[-1]["loss"])


def test_values_of_an_epoch():
    line = {"epoch": 2, "loss": None, "recall": [1.0], "seconds": 3}
    assert epoch_values({"loss": 0.5}, line) == {"loss": 0.5, "seconds": 3.0}


@pytest.mark.parametrize(
    ("kind", "module"), [(MLflowLog, "mlflow"), (WandbLog, "wandb")], ids=["mlflow", "wandb"]
)
def test_a_missing_package_is_named(kind, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    expected = (
        rf"{kind.__name__} needs the package {module}: pip install 'keras-recipes\[{module}\]'"
    )
    with pytest.raises(ImportError, match=expected):
        kind()


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    """Return MLflow with a store of files."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    package = pytest.importorskip("mlflow")
    package.set_tracking_uri((tmp_path / "mlruns").as_uri())
    return package


@pytest.mark.filterwarnings("ignore")
def test_mlflow_holds_the_history(line_model, tmp_path, mlflow):
    model, x, y = line_model
    log = MLflowLog("clothes", run_name="first")
    history = model.fit(x, y, epochs=2, verbose=0, callbacks=[log]).history
    values, arrays = log.state()
    again = MLflowLog("clothes")
    again.restore(json.loads(json.dumps(values)), arrays)
    more = model.fit(x, y, initial_epoch=1, epochs=3, verbose=0, callbacks=[again]).history

    client = mlflow.MlflowClient()
    (experiment,) = client.search_experiments(filter_string="name = 'clothes'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_id, run.info.status) == (log.run_id, "FINISHED")
    assert set(run.data.metrics) == {*history, "learning_rate"}
    for name in history:
        found = client.get_metric_history(run.info.run_id, name)
        assert [metric.step for metric in found] == [1, 2, 3]
        expected = [*history[name], more[name][1]]
        assert [metric.value for metric in found] == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore")
def test_mlflow_joins_the_run_that_is_active(line_model, mlflow):
    model, x, y = line_model
    with mlflow.start_run() as run:
        model.fit(x, y, verbose=0, callbacks=[MLflowLog()])
        assert mlflow.active_run() is not None
    assert mlflow.get_run(run.info.run_id).data.metrics["loss"] == 1.0


@pytest.mark.filterwarnings("ignore")
def test_wandb_offline(line_model, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    model, x, y = line_model
    sent = []

    log = WandbLog("clothes", mode="offline", directory=tmp_path, run_id="first")

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            sent.append((wandb.run.step, dict(wandb.run.summary)))

    history = model.fit(x, y, epochs=2, verbose=0, callbacks=[log, Look()]).history
    assert [step for step, _ in sent] == [2, 3]  # the next one, so epochs 1 and 2 are written
    assert [summary["loss"] for _, summary in sent] == pytest.approx(history["loss"])
    assert wandb.run is None
    assert list(tmp_path.glob("wandb/offline-run-*-first/run-first.wandb"))
    assert log.state() == ({"run_id": "first", "last": 2}, [])

    again = WandbLog("clothes", mode="offline", directory=tmp_path)
    again.restore(*log.state())
    model.fit(x, y, initial_epoch=1, epochs=3, verbose=0, callbacks=[again, Look()])
    assert [step for step, _ in sent[2:]] == [0, 4]  # epoch 2 is not logged again


def logged(log, line_model):
    """Fit twice, for two epochs and for one; return the run of each."""
    model, x, y = line_model
    runs = []
    for epochs in (2, 1):
        model.fit(x, y, epochs=epochs, verbose=0, callbacks=[log])
        runs.append(log.run_id)
    return runs


def test_another_fit_makes_another_mlflow_run(line_model, monkeypatch):
    mlflow = mock.MagicMock(**{"active_run.return_value": None})
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    client = mlflow.MlflowClient.return_value
    client.create_run.side_effect = [mock.Mock(**{"info.run_id": name}) for name in "ab"]
    assert logged(MLflowLog(), line_model) == ["a", "b"]
    assert [call.args[0] for call in client.log_batch.call_args_list] == ["a", "a", "b"]
    assert logged(MLflowLog(run_id="mine"), line_model) == ["mine", "mine"]


def test_another_fit_makes_another_wandb_run(line_model, monkeypatch):
    made = []

    def init(*, id, **_):
        made.append(mock.Mock(id=id or f"made {len(made)}", resumed=False))
        return made[-1]

    wandb = mock.Mock(run=None, init=init)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    assert logged(WandbLog(), line_model) == ["made 0", "made 1"]
    assert [run.log.call_count for run in made] == [2, 1]
    # A run that was named goes on, and holds the first epoch of the second fit already.
    assert logged(WandbLog(run_id="mine"), line_model) == ["mine", "mine"]
    assert [run.log.call_count for run in made[2:]] == [2, 0]
