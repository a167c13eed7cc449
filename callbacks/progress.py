"""A progress bar over the whole run, with the time left; one line an epoch."""

import sys
import time

import keras

# Epochs that the time left is estimated from: the newest say most about the next ones.
_RECENT = 5


def duration(seconds: float) -> str:
    """Return a duration in the units that one would say.

    Example:
        >>> duration(4.4), duration(125), duration(3 * 3600 + 59)
        ('4 s', '2 min 05 s', '3 h 00 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def time_left(seconds: list[float], epochs: int) -> float:
    """Return how many seconds `epochs` more epochs will take, by the mean of the last five.

    The first epoch of a process, in which the step is traced, counts only while it is alone.

    Args:
        seconds: What each epoch of this process took, 1 or more of them.
        epochs: How many are to come.

    Example:
        >>> time_left([60.0], 2), time_left([60.0, 10.0, 12.0], 2)
        (120.0, 22.0)
    """
    recent = (seconds[1:] or seconds)[-_RECENT:]
    return epochs * sum(recent) / len(recent)


def epoch_line(
    epoch: int, epochs: int, logs: dict[str, float], seconds: float, left: float | None = None
) -> str:
    """Return the line that sums up an epoch, with the time that the run has left, in seconds.

    Example:
        >>> epoch_line(3, 30, {"loss": 0.5, "accuracy": 0.81, "val_loss": 0.4}, 4.21)
        'epoch  3/30  loss 0.5000  accuracy 0.8100  val_loss 0.4000  4.2 s'
        >>> epoch_line(3, 30, {"loss": 0.5}, 4.21, left=125.0)
        'epoch  3/30  loss 0.5000  4.2 s, left 2 min 05 s'
    """
    remaining = "" if left is None else f", left {duration(left)}"
    return f"{_place(epoch, epochs)}  {_measures(logs)}  {seconds:.1f} s{remaining}"


def step_line(
    epoch: int, epochs: int, step: int, steps: int, logs: dict[str, float], seconds: float
) -> str:
    """Return the line about an epoch under way, `seconds` after its start.

    Example:
        >>> step_line(3, 30, 100, 400, {"loss": 0.5}, 60.0)
        'epoch  3/30  step 100/400  25 %  loss 0.5000  60.0 s, left in this epoch 3 min 00 s'
    """
    left = duration(seconds * (steps - step) / step)
    done = f"step {step:>{len(str(steps))}}/{steps}  {100 * step // steps} %"
    return (
        f"{_place(epoch, epochs)}  {done}  {_measures(logs)}  "
        f"{seconds:.1f} s, left in this epoch {left}"
    )


def _place(epoch, epochs):
    return f"epoch {epoch:>{len(str(epochs))}}/{epochs}"


def _measures(logs):
    return "  ".join(f"{name} {float(value):.4f}" for name, value in logs.items())


class Progress(keras.callbacks.Callback):
    """Show one bar for all epochs with the time left, and a line for each epoch.

    On a terminal the bar moves under the lines; elsewhere (a log file, CI) there are only lines,
    each with the time left, and in a long epoch one now and then. Everything goes to the standard
    error stream, so that results can be piped. The time left is that of all epochs: a run that
    stops early takes less.

    Args:
        epochs: Epochs of the whole run.
        steps_per_epoch: Steps of one epoch.
        first_epoch: Epochs already done by an earlier run that this one resumes.
        every: Seconds between the lines within an epoch where there is no bar, positive; `None` for
            no such lines.

    Raises:
        ValueError: If `every` is not positive.

    Example:
        >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(loss="mse")
        >>> x, y = keras.ops.ones((8, 2)), keras.ops.ones((8, 1))
        >>> history = model.fit(x, y, epochs=2, verbose=0, callbacks=[Progress(2, 1)])
    """

    def __init__(self, epochs, steps_per_epoch, first_epoch=0, *, every=60.0):
        super().__init__()
        if every is not None and not every > 0:
            raise ValueError(f"every must be positive, or None, received: {every!r}")
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.first_epoch = first_epoch
        self.every = every
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

        self.close()  # the bar of a fit that was cut short
        self._seconds = []
        self._ended = time.perf_counter()
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
        self._started = self._said = time.perf_counter()
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        """Move the bar, or print a line if there has been none for long."""
        if self._bar is None:
            self._say_step(batch + 1, logs)
        else:
            done = self._epoch * self.steps_per_epoch + batch + 1
            self._bar.update(
                self._task, completed=done, description=f"epoch {self._epoch + 1}/{self.epochs}"
            )

    def _say_step(self, step, logs):
        now = time.perf_counter()
        if self.every is None or now - self._said < self.every or step >= self.steps_per_epoch:
            return
        self._said = now
        place = (self._epoch + 1, self.epochs, step, self.steps_per_epoch)
        self._console.print(step_line(*place, logs or {}, now - self._started))

    def on_epoch_end(self, epoch, logs=None):
        """Print the line of the epoch."""
        now = time.perf_counter()
        # From end to end, so that what later callbacks take is in the time left.
        self._seconds.append(now - self._ended)
        self._ended = now
        to_come = self.epochs - epoch - 1
        # The bar shows the time left itself.
        left = time_left(self._seconds, to_come) if to_come and self._bar is None else None
        line = epoch_line(epoch + 1, self.epochs, logs or {}, now - self._started, left)
        self._console.print(line)

    def on_train_end(self, logs=None):
        """Close the bar."""
        self.close()

    def close(self):
        """Take the bar off the screen; for a run that ends in an error, too."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
