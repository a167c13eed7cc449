"""What a run is made of beside its variables: random states, history, states of callbacks."""

import random

import keras
import numpy as np

# The public attributes that hold the state of a stock callback: values, then lists of arrays.
_STOCK = {
    keras.callbacks.EarlyStopping: (
        ("wait", "stopped_epoch", "best", "best_epoch"),
        ("best_weights",),
    ),
    keras.callbacks.ReduceLROnPlateau: (("wait", "best", "cooldown_counter"), ()),
    keras.callbacks.ModelCheckpoint: (("best",), ()),
}


def named_states(states) -> dict[str, keras.callbacks.Callback]:
    """Return the callbacks to save by name; those of a list are named after their class.

    Raises:
        TypeError: If a callback has no state that can be saved.
        ValueError: If two in a list are of one class.
    """
    if not isinstance(states, dict):
        listed = list(states or ())
        states = {type(callback).__name__: callback for callback in listed}
        if len(states) < len(listed):
            raise ValueError("states holds two callbacks of one class: name them in a dictionary")
    for name, callback in states.items():
        if not has_protocol(callback):
            _check_stock(name, callback)
    return dict(states)


def has_protocol(callback) -> bool:
    """Whether a callback saves itself, by `state()` and `restore(values, arrays)`."""
    return hasattr(callback, "state") and hasattr(callback, "restore")


def _check_stock(name, callback):
    if type(callback) not in _STOCK:
        known = ", ".join(kind.__name__ for kind in _STOCK)
        raise TypeError(
            f"states[{name!r}] must have state() and restore(values, arrays), or be one of Keras' "
            f"{known}, whose state is public, received: {type(callback).__name__}"
        )
    if getattr(callback, "save_freq", "epoch") != "epoch":
        raise TypeError(
            f"states[{name!r}] counts batches where none can see it: ModelCheckpoint must have "
            f"save_freq='epoch', received: {callback.save_freq!r}"
        )


def callback_state(callback) -> tuple[dict, list[np.ndarray]]:
    """Return JSON values and arrays of a callback, our own or stock."""
    if has_protocol(callback):
        return callback.state()
    names, lists = _STOCK[type(callback)]
    # Some are set only when training begins, or only where the callback needs them.
    values = {name: getattr(callback, name) for name in names if hasattr(callback, name)}
    return values, [array for name in lists for array in getattr(callback, name, None) or ()]


def restore_stock(callback, values: dict, arrays: list[np.ndarray]) -> None:
    """Put the public state of a stock callback back; after it began training, which clears it."""
    for name, value in values.items():
        setattr(callback, name, value)
    for name in _STOCK[type(callback)][1]:
        setattr(callback, name, list(arrays) or None)


def random_state() -> dict:
    """Return the states of Python's and NumPy's global generators, as JSON types."""
    version, state, gauss = random.getstate()
    name, keys, *rest = np.random.get_state()
    return {"python": [version, list(state), gauss], "numpy": [name, keys.tolist(), *rest]}


def restore_random_state(saved: dict) -> None:
    """Put back what `random_state` gave."""
    version, state, gauss = saved["python"]
    random.setstate((version, tuple(state), gauss))
    name, keys, *rest = saved["numpy"]
    np.random.set_state((name, np.array(keys, np.uint32), *rest))


def history_state(history, epoch: int | None = None, logs: dict | None = None) -> dict:
    """Return the epochs of a `keras.callbacks.History`, with one that it may not have yet.

    Args:
        history: The callback, or `None`.
        epoch: The epoch that ends, counted from 0, or `None` inside an epoch.
        logs: The measures of that epoch.
    """
    epochs = list(getattr(history, "epoch", ()))
    measures = {name: list(each) for name, each in getattr(history, "history", {}).items()}
    # Keras calls its History after the callbacks that the user names.
    if epoch is not None and (not epochs or epochs[-1] != epoch):
        epochs.append(epoch)
        for name, value in (logs or {}).items():
            measures.setdefault(name, []).append(value)
    return {"epoch": epochs, "history": measures}


def restore_history(history, saved: dict) -> None:
    """Put back what `history_state` gave."""
    if history is not None:
        history.epoch = list(saved["epoch"])
        history.history = {name: list(each) for name, each in saved["history"].items()}
