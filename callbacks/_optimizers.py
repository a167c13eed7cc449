"""What callbacks that look into an optimizer have in common."""

import warnings

import keras


def inner_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return the optimizer inside a `LossScaleOptimizer`, or the optimizer itself."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer.inner_optimizer
    return optimizer


def configuration(optimizer: keras.optimizers.Optimizer) -> dict:
    """Return the configuration of an optimizer.

    Raises:
        TypeError: If its schedule has none.
    """
    with warnings.catch_warnings():
        # Nothing is written to a file, so a lambda for a rate does no harm.
        warnings.filterwarnings("ignore", "The object being serialized includes", UserWarning)
        try:
            return optimizer.get_config()
        except NotImplementedError as error:
            raise TypeError(_not_rebuilt(f"of {optimizer.name!r}")) from error


def settings(optimizer: keras.optimizers.Optimizer) -> dict:
    """Return the configuration of an optimizer with its learning rate itself.

    That is a float, or what was rebuilt from its own configuration, such as a schedule.

    Raises:
        TypeError: If the rate cannot be rebuilt.
    """
    config = configuration(optimizer)
    rate = config["learning_rate"]
    if isinstance(rate, dict):
        try:
            config["learning_rate"] = keras.saving.deserialize_keras_object(rate)
        except (TypeError, ValueError) as error:
            kind = rate.get("class_name")
            if kind in ("__lambda__", "function"):
                raise TypeError(
                    "cannot rebuild the learning rate from its configuration, since it is a "
                    "function: give a number or a LearningRateSchedule"
                ) from error
            raise TypeError(_not_rebuilt(repr(kind))) from error
    return config


def _not_rebuilt(rate):
    return (
        f"cannot rebuild the learning rate {rate} from its configuration: decorate its class with "
        "keras.saving.register_keras_serializable() and give it get_config(), or give a number"
    )
