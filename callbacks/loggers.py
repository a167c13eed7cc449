"""The measures of each epoch to TensorBoard, MLflow or Weights & Biases, as well as to files."""

import importlib
import os
import time
from pathlib import Path

import keras


def epoch_values(logs: dict | None, line: dict | None = None) -> dict[str, float]:
    """Return the numbers of an epoch under their Keras names, each once.

    Args:
        logs: The logs of the epoch.
        line: The line of a `RunLog`, which adds speed, memory and seconds; what both hold is taken
            from the logs.

    Example:
        >>> epoch_values({"loss": 0.5}, {"epoch": 3, "loss": 0.5, "seconds": 2.0, "x": None})
        {'loss': 0.5, 'seconds': 2.0}
    """
    values = {**(line or {}), **(logs or {})}
    values.pop("epoch", None)
    return {
        name: float(value)
        for name, value in values.items()
        if value is not None and not isinstance(value, list | tuple | dict | str)
    }


def import_extra(module: str, extra: str, user: str):
    """Import an optional package.

    Raises:
        ImportError: If it is missing; the message says how to install it.

    Example:
        >>> import_extra("no_such_module", "mlflow", "MLflowLog")
        Traceback (most recent call last):
        ImportError: MLflowLog needs the package no_such_module: pip install 'keras-recipes[mlflow]'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ImportError(
            f"{user} needs the package {module}: pip install 'keras-recipes[{extra}]'"
        ) from None


class _EpochLog(keras.callbacks.Callback):
    """Base of the adapters: collects what is logged for an epoch."""

    def __init__(self, run_log):
        super().__init__()
        self.run_log = run_log

    def _values(self, epoch, logs):
        lines = self.run_log.lines if self.run_log else []
        line = lines[-1] if lines and lines[-1]["epoch"] == epoch + 1 else None
        values = epoch_values(logs, line)
        if "learning_rate" not in values:
            values["learning_rate"] = float(self.model.optimizer.learning_rate)
        return values


class TensorBoardLog(_EpochLog):
    """Write the measures of each epoch as TensorBoard scalars; step is the epoch, from 1.

    Writing needs TensorFlow alone; to look: `pip install tensorboard; tensorboard --logdir ...`.
    Each epoch is on the disk when the next begins. A resumed run takes back the epochs that it runs
    again, so that none shows twice. Use it in place of `keras.callbacks.TensorBoard`, not beside
    it.

    Args:
        directory: Folder for the event file; made if it is missing.
        run_log: A `RunLog` named before this callback, whose speed, memory and seconds are to be
            written too; or `None`.

    Example:
        >>> import tempfile
        >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(loss="mse")
        >>> x, y = keras.ops.ones((8, 2)), keras.ops.ones((8, 1))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     log = TensorBoardLog(folder)
        ...     history = model.fit(x, y, epochs=2, verbose=0, callbacks=[log])
        ...     len(os.listdir(folder))
        1
    """

    def __init__(self, directory: str | os.PathLike, *, run_log=None):
        super().__init__(run_log)
        self.directory = Path(directory)
        self._writer = None

    def on_epoch_begin(self, epoch, logs=None):
        """Open a file, and have readers drop what earlier files hold of this epoch and later."""
        if self._writer is not None:
            return
        import tensorflow as tf

        self._proto = tf.compat.v1
        self.directory.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{os.getpid()}"
        self._writer = tf.io.TFRecordWriter(str(self.directory / name))
        self._write(file_version="brain.Event:2")
        start = self._proto.SessionLog(status=self._proto.SessionLog.START)
        self._write(session_log=start, step=epoch + 1)

    def on_epoch_end(self, epoch, logs=None):
        """Write the scalars."""
        values = [
            self._proto.Summary.Value(tag=name, simple_value=value)
            for name, value in self._values(epoch, logs).items()
        ]
        self._write(summary=self._proto.Summary(value=values), step=epoch + 1)
        self._writer.flush()

    def _write(self, **fields):
        event = self._proto.Event(wall_time=time.time(), **fields)
        self._writer.write(event.SerializeToString())

    def on_train_end(self, logs=None):
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class MLflowLog(_EpochLog):
    """Log the measures of each epoch to an MLflow run; step is the epoch, from 1.

    Goes into the run that is active, or else into one of its own, which it ends when training ends.
    Epochs that the run holds already, of a resumed training, are not logged again; another `fit`
    makes another run. Do not use MLflow's `autolog` or `MlflowCallback` beside it. Needs the extra
    `mlflow`.

    Args:
        experiment: Name of the experiment of an own run; default: MLflow's.
        tracking_uri: Where MLflow keeps its runs; default: as MLflow is set.
        run_id: A run to go on with; `restore` brings back that of the run that was killed.
        run_name: Of an own run.
        run_log: A `RunLog` named before this callback, whose speed, memory and seconds are to be
            logged too; or `None`.

    Attributes:
        run_id: The run, once training has begun.

    Raises:
        ImportError: If MLflow is not installed.
    """

    def __init__(
        self, experiment=None, *, tracking_uri=None, run_id=None, run_name=None, run_log=None
    ):
        super().__init__(run_log)
        self._mlflow = import_extra("mlflow", "mlflow", type(self).__name__)
        self.experiment = experiment
        self.tracking_uri = tracking_uri
        self.run_id = self._given = run_id
        self.run_name = run_name
        self._own = False
        self._restored = False

    def on_train_begin(self, logs=None):
        """Find or make the run, and what it holds."""
        if not self._restored:
            self.run_id = self._given
        self._restored = False
        client = self._client = self._mlflow.MlflowClient(tracking_uri=self.tracking_uri)
        active = self._mlflow.active_run()
        self._own = active is None
        if self.run_id is None and active is not None:
            self.run_id = active.info.run_id
        elif self.run_id is None:
            run = client.create_run(self._experiment_id(client), run_name=self.run_name)
            self.run_id = run.info.run_id
        elif self._own:
            client.update_run(self.run_id, status="RUNNING")
        names = client.get_run(self.run_id).data.metrics
        self._logged = {
            (name, metric.step)
            for name in names
            for metric in client.get_metric_history(self.run_id, name)
        }

    def _experiment_id(self, client):
        if self.experiment is None:
            return "0"
        known = client.get_experiment_by_name(self.experiment)
        return known.experiment_id if known else client.create_experiment(self.experiment)

    def on_epoch_end(self, epoch, logs=None):
        """Log what the run does not hold yet."""
        metric = self._mlflow.entities.Metric
        now = int(time.time() * 1000)
        metrics = [
            metric(name, value, now, epoch + 1)
            for name, value in self._values(epoch, logs).items()
            if (name, epoch + 1) not in self._logged
        ]
        if metrics:
            self._client.log_batch(self.run_id, metrics=metrics)
            self._logged.update((metric.key, metric.step) for metric in metrics)

    def on_train_end(self, logs=None):
        """End the run, if it is its own."""
        if self._own:
            self._client.set_terminated(self.run_id)

    def state(self) -> tuple[dict, list]:
        """Return what a resumed run needs: JSON values, and no arrays."""
        return {"run_id": self.run_id}, []

    def restore(self, values: dict, arrays: list) -> None:
        """Take back what `state` gave; call it before `fit`."""
        self.run_id = values["run_id"]
        self._restored = True


class WandbLog(_EpochLog):
    """Log the measures of each epoch to a Weights & Biases run; step is the epoch, from 1.

    Goes into the run that is active, or else into one of its own, which it finishes when training
    ends. Epochs that the run holds already are not logged again; another `fit` makes another run.
    Do not use `WandbMetricsLogger` beside it. Needs the extra `wandb`.

    Args:
        project: Of an own run; default: W&B's.
        mode: `"online"`, `"offline"` or `"disabled"`; default: as W&B is set.
        directory: Existing folder under which an own run keeps its files; default: W&B's.
        run_id: A run to go on with; `restore` brings back that of the run that was killed. (W&B
            joins the parts of a run that is logged offline when they are uploaded.)
        run_name: Of an own run.
        run_log: A `RunLog` named before this callback, whose speed, memory and seconds are to be
            logged too; or `None`.

    Attributes:
        run_id: The run, once training has begun.

    Raises:
        ImportError: If W&B is not installed.
    """

    def __init__(
        self,
        project=None,
        *,
        mode=None,
        directory=None,
        run_id=None,
        run_name=None,
        run_log=None,
    ):
        super().__init__(run_log)
        self._wandb = import_extra("wandb", "wandb", type(self).__name__)
        self.project = project
        self.mode = mode
        self.directory = directory
        self.run_id = self._given = run_id
        self.run_name = run_name
        self._run = None
        self._own = False
        self._restored = False
        # Offline W&B knows nothing of an earlier part of the run, so the last epoch is kept here.
        self._last = 0

    def on_train_begin(self, logs=None):
        """Find or make the run."""
        before = self.run_id
        if not self._restored:
            self.run_id = self._given
        self._restored = False
        self._own = self._wandb.run is None
        self._run = self._wandb.run or self._wandb.init(
            project=self.project,
            mode=self.mode,
            dir=self.directory,
            id=self.run_id,
            name=self.run_name,
            resume="allow",
        )
        self.run_id = self._run.id
        if self.run_id != before:
            self._last = 0
        if self._run.resumed:
            self._last = max(self._last, int(self._run.step) - 1)

    def on_epoch_end(self, epoch, logs=None):
        """Log, unless the run holds this epoch."""
        if epoch + 1 > self._last:
            self._run.log(self._values(epoch, logs), step=epoch + 1, commit=True)
            self._last = epoch + 1

    def on_train_end(self, logs=None):
        """Finish the run, if it is its own."""
        if self._own:
            self._run.finish()
        self._run = None

    def state(self) -> tuple[dict, list]:
        """Return what a resumed run needs: JSON values, and no arrays."""
        return {"run_id": self.run_id, "last": self._last}, []

    def restore(self, values: dict, arrays: list) -> None:
        """Take back what `state` gave; call it before `fit`."""
        self.run_id = values["run_id"]
        self._last = values["last"]
        self._restored = True
