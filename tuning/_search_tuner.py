"""KerasTuner, imported when it is needed, and its tuner whose trials are kept in files of ours.

KerasTuner 1.4.8 loses a search that is killed while it writes its state, and a grid always
(KerasTuner issue 1055). Here its state is never read again: a search that goes on makes a new
oracle with the same seed and tells it the results of the finished trials in their order, after
which it stands where it stood.
"""

import functools
import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.errors import ConfigError

if TYPE_CHECKING:
    import keras_tuner

ALGORITHMS = ("random", "bayesian", "hyperband", "grid")


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


def make_oracle(
    algorithm: str,
    *,
    objective: "keras_tuner.Objective",
    seed: int,
    epochs: int,
    trials: int | None,
    hyperparameters: "keras_tuner.HyperParameters | None",
) -> "keras_tuner.Oracle":
    """Return the oracle of an algorithm.

    Args:
        algorithm: One of `ALGORITHMS`.
        objective: What it looks at.
        seed: 0 or more.
        epochs: Of a trial; for `"hyperband"` of its longest.
        trials: At most, or `None` for no limit: all points of a grid, one sweep of hyperband.
        hyperparameters: The space, or `None` where a model-building function declares it.
    """
    oracles = load_keras_tuner().oracles
    if algorithm == "bayesian" and importlib.util.find_spec("sklearn") is None:
        raise ConfigError("algorithm bayesian needs scikit-learn: pip install scikit-learn")
    kinds = {
        "random": oracles.RandomSearchOracle,
        "bayesian": oracles.BayesianOptimizationOracle,
        "hyperband": oracles.HyperbandOracle,
        "grid": oracles.GridSearchOracle,
    }
    arguments = {
        "objective": objective,
        # KerasTuner takes 0 for "any".
        "seed": seed + 1,
        "hyperparameters": hyperparameters,
        # When to give up is decided by the search.
        "max_consecutive_failed_trials": 10**9,
    }
    if algorithm == "hyperband":
        arguments["max_epochs"] = epochs
    oracle = kinds[algorithm](**arguments)
    # Hyperband takes no such argument, but all oracles heed it. Bayesian search wants an integer
    # in its constructor, where its default would be 10.
    oracle.max_trials = trials
    return oracle


def run_tuner(
    oracle: "keras_tuner.Oracle",
    directory: Path,
    trial: Callable[[int, "keras_tuner.HyperModel | None", Any], float | None],
    *,
    enough: Callable[[int], bool],
    hypermodel: "keras_tuner.HyperModel | Callable | None" = None,
) -> None:
    """Let KerasTuner run a search to its end.

    Args:
        oracle: Asks for the trials.
        directory: Folder for KerasTuner's own files, which are written anew.
        trial: Called with the number of the trial from 0, the hypermodel and the HyperParameters,
            whose values it may change; returns the measure, or `None` if there is none.
        enough: Called with the number of a trial before it; whether to stop instead.
        hypermodel: A user's own.
    """
    tuner = _tuner_class()(oracle, directory, trial, enough, hypermodel)
    with warnings.catch_warnings():
        # KerasTuner 1.4.8 asks for the thread by names that Python 3.10 gave up.
        warnings.filterwarnings("ignore", r"(currentThread|getName)\(\) is", DeprecationWarning)
        # Its Gaussian process finds a length scale at a bound: nothing that a user can act on.
        warnings.filterwarnings("ignore", module=r"sklearn\.gaussian_process")
        tuner.search(verbose=0)
    if tuner.error is not None:
        raise tuner.error


@functools.cache
def _tuner_class():
    keras_tuner = load_keras_tuner()

    class RecordedTuner(keras_tuner.Tuner):
        """Runs each trial through a function."""

        def __init__(self, oracle, directory, trial, enough, hypermodel):
            self.trial = trial
            self.enough = enough
            self.error = None
            self.count = 0
            super().__init__(
                oracle,
                hypermodel,
                directory=str(directory.parent),
                project_name=directory.name,
                overwrite=True,
            )

        def pre_create_trial(self):
            """Tell the oracle to stop when it is enough, or an error ended the search."""
            if self.count and (self.error is not None or self.enough(self.count)):
                self.oracle.max_trials = len(self.oracle.trials)

        def run_trial(self, trial, *arguments, **options):
            """Run one; what it raises ends the search."""
            number = self.count
            self.count += 1
            try:
                measure = self.trial(number, self.hypermodel, trial.hyperparameters)
            except BaseException as error:
                # KerasTuner takes an exception for a trial that failed, and goes on.
                self.error = error
                raise keras_tuner.errors.FailedTrialError(str(error)) from error
            if measure is None:
                raise keras_tuner.errors.FailedTrialError("no measure")
            return {self.oracle.objective.name: measure}

    return RecordedTuner
