"""One line an epoch in a JSONL and a CSV file: measures, rate, speed, memory, seconds by phase."""

import csv
import io
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import keras
import tensorflow as tf

from callbacks.files import atomic_path

_MEBIBYTE = 2**20


def peak_memory() -> dict[str, float]:
    """Return the most memory that this process has held so far, in MiB.

    Returns:
        `peak_memory_mib`: resident memory, where the system tells (Linux, macOS);
        `gpu_peak_memory_mib`: of the fullest GPU, as TensorFlow allocated it, where there is one.

    Example:
        >>> peak_memory()["peak_memory_mib"] > 1
        True
    """
    peaks = {}
    if sys.platform != "win32":
        import resource

        # Kilobytes on Linux, bytes on macOS.
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peaks["peak_memory_mib"] = round(peak * unit / _MEBIBYTE, 1)
    devices = [
        device.name.removeprefix("/device:") for device in tf.config.list_logical_devices("GPU")
    ]
    if devices:
        peak = max(tf.config.experimental.get_memory_info(device)["peak"] for device in devices)
        peaks["gpu_peak_memory_mib"] = round(peak / _MEBIBYTE, 1)
    return peaks


def csv_text(lines: list[dict]) -> str:
    """Return lines as CSV: a column for each name that occurs, lists as JSON, nothing for `None`.

    Example:
        >>> print(csv_text([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": None, "new": [1]}]))
        epoch,loss,new
        1,0.5,
        2,,[1]
        <BLANKLINE>
    """
    names = list(dict.fromkeys(name for line in lines for name in line))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    for line in lines:
        values = (line.get(name) for name in names)
        writer.writerow(
            [json.dumps(value) if isinstance(value, list | dict) else value for value in values]
        )
    return stream.getvalue()


class RunLog(keras.callbacks.Callback):
    """Write a line for each epoch of `fit` to `NAME.jsonl` and `NAME.csv`.

    Both files are whole at any moment: each epoch writes them under another name, then renames. A
    run that is resumed with `fit(initial_epoch=...)` goes on below the lines of the epochs before
    that one; lines of epochs that it runs again are replaced. So a new run on the same path begins
    the files anew.

    A line holds `epoch` (from 1); everything in the epoch's logs under its Keras name;
    `learning_rate`, if the logs hold none; and

    - `seconds` of the epoch, and of them `train_seconds` (the batches, callbacks of batches
      included), `validation_seconds` (of `validation_data`), `callback_seconds` (the rest, such as
      measuring and saving; what callbacks after this one took is added with the next line, to
      `seconds` too) and `NAME_seconds` for each callback in `timed`;
    - `images_per_second` while training; in an epoch that is resumed inside, of the rest of it;
    - `peak_memory_mib` and `gpu_peak_memory_mib`, see `peak_memory`.

    Values that are not finite are `null` (nothing in the CSV file), since JSON has no others. Name
    it after the callbacks that add to the logs.

    Args:
        path: File to write, ending in `.jsonl`, in an existing folder.
        timed: Name to callback, among those given to `fit`, whose `on_epoch_end` is to be timed by
            itself; such as `{"checkpoint": checkpoint}`. `"validation"` adds to
            `validation_seconds`.
        images_per_epoch: Training images of a whole epoch; default: as many as the model's loss was
            averaged over.

    Attributes:
        lines: The lines so far, a dictionary an epoch, those of a resumed run included.

    Raises:
        ValueError: If `path` does not end in `.jsonl`, its folder is missing, or what is there is
            no run log.

    Example:
        >>> import pathlib, tempfile
        >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(loss="mse")
        >>> x, y = keras.ops.ones((8, 2)), keras.ops.ones((8, 1))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     log = RunLog(pathlib.Path(folder) / "log.jsonl")
        ...     history = model.fit(x, y, epochs=2, verbose=0, callbacks=[log])
        ...     len(log.path.read_text().splitlines())
        2
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        timed: Mapping[str, keras.callbacks.Callback] | None = None,
        images_per_epoch: int | None = None,
    ):
        super().__init__()
        self.path = Path(path)
        if self.path.suffix != ".jsonl":
            raise ValueError(f"path must end in .jsonl, received: {str(path)!r}")
        if not self.path.parent.is_dir():
            raise ValueError(f"the folder of path must exist, received: {str(path)!r}")
        self.timed = dict(timed or {})
        self.images_per_epoch = images_per_epoch
        self.lines = []
        self._first_epoch = True
        self._ended = None
        # What each timed callback has in itself where its class has a method, such as a
        # LambdaCallback; None for the method alone.
        self._hooks = None

    def on_train_begin(self, logs=None):
        """Read what an earlier run has written, and start the clocks of the timed callbacks."""
        self._put_back()  # what a fit left that was cut short
        self.lines = _read(self.path)
        self._first_epoch, self._ended = True, None
        self._seconds = dict.fromkeys(self.timed, 0.0)
        self._hooks = [vars(callback).get("on_epoch_end") for callback in self.timed.values()]
        for name, callback in self.timed.items():
            callback.on_epoch_end = self._clocked(name, callback.on_epoch_end)

    def _put_back(self):
        """Leave the timed callbacks as they were."""
        hooks, self._hooks = self._hooks, None
        for callback, own in zip(self.timed.values(), hooks or [], strict=False):
            if own is None:
                vars(callback).pop("on_epoch_end", None)
            else:
                callback.on_epoch_end = own

    def _clocked(self, name, function):
        def on_epoch_end(epoch, logs=None):
            started = time.perf_counter()
            function(epoch, logs)
            self._seconds[name] += time.perf_counter() - started

        return on_epoch_end

    def on_epoch_begin(self, epoch, logs=None):
        """Note the time; forget lines of epochs that are run again."""
        self._account_for_later_callbacks()
        if self._first_epoch:
            self.lines = [line for line in self.lines if line["epoch"] <= epoch]
            self._first_epoch = False
        self._started = self._trained = time.perf_counter()
        self._validation = 0.0
        self._images = None

    def on_train_batch_begin(self, batch, logs=None):
        """Note what was counted before in an epoch that is resumed inside."""
        if batch == 0:
            self._counted = self._count() or 0.0

    def on_train_batch_end(self, batch, logs=None):
        """Note when training, as opposed to validation, was last at work."""
        self._trained = time.perf_counter()

    def on_test_begin(self, logs=None):
        """Note when `fit` begins to validate, and what it is about to forget."""
        self._images = self._count_images()
        self._test_started = time.perf_counter()

    def on_test_end(self, logs=None):
        """Note how long the validation took."""
        self._validation += time.perf_counter() - self._test_started

    def on_epoch_end(self, epoch, logs=None):
        """Write the line."""
        train_seconds = self._trained - self._started
        images = self._count_images() if self._images is None else self._images
        logs = {name: _finite(value) for name, value in (logs or {}).items()}
        rate = {"learning_rate": _finite(self.model.optimizer.learning_rate)}
        speed = {"images_per_second": round(images / train_seconds, 1)} if images else {}
        self._ended = time.perf_counter()
        self._parts = {"train": train_seconds, "validation": self._validation}
        self._whole = self._ended - self._started
        line = {"epoch": epoch + 1, **logs, **({} if "learning_rate" in logs else rate)}
        self.lines.append({**line, **self._phases(), **speed, **peak_memory()})
        self._write()

    def _phases(self):
        timed = dict(self._seconds)
        parts = {**self._parts, "validation": self._validation + timed.pop("validation", 0.0)}
        rest = self._whole - sum(parts.values()) - sum(timed.values())
        phases = {"": self._whole, **parts, "callback": rest, **timed}
        return {
            f"{name}_seconds".lstrip("_"): round(max(value, 0.0), 3)
            for name, value in phases.items()
        }

    def _account_for_later_callbacks(self):
        """Add what came after the last line was written to that line."""
        if self._ended is not None:
            self._whole += time.perf_counter() - self._ended
            self.lines[-1].update(self._phases())
        self._seconds = dict.fromkeys(self.timed, 0.0)
        self._ended = None

    def _count_images(self):
        """Return the images of this epoch, without those of a killed run that this one resumes."""
        count = self._count()
        if not count:
            return self.images_per_epoch
        images = count if self.images_per_epoch is None else self.images_per_epoch
        return images * (count - self._counted) / count

    def _count(self):
        """Return over how many images the model has averaged its loss, or `None`."""
        losses = [metric for metric in self.model.metrics if metric.name == "loss"]
        count = getattr(losses[0], "count", None) if losses else None
        return None if count is None else float(keras.ops.convert_to_numpy(count))

    def on_train_end(self, logs=None):
        """Complete the last line, and leave the timed callbacks as they were."""
        if self._ended is not None:
            self._account_for_later_callbacks()
            self._write()
        self._put_back()

    def _write(self):
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in self.lines)
        for path, content in (
            (self.path, text),
            (self.path.with_suffix(".csv"), csv_text(self.lines)),
        ):
            with atomic_path(path) as temporary:
                temporary.write_text(content, encoding="utf-8")


def _finite(value):
    """Return a number as JSON has it, or a list of them."""
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _read(path):
    if not path.exists():
        return []
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [line for line in lines if line["epoch"] >= 1]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is no run log: {error}") from error
