"""Fine-tuning in two phases that are one run: first the head, then more."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from callbacks.gradual_unfreezing import GradualUnfreezing
from callbacks.schedules import WarmupDecay
from recipes.checks import whole_number
from recipes.errors import ConfigError
from recipes.models.outputs import ending, gives_logits
from recipes.transfer.advice import advise, unfrozen_by
from recipes.transfer.freezing import BATCH_NORM_POLICIES, freeze, unfreeze
from recipes.transfer.probe import linear_probe
from recipes.transfer.rates import LayerwiseAdamW, LayerwiseSGD, rate_factors

if TYPE_CHECKING:
    from recipes.data import ImageData

_OPTIMIZERS = {"adamw": LayerwiseAdamW, "sgd": LayerwiseSGD}
_EPOCHS = {"frozen": (20, 0), "partial": (5, 15), "full": (3, 12)}


def fine_tune(
    model: keras.Model,
    data: "ImageData | tuple",
    *,
    validation_data=None,
    head_epochs: int | None = None,
    tune_epochs: int | None = None,
    from_layer: str | None = None,
    fraction: float | None = None,
    stages: int | None = None,
    batch_norm: str = "frozen",
    probe: bool = False,
    optimizer: str = "adamw",
    head_learning_rate: float = 1e-3,
    learning_rate: float = 1e-4,
    rate_decay: float = 1.0,
    weight_decay: float = 1e-4,
    warmup: float = 0.1,
    loss=None,
    metrics: Sequence = ("accuracy",),
    batch_size: int = 32,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    say: Callable[[str], None] | None = print,
    verbose="auto",
) -> keras.callbacks.History:
    """Train the head, then unfreeze and fine-tune, as one `fit`.

    Both phases are one call of `model.fit`: epoch numbers go on, one history holds both, and
    callbacks with a memory (early stopping, averages, loggers) see one run. Between the phases the
    layers change, the optimizer is a new one for exactly the variables that train then, with its
    own learning rate and schedule, and the training step is traced again.

    Args:
        model: Of `transfer_model`; any functional or sequential classifier of images will do.
        data: An `ImageData` of `load_data`, or `(images, labels)`, or a `tf.data.Dataset` of such
            batches; labels as class indices (or as `loss` wants them).
        validation_data: As for `fit`; default that of an `ImageData`.
        head_epochs: Epochs in which the head alone trains; default by `advise`.
        tune_epochs: Epochs after that, with what is unfrozen; default by `advise`, but never 0 if
            something to unfreeze is given or `head_epochs` is 0. 0 leaves the backbone as it is.
        from_layer: What to unfreeze; see `unfreeze`. Default with `fraction` and `stages`: what
            `advise` says if it chose `tune_epochs`, otherwise everything.
        fraction: Likewise.
        stages: Likewise.
        batch_norm: What unfrozen batch normalisations do; see `unfreeze`.
        probe: Begin with `linear_probe`, which needs validation images. With `head_epochs=0` this
            is LP-FT (Kumar et al., 2022).
        optimizer: `"adamw"`, or `"sgd"` with Nesterov momentum 0.9.
        head_learning_rate: Peak of the first phase.
        learning_rate: Peak of the second phase, of the head; see `rate_decay`.
        rate_decay: Factor of the learning rate from stage to stage towards the stem, in the
            second phase, above 0 and at most 1; see `rate_factors`.
        weight_decay: Decoupled, on kernels alone.
        warmup: Share of each phase's steps over which the rate rises from 0, in [0, 1); a cosine
            follows. A dataset that does not know its length has constant rates.
        loss: As for `compile`; default the cross-entropy of class indices, from logits if the model
            gives them; for two classes in one output with a sigmoid the binary cross-entropy.
        metrics: As for `compile`.
        batch_size: Images a step, where `data` comes in arrays.
        callbacks: For `fit`.
        say: Receives what is done and what trains; `None` for silence.
        verbose: As for `fit`.

    Returns:
        The history of both phases.

    Raises:
        ConfigError: If an argument is wrong or the labels do not fit the model.

    Example:
        >>> model = transfer_model("efficientnet_lite0", 3)                # doctest: +SKIP
        >>> fine_tune(model, load_data("photos/"), probe=True)             # doctest: +SKIP

    Source:
        Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
        Out-of-Distribution", 2022; Howard and Ruder, "Universal Language Model Fine-tuning for Text
        Classification", 2018.
    """
    say = say or (lambda line: None)
    _check(optimizer, batch_norm, head_learning_rate, learning_rate)
    _check_shares(warmup, weight_decay)
    batch_size = whole_number("batch_size", batch_size, 1)
    source = _Source(data, validation_data, batch_size)
    source.check_classes(model)
    if loss is None:
        loss = _default_loss(model)
    what = {"from_layer": from_layer, "fraction": fraction, "stages": stages}
    head_epochs, tune_epochs, what = _plan(source, model, head_epochs, tune_epochs, what, say)
    if source.steps is None:
        say("the dataset does not know its length: learning rates are constant, without warmup")

    # What is wrong with the second phase is said before the first, and if there is none, too.
    unfreeze(model, **what, batch_norm=batch_norm, say=None)
    if rate_decay != 1:
        rate_factors(model, rate_decay)
    if head_epochs:
        freeze(model, say=None)
    if probe:
        linear_probe(model, *source.for_probe(), say=say)

    def change(model, tuning):
        if tuning:
            report = unfreeze(model, **what, batch_norm=batch_norm, say=None)
        else:
            report = freeze(model, say=None)
        phase = f"fine-tuning, {tune_epochs} epochs" if tuning else f"head, {head_epochs} epochs"
        # The callback compiles it again.
        say(f"{phase}: {dataclasses.replace(report, recompile=False)}")

    def make_optimizer(model, epoch):
        tuning = epoch >= head_epochs
        epochs = tune_epochs if tuning else head_epochs
        peak = learning_rate if tuning else head_learning_rate
        rate = peak
        if source.steps is not None:
            rate = WarmupDecay(peak, epochs * source.steps, warmup=warmup)
        factors = rate_factors(model, rate_decay) if tuning and rate_decay != 1 else None
        return _built(optimizer, rate, weight_decay, factors, model)

    starts = {0: head_epochs == 0}
    if head_epochs and tune_epochs:
        starts[head_epochs] = True
    stages_of_run = {
        epoch: lambda model, tuning=tuning: change(model, tuning)
        for epoch, tuning in starts.items()
    }
    model.compile(
        # Replaced at the first epoch, when what trains is set.
        optimizer=_OPTIMIZERS[optimizer](head_learning_rate),
        loss=loss,
        metrics=list(metrics),
    )
    history = model.fit(
        *source.training,
        **source.keywords,
        epochs=head_epochs + tune_epochs,
        callbacks=[GradualUnfreezing(stages_of_run, make_optimizer), *callbacks],
        verbose=verbose,
    )
    if len(history.epoch) <= head_epochs and tune_epochs:
        say(
            f"a callback ended training after epoch {len(history.epoch)}, in the head's phase: "
            "nothing else was fine-tuned"
        )
    return history


def _check(optimizer, batch_norm, *rates):
    if optimizer not in _OPTIMIZERS:
        raise ConfigError(
            f"optimizer must be one of {', '.join(_OPTIMIZERS)}, received: {optimizer!r}"
        )
    if batch_norm not in BATCH_NORM_POLICIES:
        raise ConfigError(
            f"batch_norm must be one of {', '.join(BATCH_NORM_POLICIES)}, received: {batch_norm!r}"
        )
    for rate in rates:
        if not rate > 0:
            raise ConfigError(f"learning rates must be positive, received: {rate!r}")


def _check_shares(warmup, weight_decay):
    for name, value, limit in (("warmup", warmup, 1), ("weight_decay", weight_decay, np.inf)):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value < limit:
            raise ConfigError(f"{name} must be 0 or more and below {limit}, received: {value!r}")


def _plan(source, model, head_epochs, tune_epochs, what, say):
    """Fill in what was not given, by the number of images; say what was advised and chosen."""
    given = any(value is not None for value in what.values())
    advice, strategy = None, "partial"
    if source.images is not None:
        advice = advise(source.images, max(int(model.output_shape[-1]), 2))
        strategy = advice.strategy
        say(f"advice: {advice.reason}")
    by_advice = tune_epochs is None
    if strategy == "frozen" and by_advice and (given or head_epochs == 0):
        say("more than the head is asked for: it is fine-tuned all the same")
        advice, strategy = None, "partial"
    usual = _EPOCHS[strategy]
    head_epochs = usual[0] if head_epochs is None else head_epochs
    tune_epochs = usual[1] if tune_epochs is None else tune_epochs
    head_epochs = whole_number("head_epochs", head_epochs, 0)
    tune_epochs = whole_number("tune_epochs", tune_epochs, 0)
    if not head_epochs + tune_epochs:
        raise ConfigError("head_epochs and tune_epochs are both 0: nothing to train")
    if by_advice and not given and advice and tune_epochs:
        what = unfrozen_by(advice, model, say)
    return head_epochs, tune_epochs, what


def _default_loss(model):
    if int(model.output_shape[-1]) > 1:
        logits = gives_logits(model, remedy="give the loss")
        return keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    _, activation = ending(model)
    if activation != "sigmoid":
        raise ConfigError(
            f"{model.name} has one output: expected two classes and a sigmoid, or loss and metrics "
            f"of your own, received the activation {activation}"
        )
    return keras.losses.BinaryCrossentropy()


def _built(name, rate, weight_decay, factors, model):
    more = {"momentum": 0.9, "nesterov": True} if name == "sgd" else {}
    optimizer = _OPTIMIZERS[name](
        rate, weight_decay=weight_decay, factors=factors, decay_vectors=False, **more
    )
    optimizer.build(model.trainable_variables)
    return optimizer


class _Source:
    """Training and validation images, however they were given."""

    def __init__(self, data, validation_data, batch_size):
        self.data, self.given, self.validation = data, validation_data, validation_data
        self.images = self.steps = None
        if hasattr(data, "splits"):
            self.training, self.images = (data.train,), len(data.splits["train"])
            if validation_data is None and len(data.splits["validation"]):
                self.validation = data.validation
        elif isinstance(data, tuple):
            if len(data) != 2 or len(data[0]) != len(data[1]):
                raise ConfigError("data must be (images, labels), as many of the one as the other")
            self.training, self.images = data, len(data[0])
            self.steps = -(-self.images // batch_size)
        else:
            self.training = (data,)
        self.keywords = {"validation_data": self.validation}
        if hasattr(self.validation, "cardinality"):
            _batches("validation_data", self.validation)
        if len(self.training) == 2:
            self.keywords["batch_size"] = batch_size
            return
        # Pipelines shuffle for themselves; Keras would warn that it cannot.
        self.keywords["shuffle"] = False
        count = _batches("data", self.training[0])
        if count >= 0:
            self.steps = count
            self.images = self.images or count * self._batch_length()

    def _batch_length(self):
        """Return the images of a batch; of the first, where the dataset does not say."""
        length = keras.tree.flatten(self.training[0].element_spec)[0].shape[0]
        if length is not None:
            return int(length)
        return next((len(keras.tree.flatten(batch)[0]) for batch in self.training[0].take(1)), 0)

    def check_classes(self, model):
        """Raise `ConfigError` unless the model has an output a class, or one for two classes."""
        outputs = int(model.output_shape[-1])
        classes = max(outputs, 2)
        if hasattr(self.data, "class_names") and len(self.data.class_names) != classes:
            raise ConfigError(
                f"{model.name} has {outputs} outputs, the images are of "
                f"{len(self.data.class_names)} classes: {', '.join(self.data.class_names[:10])}"
            )
        if isinstance(self.data, tuple):
            labels = np.asarray(self.data[1])
            if labels.ndim == 1 and len(labels) and not 0 <= labels.min() <= labels.max() < classes:
                raise ConfigError(
                    f"labels lie between {labels.min()} and {labels.max()}, {model.name} has "
                    f"{classes} classes: expected 0 to {classes - 1}"
                )

    def for_probe(self):
        """Return `(images, labels)` of training and of validation."""
        if self.validation is None:
            raise ConfigError("probe=True needs validation images to choose the L2 penalty by")
        if not hasattr(self.data, "splits"):
            return _arrays(self.data), _arrays(self.validation)
        splits = self.data.splits
        validation = _of_split(splits["validation"]) if self.given is None else _arrays(self.given)
        return _of_split(splits["train"]), validation


def _batches(name, dataset):
    """Return how many batches a dataset says it has; negative if it does not know."""
    count = int(dataset.cardinality().numpy())
    if count == tf.data.INFINITE_CARDINALITY:
        raise ConfigError(f"{name} never ends: leave out .repeat(), or give .take(batches)")
    return count


def _of_split(split):
    images = split.pipeline(64, transform=lambda images, labels, seed: images)
    return images, split.labels


def _arrays(pairs):
    if isinstance(pairs, tuple):
        return np.asarray(pairs[0]), np.asarray(pairs[1])
    images, labels = zip(*((np.asarray(x), np.asarray(y)) for x, y in pairs), strict=True)
    return np.concatenate(images), np.concatenate(labels)
