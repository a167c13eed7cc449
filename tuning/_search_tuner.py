"""KerasTuner, imported when it is needed, and its tuner whose trials are run by a function."""

import contextlib
import functools
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.errors import ConfigError

if TYPE_CHECKING:
    import keras_tuner

# Between two questions for a trial when there was none, since others are still at work.
_PAUSE = 0.2


@functools.cache
def load_keras_tuner():
    """Return the module `keras_tuner`, or say how to install it."""
    from recipes._quiet import import_tensorflow

    import_tensorflow()
    try:
        import keras_tuner
    except ImportError as error:
        raise ConfigError(
            f"a search needs KerasTuner and TensorBoard ({error}): "
            "pip install 'keras-recipes[tuning]'"
        ) from error
    return keras_tuner


def make_tuner(
    oracle: "keras_tuner.Oracle",
    directory: Path,
    trial: Callable[[str, "keras_tuner.HyperModel | None", Any], float | None],
    hypermodel: "keras_tuner.HyperModel | Callable | None" = None,
) -> "keras_tuner.Tuner":
    """Return a tuner; a hypermodel's space is declared to the oracle.

    Args:
        oracle: Asks for the trials. Where KerasTuner's variables of the environment name a chief,
            the chief's is asked instead.
        directory: Folder for KerasTuner's own files, which are written anew and never read.
        trial: Called with the name of the trial, the hypermodel and the HyperParameters, whose
            values it may change; returns the measure, or `None` if there is none.
        hypermodel: A user's own.
    """
    return _tuner_class()(oracle, directory, trial, hypermodel)


def run_tuner(tuner: "keras_tuner.Tuner") -> None:
    """Let KerasTuner run a search to its end; what a trial raises ends it at once."""
    with quiet_keras_tuner():
        tuner.search(verbose=0)


@contextlib.contextmanager
def quiet_keras_tuner():
    """Hold back what KerasTuner says that a user cannot act on."""
    load_keras_tuner()
    # Not public. While it holds, whatever ends a trial is printed with its traceback.
    from keras_tuner.src import config

    debug, config.DEBUG = config.DEBUG, False
    with warnings.catch_warnings():
        # KerasTuner 1.4.8 asks for the thread by names that Python 3.10 gave up.
        warnings.filterwarnings("ignore", r"(currentThread|getName)\(\) is", DeprecationWarning)
        # Its Gaussian process finds a length scale at a bound.
        warnings.filterwarnings("ignore", module=r"sklearn\.gaussian_process")
        try:
            yield
        finally:
            config.DEBUG = debug


@functools.cache
def _tuner_class():
    keras_tuner = load_keras_tuner()

    class RecordedTuner(keras_tuner.Tuner):
        """Runs each trial through a function."""

        def __init__(self, oracle, directory, trial, hypermodel):
            self.trial = trial
            self.error = None
            self.was_idle = False
            super().__init__(
                oracle,
                hypermodel,
                directory=str(directory.parent),
                project_name=directory.name,
                overwrite=True,
            )

        def pre_create_trial(self):
            """End the search by the error that ended a trial; wait a little if there was none."""
            if self.error is not None:
                raise self.error
            if self.was_idle:
                time.sleep(_PAUSE)
            self.was_idle = True

        def run_trial(self, trial, *arguments, **options):
            """Run one."""
            self.was_idle = False
            try:
                measure = self.trial(trial.trial_id, self.hypermodel, trial.hyperparameters)
            except BaseException as error:
                # KerasTuner takes an exception for a trial that failed, and goes on.
                self.error = error
                raise keras_tuner.errors.FailedTrialError(str(error)) from error
            if measure is None:
                raise keras_tuner.errors.FailedTrialError("no measure")
            return {self.oracle.objective.name: measure}

        def on_trial_end(self, trial):
            """Tell the oracle, unless the trial was cut off."""
            if self.error is None:
                super().on_trial_end(trial)

    return RecordedTuner
