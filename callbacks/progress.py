"""A progress bar over the whole run, with the time left; one line an epoch."""

import sys
import time

import keras


def epoch_line(epoch: int, epochs: int, logs: dict[str, float], seconds: float) -> str:
    """Return the line that sums up an epoch.

    Example:
        >>> epoch_line(3, 30, {"loss": 0.5, "accuracy": 0.81, "val_loss": 0.4}, 4.21)
        'epoch  3/30  loss 0.5000  accuracy 0.8100  val_loss 0.4000  4.2 s'
    """
    measures = "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
    return f"epoch {epoch:>{len(str(epochs))}}/{epochs}  {measures}  {seconds:.1f} s"


class Progress(keras.callbacks.Callback):
    """Show one bar for all epochs with the time left, and a line for each epoch.

    On a terminal the bar moves under the lines; elsewhere (a log file, CI) only the lines are
    printed. Everything goes to the standard error stream, so that results can be piped.

    Args:
        epochs: Epochs of the whole run.
        steps_per_epoch: Steps of one epoch.
        first_epoch: Epochs already done by an earlier run that this one resumes.
    """

    def __init__(self, epochs, steps_per_epoch, first_epoch=0):
        super().__init__()
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.first_epoch = first_epoch
        self._bar = None
        self._task = None

    def on_train_begin(self, logs=None):
        """Open the bar."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        if not sys.stderr.isatty():
            return
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            # The first epochs are slower than the rest (tracing); look at the last two minutes.
            TimeRemainingColumn(),
            console=self._console,
            speed_estimate_period=120,
            transient=True,
        )
        self._task = self._bar.add_task(
            "training",
            total=self.epochs * self.steps_per_epoch,
            completed=self.first_epoch * self.steps_per_epoch,
        )
        self._bar.start()

    def on_epoch_begin(self, epoch, logs=None):
        """Note the time."""
        self._started = time.perf_counter()
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        """Move the bar."""
        if self._bar is not None:
            done = self._epoch * self.steps_per_epoch + batch + 1
            self._bar.update(
                self._task, completed=done, description=f"epoch {self._epoch + 1}/{self.epochs}"
            )

    def on_epoch_end(self, epoch, logs=None):
        """Print the line of the epoch."""
        seconds = time.perf_counter() - self._started
        self._console.print(epoch_line(epoch + 1, self.epochs, logs or {}, seconds))

    def on_train_end(self, logs=None):
        """Close the bar."""
        self.close()

    def close(self):
        """Take the bar off the screen; for a run that ends in an error, too."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
