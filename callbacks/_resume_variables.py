"""The variables of a run, and whether a checkpoint is of the same ones."""

import itertools

# What a user calls each part, for the line that refuses a checkpoint.
_CALLED = {
    "model": "another model",
    "optimizer": "another optimizer",
    "callbacks": "the states of other callbacks",
    "metrics": "other metrics",
}


def run_variables(model) -> dict[str, list]:
    """Return the variables of a compiled model and of its optimizer, by these names."""
    return {"model": model.variables, "optimizer": model.optimizer.variables}


def variables_signature(variables) -> list:
    """Return names and shapes, as JSON types; names without the path, which Keras numbers."""
    return [f"{variable.name} {tuple(variable.shape)}" for variable in variables]


def run_signatures(model, states) -> dict[str, list]:
    """Return what tells the model, the optimizer and the callbacks of a run from others."""
    optimizer = model.optimizer
    kinds = [type(optimizer).__name__]
    if hasattr(optimizer, "inner_optimizer"):  # of mixed precision in float16
        kinds.append(type(optimizer.inner_optimizer).__name__)
    # The names of an optimizer's variables hold those of the layers, which Keras numbers.
    shapes = [str(tuple(variable.shape)) for variable in optimizer.variables]
    return {
        "model": variables_signature(model.variables),
        "optimizer": kinds + shapes,
        "callbacks": [f"{name} ({type(each).__name__})" for name, each in sorted(states.items())],
        "metrics": variables_signature(model.metrics_variables),
    }


def check_signatures(saved: dict[str, list], expected: dict[str, list], path) -> None:
    """Refuse a checkpoint of something else.

    Raises:
        ValueError: Says what differs, the first of it.
    """
    for part, members in expected.items():
        for ours, theirs in itertools.zip_longest(members, saved[part]):
            if ours != theirs:
                raise ValueError(
                    f"{path} holds {_CALLED[part]}: {theirs or 'nothing more'}, expected: "
                    f"{ours or 'nothing more'} ({len(saved[part])} for {len(members)})"
                )


def assign_all(variables, arrays) -> None:
    """Assign saved arrays to variables of the same shapes."""
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
