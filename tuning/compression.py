"""A trained classifier in, the smallest or fastest file that keeps its accuracy out."""

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.errors import ConfigError, RunError
from recipes.files import atomic_path, read_json
from recipes.run import Run, refuse_among_images
from tuning._climb import Climb
from tuning._compression_folder import (
    FINAL,
    CompressionFolder,
    model_digest,
    validation_digest,
)
from tuning._validation_images import with_validation
from tuning.accuracy_aware import CANDIDATES, METHODS, check_arguments
from tuning.candidate_exam import file_facts
from tuning.candidates import Settings, Workshop
from tuning.compression_report import CompressionReport
from tuning.tflite import check_path, image_shape, versions

if TYPE_CHECKING:
    import keras

    from recipes.data import ImageData


# Of a student, where no recipe says how long.
_STUDENT_EPOCHS = 20
# What a replay.json has had from the beginning.
_RECIPE_NAMES = {"restored", "model_sha256", "data_fingerprint", "sha256", "versions"}


def compress(
    model_or_run: "keras.Model | str | os.PathLike",
    data: Any = None,
    *,
    max_drop: float = 0.01,
    target: str = "cpu",
    methods: Sequence[str] = METHODS,
    budget_minutes: float | None = None,
    validation: Any = None,
    out: str | os.PathLike | None = None,
    epochs: int = 3,
    sparsity: float = 0.8,
    student: str | float | None = None,
    student_epochs: int | None = None,
    calibration_count: int = 300,
    threads: int = 1,
    seed: int = 0,
    progress: bool = True,
) -> CompressionReport:
    """Try ways to compress a classifier, measure the files, and choose one that keeps the accuracy.

    Each candidate is a file that the LiteRT interpreter ran. Full static int8 comes first. Where it
    loses more than `max_drop`, each operation in turn is left in float, and those that the accuracy
    hangs on go back to float, the worst first, until it is back; for `"int-only"`, or if that is
    not enough, quantization-aware training follows. Files are chosen by validation images alone;
    calibration and fine-tuning use training images; test images are looked at once, at the end.

    A run that was killed goes on with the same call: finished candidates are read from `out`. A
    candidate that fails is noted with its reason, and the others go on; the same call tries it
    again.

    Args:
        model_or_run: Keras classifier that takes images in `[0, 255]` and gives probabilities; or a
            run directory or a `.keras` file of one. In a run, fine-tuning augments the images as
            its recipe does.
        data: `ImageData`, or what `load_data` takes; for a run, or a file in it, by default its own
            images. The source of the run is divided as the run divided it, another one as its
            recipe says; files are read in the size and colour that the model takes.
        max_drop: Loss of validation accuracy to allow, a share: 0.01 is one percentage point.
        target: `"cpu"`: the fastest file; `"int-only"`: the smallest without a float operation,
            int8 in and out, for hardware without float arithmetic; `"smallest"`: the smallest
            after gzip, and pruning is tried.
        methods: Which may be used, of `"post-training"`, `"pruning"`, `"quantization-aware"`, and
            `"distillation"`, which is not among the default ones: a smaller network, the student,
            is trained from random weights by `distill`, with this one as its teacher, and becomes
            an int8 file; it ships where it loses no more than `max_drop` and suits the target best.
        budget_minutes: No candidate is begun after so many minutes; `None` for no limit.
        validation: Pair `(images, labels)` to choose by, in place of the data's validation images.
        out: Folder for the files and the report; default for a run: `compressed` in it.
        epochs: Passes over the training images in each fine-tuning.
        sparsity: Share of zeros in pruned kernels.
        student: For `"distillation"`: `"NAME"` of a network of the catalogue, `"NAME@WIDTH"`, or
            a width of the run's own network. Default for a run: its network at half the width, or,
            where the family has no free width, a sibling of at most half the depth.
        student_epochs: Passes over the training images in teaching the student. Default: as many
            as the recipe of the run has, else 20.
        calibration_count: Training images that fix the ranges of int8.
        threads: Of the interpreter, for latency; with other threads the same call measures it anew.
        seed: Of all random numbers.
        progress: Show what is done on the standard error stream; `compress.log` in `out` holds it
            in any case.

    Returns:
        The report, which also lies in `out` as `report.json`, `.md`, `.html` and `pareto.svg`, with
        `model.tflite`, the file that was chosen, and `replay.json`, how to make it again.

    Raises:
        ConfigError: If an argument is out of range or unknown.
        DataError: If there are no validation images, or the images do not fit the model.
        RecipesError: If the model cannot be converted at all.
        RunError: If `out` cannot be written, lies among the images, or holds the compression of
            something else; if the run is not finished.

    Example:
        >>> report = compress("runs/fashion", max_drop=0.005)   # doctest: +SKIP
        >>> print(report)                                       # doctest: +SKIP
    """
    methods = check_arguments(target, methods, max_drop)
    if budget_minutes is not None and not budget_minutes > 0:
        raise ConfigError(f"budget_minutes must be above 0, received: {budget_minutes!r}")
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ConfigError(f"threads must be a whole number above 0, received: {threads!r}")
    settings = _checked(
        Settings(epochs, sparsity, calibration_count, seed=seed, integer_ends=target == "int-only")
    )
    model, data, out, recipe = _resolve(model_or_run, data, out)
    data = with_validation(data, validation)
    check_fit(model, data)
    settings = _with_student(settings, methods, student, student_epochs, recipe, model, data)
    batches = recipe and _recipe_batches(recipe, data, settings)
    arguments = {
        "max_drop": max_drop,
        "target": target,
        "methods": list(methods),
        **dataclasses.asdict(settings),
    }
    refuse_among_images(out, data)
    folder = CompressionFolder(out, arguments, model, data)
    if folder.finished(threads):
        return CompressionReport.load(out)
    with folder.log(progress) as log:
        workshop = Workshop(model, data, settings, folder.path, batches)
        work = Climb(workshop, data, folder, log, threads)
        work.climb(target, methods, max_drop, budget_minutes)
        return work.report(target, max_drop, arguments)


def replay(
    recipe: dict[str, Any] | str | os.PathLike,
    model: "keras.Model | str | os.PathLike",
    data: Any = None,
    *,
    path: str | os.PathLike,
    validation: Any = None,
) -> Path:
    """Make a file again that `compress` chose, to the same bytes, without trying anything.

    Args:
        recipe: `report.recipe`, or the path of a `replay.json`.
        model: The same model, as for `compress`.
        data: The same images, as for `compress`.
        path: Where to write, ending in `.tflite`.
        validation: As for `compress`; a distilled file is calibrated on these images, no other
            file depends on them.

    Returns:
        `path`.

    Raises:
        ConfigError: If `path` does not end in `.tflite`, or `recipe` is `None`: no file was chosen.
        RunError: If `recipe` is something else, `path` cannot be written, model or images are not
            those of the recipe, or the file is another one: other versions of the packages,
            another processor.

    Example:
        >>> replay("runs/a/compressed/replay.json", "runs/a", path="again.tflite")  # doctest: +SKIP
    """
    path = check_path(path)
    recipe, settings = _read_recipe(recipe)
    model, data, _, training = _resolve(model, data, path)
    batches = training and _recipe_batches(training, data, settings)
    found = {"model_sha256": model_digest(model), "data_fingerprint": data.fingerprint}
    if CANDIDATES[recipe["candidate"]].method == "distillation":
        data = with_validation(data, validation)
        found["validation_sha256"] = validation_digest(data)
    for name, value in found.items():
        # Recipes of before say nothing of validation images.
        if recipe.get(name, value) != value:
            raise RunError(
                f"{name.split('_')[0]} is not that of the recipe: {name} {value[:12]}, expected "
                f"{recipe[name][:12]}"
            )
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / FINAL
        workshop = Workshop(model, data, settings, Path(scratch), batches)
        workshop.make(recipe["candidate"], made, tuple(recipe["restored"]))
        digest = file_facts(made)["sha256"]
        if digest != recipe["sha256"]:
            raise RunError(
                f"the file came out different: SHA-256 {digest[:12]}, expected "
                f"{recipe['sha256'][:12]}; it was made with {_text(recipe['versions'])}, here are "
                f"{_text(versions())}"
            )
        try:
            with atomic_path(path) as temporary:
                shutil.copyfile(made, temporary)
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _read_recipe(recipe):
    """Return the content of a `replay.json`, and the settings in it."""
    if recipe is None:
        raise ConfigError("recipe is None: compress chose no file that could be made again")
    content = recipe
    if not isinstance(recipe, dict):
        try:
            content = read_json(recipe)
        except (OSError, ValueError) as error:
            raise RunError(f"cannot read {recipe}: {error}") from error
    try:
        settings = Settings(**content["settings"])
        whole = content["candidate"] in CANDIDATES and content.keys() >= _RECIPE_NAMES
    except (KeyError, TypeError):
        whole = False
    if not whole:
        name = "recipe" if isinstance(recipe, dict) else recipe
        raise RunError(f"{name} is no replay.json of compress")
    return content, settings


def _checked(settings: Settings) -> Settings:
    for name in ("epochs", "calibration_count", "student_epochs"):
        value = getattr(settings, name)
        if name == "student_epochs" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"{name} must be a whole number above 0, received: {value!r}")
    sparsity = settings.sparsity
    if not isinstance(sparsity, (int, float)) or not 0 < sparsity < 1:
        raise ConfigError(f"sparsity must be between 0 and 1, received: {sparsity!r}")
    return settings


def _with_student(settings, methods, student, student_epochs, recipe, model, data):
    """Return the settings with the student in them, which is known to fit."""
    if "distillation" not in methods:
        if student is not None or student_epochs is not None:
            raise ConfigError(
                "student and student_epochs are for the method 'distillation', received methods: "
                + ", ".join(methods)
            )
        return settings
    from tuning._student import build_student, choose_student

    chosen = choose_student(student, recipe)
    build_student(chosen, model, data)
    if student_epochs is None:
        student_epochs = recipe.training.epochs if recipe else _STUDENT_EPOCHS
    return _checked(
        dataclasses.replace(settings, student=str(chosen), student_epochs=student_epochs)
    )


def _resolve(model_or_run, data, out):
    """Return model, images, folder, and the recipe of a run."""
    from recipes.evaluation.classifier import load_keras_model
    from recipes.evaluation.labelled import images_of

    recipe = None
    if isinstance(model_or_run, (str, os.PathLike)) and Path(model_or_run).is_dir():
        model_or_run = Run(model_or_run)
    if isinstance(model_or_run, Run):
        run = model_or_run
        if not run.finished:
            raise RunError(
                f"{run.directory} is not finished; go on with: recipes train --resume "
                f"{run.directory}"
            )
        out = run.path("compressed") if out is None else out
        model_or_run, recipe = run.path("model.keras"), run.recipe
    model = model_or_run
    if isinstance(model, (str, os.PathLike)):
        model = load_keras_model(model)
    data = images_of(model_or_run, data)
    if data is None:
        raise ConfigError("data is missing: only a run knows its own images")
    if out is None:
        raise ConfigError("out is missing: a folder for the files and the report")
    return model, _load(data, model, recipe), Path(out), recipe


def _load(data, model, recipe):
    """Return images: of a run as divided there, of another source as recipe and model have it."""
    from recipes.data import ImageData, load_data
    from recipes.evaluation.classifier import KerasClassifier
    from recipes.evaluation.labelled import data_of_run, reading_of

    if isinstance(data, ImageData):
        return data
    # What cannot be exported is told before its images are read.
    image_shape(model)
    classifier = KerasClassifier(model)
    if isinstance(data, Run):
        return data_of_run(classifier, data)
    split = {}
    if recipe is not None:
        chosen = recipe.data
        split = {"validation": chosen.validation, "test": chosen.test, "seed": chosen.split_seed}
    return load_data(data, **reading_of(classifier), **split)


def _recipe_batches(recipe, data, settings):
    """Return what gives the augmented batches of a recipe for so many epochs."""
    from recipes.training import training_pipeline

    def batches(epochs, hard_labels):
        changes = {
            "training.epochs": epochs,
            "training.seed": settings.seed,
            # Its phases have no say in the batches, and more epochs than these.
            "transfer.weights": None,
        }
        if hard_labels:
            # A teacher's answer is smooth already.
            changes["augmentation.label_smoothing"] = 0.0
        size = min(settings.batch_size, len(data.splits["train"]))
        return training_pipeline(recipe.override(changes), data, size)

    return batches


def check_fit(model: "keras.Model", data: "ImageData") -> None:
    """Raise `ConfigError` or `DataError` unless the model can be exported and the images fit it."""
    from recipes.evaluation.classifier import KerasClassifier
    from tuning.export import check_data
    from tuning.tflite import image_shape

    image_shape(model)
    check_data(KerasClassifier(model), data)


def _text(versions):
    return ", ".join(f"{name} {version}" for name, version in versions.items())
