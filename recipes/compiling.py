"""From a recipe to a compiled model: its optimizer, loss, and what several devices make of them."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from recipes.config import Recipe
from recipes.errors import ConfigError

if TYPE_CHECKING:
    import keras

    from recipes.distributed.devices import Devices


def make_optimizer(
    recipe: Recipe,
    model: "keras.Model",
    steps: int,
    *,
    learning_rate: float | None = None,
    factors: dict[str, float] | None = None,
    replicas: int = 1,
) -> "keras.optimizers.Optimizer":
    """Return the built optimizer of a recipe for a run, or a phase of it, of `steps` steps.

    Args:
        recipe: Its `optimizer` and `schedule` decide.
        model: Its trainable variables are optimized.
        steps: Updates of the weights over which the schedule runs.
        learning_rate: Peak in place of the recipe's.
        factors: Of the learning rate, by layer name; `None` for the same rate everywhere.
        replicas: Devices that share each batch; make it in the scope of their strategy.
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
        hold=recipe.training.accumulation_steps,
    )
    common = {"weight_decay": chosen.weight_decay, "global_clipnorm": chosen.clip_norm}
    if recipe.training.accumulation_steps > 1:
        common["gradient_accumulation_steps"] = recipe.training.accumulation_steps
    kinds = {"adamw": keras.optimizers.AdamW, "sgd": keras.optimizers.SGD}
    if factors is not None:
        from recipes.transfer.rates import LayerwiseAdamW, LayerwiseSGD

        kinds = {"adamw": LayerwiseAdamW, "sgd": LayerwiseSGD}
        common["factors"] = factors
    if chosen.name == "sgd":
        common |= {"momentum": chosen.momentum, "nesterov": True}
    kind = kinds[chosen.name]
    if chosen.clip_norm and replicas > 1:
        from recipes.distributed.clipping import clipping_together

        kind = clipping_together(kind)
        common["global_clipnorm"] = chosen.clip_norm / replicas
    optimizer = kind(rate, **common)
    # Vectors are biases and normalisation: decay pulls them to 0 to no good.
    optimizer.exclude_from_weight_decay(
        var_list=[weight for weight in model.trainable_variables if len(weight.shape) <= 1]
    )
    optimizer.build(model.trainable_variables)
    return optimizer


def compile_for_soft_labels(model, optimizer, **arguments) -> None:
    """Compile a model that gives logits for targets of shape `(batch, classes)`."""
    import keras

    model.compile(
        optimizer=optimizer,
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        **arguments,
    )


def whole_executions(
    wanted: int, steps: int, say: Callable[[str], None] = lambda line: None
) -> int:
    """Return the most steps an execution, at most `wanted`, of which whole ones fill an epoch.

    Keras 3.15 runs the last execution of an epoch to its full length: with another number, images
    of the next epoch are trained on in this one.

    Example:
        >>> whole_executions(8, 16), whole_executions(4, 14), whole_executions(4, 7)
        (8, 2, 1)
    """
    found = max(number for number in range(1, wanted + 1) if steps % number == 0)
    if found != wanted:
        say(f"{found} steps an execution: {wanted} do not divide the {steps} of an epoch")
    return found


def compile_model(recipe, model, plan, steps_per_epoch, devices, steps_per_execution=1):
    """Compile for the first phase; return the callback that changes to the others, if any."""
    chosen = recipe.training
    arguments = {
        "steps_per_execution": steps_per_execution,
        "jit_compile": "auto" if chosen.jit_compile is None else chosen.jit_compile,
    }
    replicas = devices.replicas
    if plan is None:
        steps = steps_per_epoch * chosen.epochs
        optimizer = make_optimizer(recipe, model, steps, replicas=replicas)
        compile_for_soft_labels(model, optimizer, **arguments)
        return None

    def phase_optimizer(model, phase, factors):
        steps = steps_per_epoch * phase.epochs
        rate = phase.learning_rate
        with devices.scope():
            return make_optimizer(
                recipe, model, steps, learning_rate=rate, factors=factors, replicas=replicas
            )

    # Any optimizer: each phase gets its own when it is entered.
    compile_for_soft_labels(model, "sgd", **arguments)
    return plan.callback(phase_optimizer)


def check_devices(recipe: Recipe, devices: "Devices") -> None:
    """Refuse what several devices cannot do together."""
    if devices.replicas == 1:
        return
    # Of what Keras 3.15.1 and TensorFlow 2.21 do on one device, these raise from their depths.
    shared = {
        "accumulation_steps": (1,),
        "steps_per_execution": (1,),
        "jit_compile": (None, False),
    }
    for name, values in shared.items():
        value = getattr(recipe.training, name)
        if value not in values:
            raise ConfigError(
                f"training.{name} is for one device: {devices.replicas} devices share each batch, "
                f"received: {value}"
            )


def synchronize_batch_norm(model: "keras.Model") -> None:
    """Let batch normalisation go by the images of all devices."""
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


def shared_batch_size(recipe: Recipe, count: int, devices: "Devices", say) -> int:
    """Return how many images an update takes, which all who share them must take equal parts of."""
    chosen = recipe.training
    parts = devices.replicas * chosen.accumulation_steps
    if chosen.batch_size % parts:
        shared = f"{devices.replicas} devices" if devices.replicas > 1 else f"{parts} steps"
        raise ConfigError(
            f"training.batch_size must be a multiple of {parts}, to be shared equally by {shared}, "
            f"received: {chosen.batch_size}"
        )
    if count >= chosen.batch_size:
        return chosen.batch_size
    batch_size = count // parts * parts
    if not batch_size:
        raise ConfigError(f"{count} training images are too few to be shared by {parts}")
    say(f"batch size {batch_size}: there are only {count} training images")
    return batch_size


def devices_text(recipe: Recipe, batch_size: int, devices: "Devices") -> str:
    """Return a line that says how a batch is shared."""
    share = batch_size // devices.replicas
    statistics = "all of them" if recipe.training.synchronize_batch_norm else "its own"
    return (
        f"{devices.name}: {devices.replicas} devices in {devices.workers} process(es), {share} "
        f"images of a batch each; batch normalisation by {statistics}"
    )
