"""Snapshots of one training run, each at the end of a cycle of its learning rate."""

import contextlib
import os
from pathlib import Path

import keras

from callbacks._arguments import whole
from callbacks.files import atomic_path


def uncompiled_copy(model: keras.Model) -> keras.Model:
    """Return a model of the same architecture and weights, without optimizer.

    Args:
        model: A built model whose configuration makes it again.

    Example:
        >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("adam", loss="mse")
        >>> uncompiled_copy(model).compiled
        False
    """
    copy = type(model).from_config(model.get_config())
    if not copy.built:
        copy.build_from_config(model.get_build_config())
    copy.set_weights(model.get_weights())
    return copy


class SnapshotEnsemble(keras.callbacks.Callback):
    """Save a member of an ensemble at the end of each cycle, whole or not at all.

    Give the optimizer `CosineCycles`, so that a cycle ends in a minimum and the next one leaves it
    for another; `recipes.ensemble` makes one model of the members. Training itself is not touched.
    A resumed run that repeats the last epoch of a cycle writes the same file again.

    Args:
        directory: Existing folder for `member-01.keras` and so on. They hold no optimizer.
        epochs: Epochs of a cycle, 1 or more.
        average: A `WeightAverage` named before this callback, whose weights are saved; or `None`.

    Attributes:
        members: The files that this training wrote so far, `pathlib.Path`s, oldest first. The last
            ones are the best; the paper takes up to all of them.

    Raises:
        ValueError: If `epochs` is out of range, or there is no such folder.

    Example:
        >>> import tempfile
        >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(loss="mse")
        >>> x, y = keras.ops.ones((8, 2)), keras.ops.ones((8, 1))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     snapshots = SnapshotEnsemble(folder, epochs=2)
        ...     history = model.fit(x, y, epochs=5, verbose=0, callbacks=[snapshots])
        ...     [path.name for path in snapshots.members]
        ['member-01.keras', 'member-02.keras']

    Source:
        Huang et al., "Snapshot Ensembles: Train 1, Get M for Free", 2017.
    """

    def __init__(self, directory: str | os.PathLike, epochs: int, *, average=None):
        super().__init__()
        epochs = whole("epochs", epochs, 1)
        if not Path(directory).is_dir():
            raise ValueError(f"directory must be an existing folder, received: {str(directory)!r}")
        self.directory = Path(directory)
        self.epochs = epochs
        self.average = average
        self.members = []

    def on_epoch_begin(self, epoch, logs=None):
        """Forget the members of an earlier `fit` that end after this epoch; their files stay."""
        earlier = {self._path(cycle) for cycle in range(1, epoch // self.epochs + 1)}
        self.members = [path for path in self.members if path in earlier]

    def on_epoch_end(self, epoch, logs=None):
        """Save a member if a cycle ends."""
        cycle, within = divmod(epoch + 1, self.epochs)
        if within:
            return
        path = self._path(cycle)
        with self.average.swapped_in() if self.average else contextlib.nullcontext():
            member = uncompiled_copy(self.model)
        with atomic_path(path) as temporary:
            member.save(temporary)
        self.members.append(path)

    def _path(self, cycle):
        return self.directory / f"member-{cycle:02d}.keras"

    def state(self) -> tuple[dict, list]:
        """Return what a resumed run needs: JSON values, and no arrays."""
        return {"members": [path.name for path in self.members]}, []

    def restore(self, values: dict, arrays: list) -> None:
        """Take back what `state` gave; call it before `fit`."""
        self.members = [self.directory / name for name in values["members"]]
