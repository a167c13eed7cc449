"""More and more of a network trains as training goes on, in one `fit`."""

import warnings

import keras

from callbacks._arguments import whole
from callbacks._layers import walk
from callbacks._optimizers import inner_optimizer, settings


def stage_of_epoch(starts, epoch: int) -> int | None:
    """Return the newest of `starts` that is not after `epoch`, or `None` before the first.

    Example:
        >>> [stage_of_epoch((0, 3, 5), epoch) for epoch in (0, 2, 3, 9)]
        [0, 0, 3, 5]
    """
    begun = [start for start in starts if start <= epoch]
    return max(begun) if begun else None


def continued_optimizer(
    optimizer: keras.optimizers.Optimizer, variables: list[keras.Variable]
) -> keras.optimizers.Optimizer:
    """Return an optimizer of the same kind, settings and step for other trainable variables.

    An optimizer cannot be handed new variables once it is built. This one is new; what the old one
    remembers (step, momenta) of variables that go on training is copied, and variables that
    join start with an empty memory.

    Args:
        optimizer: A built Keras optimizer.
        variables: What is to train from now on.

    Raises:
        ValueError: If some variables were exempted with `exclude_from_weight_decay`, which Keras
            does not keep among an optimizer's settings.
        TypeError: If its learning rate cannot be rebuilt from its configuration.

    Example:
        >>> first, second = keras.Variable([1.0], name="a"), keras.Variable([1.0], name="b")
        >>> old = keras.optimizers.SGD(0.1, momentum=0.9)
        >>> old.build([first])
        >>> old.apply([keras.ops.ones((1,))])
        >>> new = continued_optimizer(old, [first, second])
        >>> int(new.iterations.numpy()), len(new.variables) - len(old.variables)
        (1, 1)
    """
    fresh = type(optimizer).from_config(settings(optimizer))
    fresh.build(variables)
    if _exempted(optimizer) and not _exempted(fresh):
        raise ValueError(
            f"{optimizer.name} was told what to exclude from weight decay, which cannot be carried "
            "over: give the callback a function that makes the optimizer of each stage"
        )
    remembered = {variable.path: variable for variable in optimizer.variables}
    for variable in fresh.variables:
        old = remembered.get(variable.path)
        if old is not None and old.shape == variable.shape:
            variable.assign(old)
    return fresh


def _exempted(optimizer):
    """Return whether anything was excluded from weight decay, for which there is no getter."""
    return any(value for name, value in vars(optimizer).items() if "exclude_from_weight" in name)


class GradualUnfreezing(keras.callbacks.Callback):
    """Change what is trainable at the start of chosen epochs, with all that this calls for.

    In Keras, setting `layer.trainable` on a compiled model changes nothing that the running `fit`
    computes, and its optimizer knows no other variables than those that it was built with. At
    the start of a stage this callback changes the layers, gives the model an optimizer that has
    exactly the variables that are then trainable, and has the training step traced again. Loss and
    metrics, epoch numbers, history and other callbacks run on, since it all is one `fit`.

    Name it before callbacks that look at the optimizer or at what is frozen, such as
    `WeightAverage`.

    Args:
        stages: What to make trainable, by the epoch (counted from 0) at whose start it happens:
            names of layers, whose leaves are made trainable except batch normalisation, which
            keeps its statistics; or a function of the model that sets it all, such as
            `lambda model: unfreeze(model, stages=2)` with `recipes.transfer.unfreeze`.
        optimizer: Function `(model, epoch) -> optimizer` that makes a stage's optimizer; or `None`
            to go on with the one that the model was compiled with: same settings and step count,
            the momenta of what trained before are kept.

    Raises:
        ValueError: If there are no stages, an epoch is negative, or a layer is unknown.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2, name="first"),
        ...                           keras.layers.Dense(1, name="last")])
        >>> model.get_layer("first").trainable = False
        >>> model.compile("adam", loss="mse")
        >>> history = model.fit(np.ones((8, 2)), np.ones((8, 1)), epochs=2, verbose=0,
        ...                     callbacks=[GradualUnfreezing({1: ["first"]})])
        >>> len(model.optimizer.variables)  # step, learning rate, two moments of four variables
        10

    Source:
        Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification", 2018,
        section 3.3 (gradual unfreezing).
    """

    def __init__(self, stages, optimizer=None):
        super().__init__()
        if not stages:
            raise ValueError(f"stages must hold at least one epoch, received: {stages!r}")
        starts = {whole("the epoch of a stage", epoch, 0): what for epoch, what in stages.items()}
        self.stages = dict(sorted(starts.items()))
        self.optimizer = optimizer
        self.stage = None

    def set_model(self, model):
        """Check that every layer that a stage names exists."""
        super().set_model(model)
        known = {layer.name for layer in walk(model)}
        for epoch, stage in self.stages.items():
            for name in () if callable(stage) else stage:
                if name not in known:
                    raise ValueError(f"the stage of epoch {epoch} names no layer: {name!r}")

    def prepare(self, model: keras.Model, epochs_begun: int) -> None:
        """Bring a compiled model to the state in which a run of so many epochs was saved.

        Call it before a checkpoint of that run is restored into the model and its optimizer.

        Args:
            model: Compiled.
            epochs_begun: Epochs that were finished, and the one that was under way, 1 or more.
        """
        self.set_model(model)
        self._enter(stage_of_epoch(self.stages, epochs_begun - 1))

    def on_epoch_begin(self, epoch, logs=None):
        """Enter the stage that begins here."""
        self._enter(stage_of_epoch(self.stages, epoch))

    def on_train_end(self, logs=None):
        """Begin again if `fit` does."""
        self.stage = None

    def _enter(self, stage):
        if stage == self.stage:
            return
        # Before the change, which may declare the model not compiled.
        previous, settings = self.model.optimizer, _compile_settings(self.model)
        for start, change in self.stages.items():
            # All that was skipped, too: a run may begin in a late epoch.
            if (self.stage is None or start > self.stage) and start <= stage:
                self._change(change)
        self.stage = stage
        self._compile(self._new_optimizer(previous, stage), settings)

    def _change(self, change):
        if callable(change):
            change(self.model)
            return
        names = set(change)
        for layer in walk(self.model):
            if layer.name in names:
                _make_trainable(layer)

    def _new_optimizer(self, previous, stage):
        if self.optimizer is not None:
            return self.optimizer(self.model, stage)
        previous = inner_optimizer(previous)  # compile wraps the new one
        variables = self.model.trainable_variables
        if not previous.built:
            previous.build(variables)
        return continued_optimizer(previous, variables)

    def _compile(self, optimizer, settings):
        with self.model.distribute_strategy.scope():
            self._compile_here(optimizer, settings)

    def _compile_here(self, optimizer, settings):
        if settings is None:
            # The next best, which trains the same but saves the old optimizer's settings.
            self.model.optimizer = optimizer
            self.model.compiled = True
        else:
            self.model.compile(**{**settings, "optimizer": optimizer, "loss": self.model.loss})
        self.model.optimizer.build(self.model.trainable_variables)
        self.model.make_train_function(force=True)


def _compile_settings(model):
    """Return what the model was compiled with, or `None` if a part of it has no configuration."""
    try:
        with warnings.catch_warnings():
            # Nothing is written to a file, so a lambda for a loss does no harm.
            warnings.filterwarnings("ignore", "The object being serialized includes", UserWarning)
            config = dict(model.get_compile_config())
        for name in ("optimizer", "loss"):
            config.pop(name, None)
        return keras.saving.deserialize_keras_object(config)
    except (TypeError, ValueError, NotImplementedError):
        return None  # such as a metric that is a function of the user's own


def _make_trainable(layer):
    # Each before what it holds, since setting a layer sets everything inside it.
    for inner in walk(layer):
        inner.trainable = not isinstance(inner, keras.layers.BatchNormalization)
