"""The one training path: a recipe and images in, a judged and calibrated classifier out."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from recipes._quiet import import_tensorflow
from recipes.augmentation import recipe_transform
from recipes.config import Recipe
from recipes.errors import ConfigError, RunError
from recipes.hardware import package_versions
from recipes.network import Network, weights_digest
from recipes.run import Run, check_output, new_environment

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
) -> Run:
    """Train, calibrate and judge a classifier; write everything into a run directory.

    The same recipe, images, versions and machine give the same weights; so does a run that was
    killed and resumed.

    Args:
        recipe: A `Recipe`, or the name of one in the catalogue.
        data: From `load_data`, or a source that it takes; then loaded as the recipe says.
        out: Folder of the run: new, empty, or with `resume` that of an unfinished run.
        resume: Go on with the unfinished run in `out`, which must be of the same recipe and images.
        callbacks: More Keras callbacks for `fit`, called after our own.
        say: Receives lines about choices made, such as the precision; default: standard error.
        progress: Show the progress bar and a line an epoch on the standard error stream.

    Returns:
        The finished run.

    Raises:
        ConfigError: If the recipe is unknown or wrong.
        DataError: If the images cannot be used.
        RunError: If `out` is in the way, or holds another run than the one to resume.

    Example:
        >>> run = train("fashion-mini", "fashion-mini", "runs/demo")        # doctest: +SKIP
        >>> run.metrics["test"]["accuracy"]                                 # doctest: +SKIP
        0.906
    """
    say = say or say_to_stderr
    recipe = resolve_recipe(recipe)
    check_output(out, resume=resume)
    if resume:
        run = Run(out)
        _refuse_other("recipe", recipe.to_dict(), run.recipe.to_dict(), out)
        if run.finished:
            say(f"{out} is already finished")
            return run
    data = load_recipe_data(recipe, data)
    if not len(data.splits["validation"]):
        raise ConfigError("training needs validation images to choose and calibrate the model")

    import_tensorflow()
    import keras

    from recipes.evaluation.judging import judge
    from recipes.hardware import choose_precision

    _check_policy(recipe.augmentation.policy)
    precision, reason = choose_precision(recipe.training.precision)
    keras.utils.set_random_seed(recipe.training.seed)
    network = Network(recipe, data)
    model = network.build(precision)
    plan = _transfer_plan(recipe, data, model, say)
    if resume:
        _refuse_other("data", data.fingerprint, run.data["fingerprint"], out)
        _refuse_other("precision", precision, run.environment["precision"], out)
        digest = weights_digest(recipe.transfer.weights)
        _refuse_other("weights file", digest, run.environment.get("weights"), out)
        _say_other_versions(run, say)
    else:
        environment = new_environment(recipe.training.seed, precision)
        if plan:
            environment["weights"] = weights_digest(recipe.transfer.weights)
        run = Run.create(out, recipe, data.to_dict(), environment)
    say(f"{data.source}: {_count_text(data)}, {len(data.class_names)} classes")
    say(f"{recipe.model.name}: {model.count_params():,} parameters, {precision}: {reason}")

    try:
        fitted = _fit(run, recipe, data, model, plan, callbacks, say, progress)
        final = network.build("float32", pretrained=False)
        final.set_weights(model.get_weights())
        judge(run, final, data, fitted)
    except OSError as error:
        raise RunError(f"cannot write to {run.directory}: {error.strerror or error}") from error
    return run


def training_pipeline(recipe: Recipe, data: "ImageData", batch_size: int, first_epoch: int = 0):
    """Return the augmented, shuffled batches that a recipe trains on, as a `tf.data.Dataset`.

    Each element is `(images uint8, targets float32)`, with class weights a third, the weight of
    each image. Epoch `e` holds the same batches wherever the pipeline starts.
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
    )


def make_optimizer(
    recipe: Recipe,
    model: "keras.Model",
    steps: int,
    *,
    learning_rate: float | None = None,
    factors: dict[str, float] | None = None,
) -> "keras.optimizers.Optimizer":
    """Return the built optimizer of a recipe for a run, or a phase of it, of `steps` steps.

    Args:
        recipe: Its `optimizer` and `schedule` decide.
        model: Its trainable variables are optimized.
        steps: Over which the schedule runs.
        learning_rate: Peak in place of the recipe's.
        factors: Of the learning rate, by layer name; `None` for the same rate everywhere.
    """
    import keras

    from callbacks.schedules import WarmupDecay

    chosen, schedule = recipe.optimizer, recipe.schedule
    rate = WarmupDecay(
        learning_rate or chosen.learning_rate,
        steps,
        warmup=schedule.warmup,
        final=schedule.final,
        decay=schedule.name,
    )
    common = {"weight_decay": chosen.weight_decay, "global_clipnorm": chosen.clip_norm}
    kinds = {"adamw": keras.optimizers.AdamW, "sgd": keras.optimizers.SGD}
    if factors is not None:
        from recipes.transfer.rates import LayerwiseAdamW, LayerwiseSGD

        kinds = {"adamw": LayerwiseAdamW, "sgd": LayerwiseSGD}
        common["factors"] = factors
    if chosen.name == "sgd":
        common |= {"momentum": chosen.momentum, "nesterov": True}
    optimizer = kinds[chosen.name](rate, **common)
    # Vectors are biases and normalisation: decay pulls them to 0 to no good.
    optimizer.exclude_from_weight_decay(
        var_list=[weight for weight in model.trainable_variables if len(weight.shape) <= 1]
    )
    optimizer.build(model.trainable_variables)
    return optimizer


def _transfer_plan(recipe, data, model, say):
    """Return the phases of a recipe with pretrained weights, or `None` for one without."""
    if recipe.transfer.weights is None:
        return None
    from recipes.transfer.plan import TransferPlan

    plan = TransferPlan(recipe, len(data.splits["train"]), len(data.class_names), say)
    plan.check(model)
    return plan


def _check_policy(policy):
    """Refuse a policy that cannot be had, before anything is written."""
    if policy is None:
        return
    from augment.policy_spec import policy_operation

    try:
        policy_operation(policy)
    except ValueError as error:
        raise ConfigError(f"augmentation.policy: {error}") from None


def _compile(recipe, model, plan, steps_per_epoch):
    """Compile for the first phase; return the callback that changes to the others, if any."""
    chosen = recipe.training
    if plan is None:
        optimizer = make_optimizer(recipe, model, steps_per_epoch * chosen.epochs)
        compile_for_soft_labels(model, optimizer, steps_per_execution=chosen.steps_per_execution)
        return None

    def phase_optimizer(model, phase, factors):
        steps = steps_per_epoch * phase.epochs
        rate = phase.learning_rate
        return make_optimizer(recipe, model, steps, learning_rate=rate, factors=factors)

    # Any optimizer: each phase gets its own when it is entered.
    compile_for_soft_labels(model, "sgd", steps_per_execution=chosen.steps_per_execution)
    return plan.callback(phase_optimizer)


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


def _fit(run, recipe, data, model, plan, more_callbacks, say, progress):
    """Fit with checkpoints; leave the chosen weights in the model; return what was chosen."""
    from callbacks.checkpoint import Checkpoint
    from callbacks.early_stopping import EarlyStopping
    from callbacks.progress import Progress
    from callbacks.validation import Validation
    from callbacks.weight_average import WeightAverage
    from recipes.evaluation.judging import evaluation_images
    from recipes.history import History

    chosen = recipe.training
    batch_size = min(chosen.batch_size, len(data.splits["train"]))
    if batch_size < chosen.batch_size:
        say(f"batch size {batch_size}: there are only that many training images")
    steps_per_epoch = len(data.splits["train"]) // batch_size
    unfreezing = _compile(recipe, model, plan, steps_per_epoch)

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
    history = History(run, validation, steps_per_epoch * batch_size, bool(plan))
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
            model.fit(
                training_pipeline(recipe, data, batch_size, first_epoch),
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
    if stopping.best_epoch is None:
        raise RunError(
            f"training diverged: {chosen.monitor} was never finite; "
            f"try a lower optimizer.learning_rate than {recipe.optimizer.learning_rate:g}"
        )
    epochs_run = len(history.epochs)
    return {
        "selected_epoch": stopping.best_epoch if chosen.keep == "best" else epochs_run,
        "epochs": epochs_run,
        "train_seconds": round(sum(epoch["seconds"] for epoch in history.epochs), 2),
    }


def compile_for_soft_labels(model, optimizer, **arguments) -> None:
    """Compile a model that gives logits for targets of shape `(batch, classes)`."""
    import keras

    model.compile(
        optimizer=optimizer,
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        **arguments,
    )


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


def _refuse_other(what, expected, found, out):
    if expected != found:
        raise RunError(f"{out} is a run of another {what}; resume it with the one it began with")


def _say_other_versions(run, say):
    """Other versions may compute other last digits: allowed, but not silently."""
    now = package_versions()
    for name, then in run.environment["versions"].items():
        if now.get(name) != then:
            say(f"resuming with {name} {now.get(name)}, the run began with {then}: not bit-exact")


def _count_text(data):
    return ", ".join(f"{len(split):,} {name}" for name, split in data.splits.items())


def say_to_stderr(line: str) -> None:
    """Print a remark where it does not mix with results."""
    print(line, file=sys.stderr)
