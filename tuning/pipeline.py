"""The main job: images in; a trained, calibrated, int8 TFLite classifier and a report out."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from recipes.config import Recipe
from recipes.distributed.devices import Devices, open_devices
from recipes.errors import RunError
from recipes.run import Run, check_output

if TYPE_CHECKING:
    from recipes.data import ImageData

PRECISIONS = ("int8", "float32")


def train_and_export(
    recipe: Recipe | str,
    source: "ImageData | str",
    out: str | os.PathLike,
    *,
    labels: Sequence[str] | str | None = None,
    corrupt: str = "refuse",
    export: bool = True,
    precisions: Sequence[str] = PRECISIONS,
    say: Callable[[str], None] | None = None,
    progress: bool = True,
    strategy: "str | Devices" = "none",
) -> Run | None:
    """Train, calibrate, judge, export and report; everything lands in one run directory.

    Args:
        recipe: A `Recipe`, or the name of one in the catalogue.
        source: What `load_data` takes, loaded as the recipe says; or an `ImageData`.
        out: New or empty folder for the run.
        labels: Class names, or the path of a text file with one a line, for a source without names.
        corrupt: `"refuse"` or `"skip"` image files that cannot be read.
        export: Whether to make TFLite files.
        precisions: Which, of those of `tuning.export_tflite`.
        say: Receives lines about choices made; default: the standard error stream.
        progress: Show the progress bar and a line an epoch.
        strategy: Which devices train, as for `recipes.train`.

    Returns:
        The finished run; `None` in a worker that is not the chief.

    Raises:
        RecipesError: One line about what is wrong with recipe, images or folder; or with a TFLite
            file, when all else is written.

    Example:
        >>> run = train_and_export("fashion-mini", "fashion-mini", "runs/demo")  # doctest: +SKIP
        >>> run.export["files"][0]["file"]                                       # doctest: +SKIP
        'model.tflite'
    """
    from recipes.training import load_recipe_data, resolve_recipe, train

    _check_precisions(precisions)
    recipe = resolve_recipe(recipe)
    # Before the images, for which TensorFlow may be needed: it must know the cluster first.
    devices = open_devices(strategy)
    devices.agree(lambda: check_output(out, resume=False, source=source), chief_only=True)
    data = devices.agree(lambda: load_recipe_data(recipe, source, labels=labels, corrupt=corrupt))
    run = train(recipe, data, out, say=say, progress=progress, strategy=devices)
    return run and _finish(run, data, export and precisions, say)


def resume_and_export(
    directory: str | os.PathLike,
    *,
    data: "ImageData | None" = None,
    export: bool = True,
    precisions: Sequence[str] = PRECISIONS,
    say: Callable[[str], None] | None = None,
    progress: bool = True,
    strategy: "str | Devices" = "none",
) -> Run | None:
    """Go on with an interrupted run, wherever it was, to the result it would have had.

    Args:
        directory: The run directory.
        data: Its images, where they did not come from a source that can be loaded again.
        export: As in `train_and_export`, like the rest.
        precisions: See there.
        say: See there.
        progress: See there.
        strategy: See there. Only the chief needs to see the directory.

    Raises:
        RunError: If there is no run to resume, or its images have changed.
        ExportError: If a TFLite file cannot be made; all else is written.
    """
    from recipes.training import train

    _check_precisions(precisions)
    devices = open_devices(strategy)
    devices.agree(lambda: check_output(directory, resume=True), chief_only=True)
    with devices.run_folder(directory, resume=True, checkpoints=False) as folder:
        run = Run(folder)
        data = data or devices.agree(run.load_data)
    run = train(
        run.recipe,
        data,
        directory,
        resume=True,
        say=say,
        progress=progress,
        strategy=devices,
    )
    return run and _finish(run, data, export and precisions, say)


def export_again(
    directory: str | os.PathLike,
    precisions: Sequence[str] = PRECISIONS,
    *,
    data: "ImageData | None" = None,
) -> dict:
    """Make and measure the TFLite files of a finished run, and renew its report.

    Returns:
        What `export.json` holds.

    Raises:
        RunError: If the run is unfinished, or its images have changed.
        ExportError: If a file cannot be made; the others and the report are written.
    """
    run = Run(directory)
    if not run.finished:
        raise RunError(
            f"{directory} is not finished; go on with: recipes train --resume {directory}"
        )
    return _finish(run, data or run.load_data(), precisions).export


def _check_precisions(precisions):
    """Raise `ConfigError` for an unknown one, before hours of training."""
    from tuning.tflite import known_precision

    for precision in precisions:
        known_precision(precision)


def _finish(run, data, precisions, say=None):
    from recipes.evaluation.report import write_report

    say = say or (lambda line: print(line, file=sys.stderr))
    failure = None
    try:
        if precisions:
            from tuning.export import ExportError, export_run

            say(f"exporting {', '.join(precisions)}, and measuring the files")
            try:
                export_run(run.directory, data, precisions=tuple(precisions))
            except ExportError as error:
                failure = error
        write_report(run.directory)
    except OSError as error:
        raise RunError(f"cannot write to {run.directory}: {error.strerror or error}") from error
    if failure:
        raise type(failure)(f"{failure}; all else of {run.directory} is written") from failure
    return run
