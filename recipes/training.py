"""The one training path: a recipe and images in, a judged and calibrated classifier out."""

import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from recipes._quiet import import_tensorflow
from recipes.augmentation import check_augmentation, recipe_transform
from recipes.compiling import (
    check_devices,
    compile_for_soft_labels,
    compile_model,
    devices_text,
    make_optimizer,
    shared_batch_size,
    synchronize_batch_norm,
    whole_executions,
)
from recipes.config import Recipe
from recipes.distributed.devices import Devices, open_devices
from recipes.errors import ConfigError, DivergedError, RunError
from recipes.network import Network, weights_digest
from recipes.resuming import refuse_other, say_other_devices, say_other_versions
from recipes.run import Run, check_output, new_environment

# Made public here before they had a module of their own.
__all__ = [
    "compile_for_soft_labels",
    "load_recipe_data",
    "make_optimizer",
    "resolve_recipe",
    "say_to_stderr",
    "train",
    "training_pipeline",
]

if TYPE_CHECKING:
    import keras

    from recipes.data import ImageData


def train(
    recipe: "Recipe | str",
    data: "ImageData | str",
    out: str | os.PathLike,
    *,
    resume: bool = False,
    callbacks: Sequence["keras.callbacks.Callback"] = (),
    say: Callable[[str], None] | None = None,
    progress: bool = True,
    strategy: "str | Devices" = "none",
) -> Run | None:
    """Train, calibrate and judge a classifier; write everything into a run directory.

    The same recipe, images, versions and machine give the same weights; so does a run that was
    killed and resumed.

    How many devices train is a property of the run and not of the recipe: batch size and learning
    rate are those of a whole batch, whoever shares it, so that the same recipe gives the same
    result, up to rounding, on any number of devices. What differs: batch normalisation goes by the
    images of each device unless `training.synchronize_batch_norm` is set, and dropout draws the
    same for the images of each device. See docs/scale.md.

    Args:
        recipe: A `Recipe`, or the name of one in the catalogue.
        data: From `load_data`, or a source that it takes; then loaded as the recipe says.
        out: Folder of the run: new, empty, or with `resume` that of an unfinished run.
        resume: Go on with the unfinished run in `out`, which must be of the same recipe and images.
        callbacks: More Keras callbacks for `fit`, called after our own.
        say: Receives lines about choices made, such as the precision; default: standard error.
        progress: Show the progress bar and a line an epoch on the standard error stream.
        strategy: `"none"` for one device, `"mirrored"` for all of this machine, `"multiworker"`
            for those of all processes that `TF_CONFIG` names, or what `open_devices` returned.

    Returns:
        The finished run; `None` in a worker that is not the chief, which writes nothing.

    Raises:
        ConfigError: If the recipe is unknown or wrong.
        ClusterError: If the other workers are missing, were lost, or have other images.
        DataError: If the images cannot be used.
        RunError: If `out` is in the way, holds another run than the one to resume or cannot be
            written, or if training diverged.

    Example:
        >>> run = train("fashion-mini", "fashion-mini", "runs/demo")        # doctest: +SKIP
        >>> run.metrics["test"]["accuracy"]                                 # doctest: +SKIP
        0.906
    """
    say = say or say_to_stderr
    recipe = resolve_recipe(recipe)
    devices = open_devices(strategy)
    if not devices.is_chief:
        say, progress = _say_nothing, False
    devices.agree(lambda: check_output(out, resume=resume, source=data), chief_only=True)
    with devices.run_folder(out, resume=resume) as folder, devices.watched():
        run = _train(recipe, data, folder, resume, callbacks, say, progress, devices)
    return run if devices.is_chief else None


def _train(recipe, data, out, resume, callbacks, say, progress, devices):
    """Train in a folder that is known to be usable, as `train`."""
    if resume:
        run = Run(out)
        refuse_other("another recipe", recipe.to_dict(), run.recipe.to_dict(), run)
    data = devices.agree(lambda: load_recipe_data(recipe, data))
    if resume and devices.from_chief(run.finished):
        refuse_other("other images", data.fingerprint, run.data["fingerprint"], run)
        say(f"{out} is already finished")
        return run
    if not len(data.splits["validation"]):
        raise ConfigError("training needs validation images to choose and calibrate the model")

    import_tensorflow()
    import keras
    import tensorflow as tf

    from recipes.data.problems import say_problems
    from recipes.evaluation.judging import judge
    from recipes.hardware import choose_precision

    check_augmentation(recipe.augmentation, data.image_shape)
    check_devices(recipe, devices)
    batch_size = shared_batch_size(recipe, len(data.splits["train"]), devices, say)
    precision, reason = choose_precision(recipe.training.precision)
    digest = devices.agree(lambda: weights_digest(recipe.transfer.weights))
    devices.same(
        {
            "recipe": recipe.to_dict(),
            "fingerprint of its images": data.fingerprint,
            "precision": precision,
            "weights file": digest,
        }
    )
    keras.utils.set_random_seed(recipe.training.seed)
    network = Network(recipe, data)
    with devices.scope():
        model = network.build(precision)
    if recipe.training.synchronize_batch_norm and devices.replicas > 1:
        synchronize_batch_norm(model)
    plan = _transfer_plan(recipe, data, model, say)
    if resume:
        refuse_other("other images", data.fingerprint, run.data["fingerprint"], run)
        refuse_other("another precision", precision, run.environment["precision"], run)
        refuse_other("another weights file", digest, run.environment.get("weights"), run)
        say_other_versions(run, say)
        say_other_devices(run, devices, say)
    else:
        environment = new_environment(recipe.training.seed, precision, devices.describe())
        if plan:
            environment["weights"] = digest
        run = Run.create(out, recipe, data.to_dict(), environment)
    say(f"{data.source}: {_count_text(data)}, {len(data.class_names)} classes")
    say_problems(data, say)
    say(f"{recipe.model.name}: {model.count_params():,} parameters, {precision}: {reason}")
    if devices.replicas > 1:
        say(devices_text(recipe, batch_size, devices))

    try:
        for split in data.splits.values():
            split.lost.clear()
        fitted = _fit(run, recipe, data, model, plan, callbacks, say, progress, devices, batch_size)
        if not devices.is_chief:
            return run
        final = network.build("float32", pretrained=False)
        final.set_weights(model.get_weights())
        if plan:
            # Whoever trains it on, or prunes it, goes on from what was trainable in the end.
            plan.set_trainable(final)
        judge(run, final, data, fitted)
    except tf.errors.OpError as error:
        if data.lost is not None:
            raise data.lost from error
        raise
    except OSError as error:
        what = f"write to {run.directory}"
        if error.filename is not None:
            # Of the run, of the images, or of a callback of the user's.
            what = f"read or write {error.filename}"
        raise RunError(f"cannot {what}: {error.strerror or error}") from error
    return run


def training_pipeline(
    recipe: Recipe,
    data: "ImageData",
    batch_size: int,
    first_epoch: int = 0,
    part: tuple[int, int] = (0, 1),
):
    """Return the augmented, shuffled batches that a recipe trains on, as a `tf.data.Dataset`.

    Each element is `(images uint8, targets float32)`, with class weights a third, the weight of
    each image. Epoch `e` holds the same batches wherever the pipeline starts; with `part=(i, n)` it
    holds the `i`th of `n` equal parts of each of these batches.
    """
    weights = data.class_weights() if recipe.data.class_weights else None
    transform = recipe_transform(recipe, len(data.class_names), weights)
    return data.splits["train"].pipeline(
        batch_size,
        shuffle=True,
        seed=recipe.training.seed,
        # One epoch more than is used: Keras asks for a batch beyond the last, and warns at the end.
        epochs=recipe.training.epochs + 1,
        first_epoch=first_epoch,
        drop_remainder=True,
        sampling=recipe.data.sampling,
        transform=transform,
        part=part,
    )


def _transfer_plan(recipe, data, model, say):
    """Return the phases of a recipe with pretrained weights, or `None` for one without."""
    if recipe.transfer.weights is None:
        return None
    from recipes.transfer.plan import TransferPlan

    plan = TransferPlan(recipe, len(data.splits["train"]), len(data.class_names), say)
    plan.check(model)
    return plan


def _begin(model, unfreezing, data, recipe, say):
    """Do what comes before the first epoch of a transfer: probe, enter the first phase."""
    if unfreezing is None:
        return
    if recipe.transfer.linear_probe:
        _probe(model, data, say)
    unfreezing.prepare(model, 1)


def _probe(model, data, say):
    from recipes.evaluation.judging import evaluation_images
    from recipes.transfer.probe import linear_probe

    train, validation = (
        (evaluation_images(data.splits[name]), data.splits[name].labels)
        for name in ("train", "validation")
    )
    linear_probe(model, train, validation, say=say)


def _fit(run, recipe, data, model, plan, more_callbacks, say, progress, devices, batch_size):
    """Fit with checkpoints; leave the chosen weights in the model; return what was chosen."""
    from callbacks.checkpoint import Checkpoint
    from callbacks.early_stopping import EarlyStopping
    from callbacks.progress import Progress
    from callbacks.validation import Validation
    from callbacks.weight_average import WeightAverage
    from recipes.evaluation.judging import evaluation_images
    from recipes.history import History

    chosen = recipe.training
    updates = len(data.splits["train"]) // batch_size
    steps_per_epoch = updates * chosen.accumulation_steps
    execution = whole_executions(chosen.steps_per_execution, steps_per_epoch, say)
    with devices.scope():
        unfreezing = compile_model(recipe, model, plan, updates, devices, execution)

    average = WeightAverage(chosen.ema) if chosen.ema else None
    validation = Validation(
        evaluation_images(data.splits["validation"]),
        data.splits["validation"].labels,
        average=average,
    )
    stopping = EarlyStopping(
        chosen.monitor,
        patience=chosen.patience,
        restore_best_weights=chosen.keep == "best",
        min_epochs=plan.first_tuning_epoch if plan else 0,
        average=average,
    )
    history = History(run, validation, updates * batch_size, bool(plan))
    states = {"stopping": stopping, "history": history}
    if average:
        states["average"] = average
    checkpoint = Checkpoint(run.path("checkpoints"), states, say=say)
    try:
        prepare = unfreezing.prepare if unfreezing else None
        first_epoch = checkpoint.restore_newest(model, prepare)
    except ValueError as error:
        raise RunError(str(error)) from error
    if first_epoch:
        say(f"resuming after epoch {first_epoch} of {chosen.epochs}")
    else:
        _begin(model, unfreezing, data, recipe, say)
    bar = Progress(chosen.epochs, steps_per_epoch, first_epoch) if progress else None
    # The order matters: what changes the layers, then averages, then what measures them, what
    # reads the measures, what writes the files, and last what saves the state of them all.
    ours = [unfreezing, average, validation, stopping, history, bar, checkpoint]
    try:
        if first_epoch < chosen.epochs and not stopping.stopped_epoch:
            part = devices.index, devices.workers
            pipeline = training_pipeline(recipe, data, batch_size, first_epoch, part)
            model.fit(
                devices.distribute(pipeline, chosen.accumulation_steps),
                epochs=chosen.epochs,
                initial_epoch=first_epoch,
                steps_per_epoch=steps_per_epoch,
                callbacks=[callback for callback in ours if callback] + list(more_callbacks),
                shuffle=False,  # the pipeline does it, by seed
                verbose=0,
            )
        else:
            # Killed after the last epoch: only what training's end does is left to do.
            for callback in (average, stopping):
                if callback:
                    callback.set_model(model)
                    callback.on_train_end()
    finally:
        if bar:
            bar.close()
    if stopping.reason and (stopping.stopped_epoch or chosen.keep == "best"):
        say(stopping.reason)
    epochs_run = len(history.epochs)
    selected = stopping.best_epoch if chosen.keep == "best" else epochs_run
    problem = None
    if stopping.best_epoch is None:
        problem = f"{chosen.monitor} was never finite"
    elif not _is_finite(history.epochs[selected - 1]["val_loss"]):
        problem = f"val_loss of epoch {selected} was not finite"
    if problem:
        rate = recipe.optimizer.learning_rate
        raise DivergedError(
            f"training diverged: {problem}; try a lower optimizer.learning_rate than {rate:g}"
        )
    return {
        "selected_epoch": selected,
        "epochs": epochs_run,
        "train_seconds": round(sum(epoch["seconds"] for epoch in history.epochs), 2),
    }


def _is_finite(loss):
    # JSON has no NaN: in the history of a resumed run it is null.
    return loss is not None and math.isfinite(loss)


def resolve_recipe(recipe: "Recipe | str") -> Recipe:
    """Return a `Recipe` as it is, or the one of the catalogue by its name."""
    if isinstance(recipe, str):
        from recipes.catalog import get_recipe

        return get_recipe(recipe)
    if not isinstance(recipe, Recipe):
        raise ConfigError(f"recipe must be a Recipe or a name, received: {recipe!r}")
    return recipe


def load_recipe_data(
    recipe: Recipe,
    source: "ImageData | str",
    *,
    labels: Sequence[str] | str | None = None,
    corrupt: str = "refuse",
) -> "ImageData":
    """Return the images of a source, read and split as the recipe says.

    Args:
        recipe: Its `data` fields decide.
        source: What `load_data` takes; an `ImageData` is returned as it is.
        labels: Class names, or a text file of them, as for `load_data`.
        corrupt: `"refuse"` or `"skip"` image files that cannot be read.
    """
    from recipes.data import ImageData, load_data

    if isinstance(source, ImageData):
        return source
    chosen = recipe.data
    return load_data(
        source,
        image_size=chosen.image_size,
        color=chosen.color,
        fit=chosen.fit,
        validation=chosen.validation,
        test=chosen.test,
        seed=chosen.split_seed,
        labels=labels,
        corrupt=corrupt,
    )


def _count_text(data):
    return ", ".join(f"{len(split):,} {name}" for name, split in data.splits.items())


def _say_nothing(line):
    pass


def say_to_stderr(line: str) -> None:
    """Print a remark where it does not mix with results."""
    print(line, file=sys.stderr)
