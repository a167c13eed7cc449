"""Checkpoints of everything that a run needs to go on exactly where it was."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from callbacks.files import atomic_path


class Checkpoint(keras.callbacks.Callback):
    """Save model, optimizer and the state of other callbacks at the end of each epoch.

    One `.npz` file an epoch, whole or absent, holding every variable (weights, statistics, states
    of random generators, optimizer slots, step count) and the `state()` of the callbacks in
    `states`. A kill loses at most the epoch under way. Name it after the callbacks it saves.

    Args:
        directory: Existing folder for `epoch-0001.npz` and so on.
        states: Name to callback; each has `state() -> (values, arrays)` and
            `restore(values, arrays)`.
        keep: Newest checkpoints to keep, 1 or more.
    """

    def __init__(self, directory, states=None, *, keep=2):
        super().__init__()
        if keep < 1:
            raise ValueError(f"keep must be 1 or more, received: {keep!r}")
        self.directory = Path(directory)
        self.states = dict(states or {})
        self.keep = keep

    def on_epoch_end(self, epoch, logs=None):
        """Write the checkpoint of this epoch, then remove old ones."""
        arrays, values = {}, {}
        for group, variables in self._variables(self.model).items():
            for index, variable in enumerate(variables):
                arrays[f"{group}/{index:05d}"] = variable.numpy()
        for name, callback in self.states.items():
            values[name], kept = callback.state()
            for index, array in enumerate(kept):
                arrays[f"callback/{name}/{index:05d}"] = array
        arrays["values"] = np.array(json.dumps({"epoch": epoch + 1, "callbacks": values}))
        with atomic_path(self.directory / f"epoch-{epoch + 1:04d}.npz") as temporary:
            np.savez(temporary, **arrays)
        for old in self.files()[: -self.keep]:
            old.unlink()

    @staticmethod
    def _variables(model):
        return {"model": model.variables, "optimizer": model.optimizer.variables}

    def files(self) -> list[Path]:
        """Return the checkpoints, oldest first."""
        return sorted(self.directory.glob("epoch-*.npz"))

    def restore_newest(
        self,
        model: keras.Model,
        prepare: Callable[[keras.Model, int], None] | None = None,
    ) -> int:
        """Put the newest readable checkpoint back into a compiled model and the callbacks.

        A checkpoint that cannot be read is passed over for the one before it.

        Args:
            model: Built like the one that was saved, with a built optimizer.
            prepare: Called with the model and the epochs that the checkpoint has done before
                anything is put back, to give the model the optimizer that it had then; such as
                `GradualUnfreezing.prepare`.

        Returns:
            How many epochs are done; 0 if there is no checkpoint.

        Raises:
            ValueError: If a checkpoint is of another model.
        """
        for path in reversed(self.files()):
            try:
                # Opened here, since np.load leaves a spoilt file open.
                with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                    arrays = {name: archive[name] for name in archive.files}
            except (OSError, ValueError, EOFError, zipfile.BadZipFile):
                continue
            return self._restore(model, arrays, path, prepare)
        return 0

    def _restore(self, model, arrays, path, prepare):
        values = json.loads(str(arrays.pop("values")))
        if prepare is not None:
            prepare(model, values["epoch"])
        for group, variables in self._variables(model).items():
            saved = _group(arrays, f"{group}/")
            if [array.shape for array in saved] != [tuple(v.shape) for v in variables]:
                raise ValueError(
                    f"{path} holds another {group}: {len(saved)} variables of other shapes, "
                    f"expected {len(variables)}"
                )
            for variable, array in zip(variables, saved, strict=True):
                variable.assign(array)
        for name, callback in self.states.items():
            callback.restore(values["callbacks"][name], _group(arrays, f"callback/{name}/"))
        return values["epoch"]


def _group(arrays, prefix):
    return [arrays[name] for name in sorted(arrays) if name.startswith(prefix)]
