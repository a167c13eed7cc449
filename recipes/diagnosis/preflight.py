"""Look before training: does this model, with this loss and data, have a chance to learn?"""

import contextlib
import warnings
from dataclasses import dataclass

import keras
import numpy as np

from callbacks._layers import sublayers, walk
from callbacks._optimizers import inner_optimizer, settings
from recipes.checks import whole_number
from recipes.diagnosis import data_checks, model_checks, output_checks
from recipes.diagnosis.activations import GradientStatistics, LayerStatistics, Observer
from recipes.diagnosis.batches import joined, read_batches
from recipes.diagnosis.findings import Findings, plain, raise_for_errors
from recipes.diagnosis.targets import LossFacts, as_rows, chance_loss, describe_loss, loss_floor
from recipes.diagnosis.training_steps import overfit, probe_optimizer, restored
from recipes.errors import ConfigError

# Small steps after which nothing is 0 by design any more.
_NUDGES = 3
# Steps with the model's own optimizer.
_PROBES = 5
# Faults of the data with which no loss can be computed, or none that says anything.
_FATAL = {
    "images_not_finite",
    "labels_not_finite",
    "labels_shape",
    "labels_not_whole",
    "labels_out_of_range",
}


@dataclass(frozen=True)
class Preflight(Findings):
    """What `preflight` found; prints as a table.

    Attributes:
        findings: The worst first; none for a healthy model.
        figures: What was measured: first loss, chance, logit spread, rates, losses. Losses and
            chance are those of a batch as the model's loss gives them, weights included.
        checks: Names of the checks that were made.
        skipped: Name of each check that could not be made to the reason.
        layers: What each layer put out for one batch.
        gradients: What reached each trainable weight.
    """

    layers: tuple[LayerStatistics, ...] = ()
    gradients: tuple[GradientStatistics, ...] = ()

    def raise_for_errors(self) -> None:
        """Raise one line for the errors that were found.

        Raises:
            PreflightError: If there is any.
        """
        raise_for_errors(self.findings)

    def to_dict(self):
        """Return plain JSON values; numbers that are not finite become `None`."""
        layers = [plain(vars(layer)) for layer in self.layers]
        return {
            **super().to_dict(),
            "layers": layers,
            "gradients": [plain(vars(gradient)) for gradient in self.gradients],
        }

    def _remarks(self):
        from rich.text import Text

        names = ("initial_loss", "log_classes", "logit_spread", "overfit_loss", "overfit_floor")
        known = [
            f"{name.replace('_', ' ')} {self.figures[name]:.4g}"
            for name in names
            if self.figures.get(name) is not None
        ]
        if known:
            yield Text(", ".join(known), "dim")
        yield from super()._remarks()


def preflight(
    model: keras.Model,
    data,
    *,
    batches: int = 8,
    steps: int = 100,
    images: int = 16,
    input_range: tuple[float, float] | None = None,
    batch_size: int = 32,
) -> Preflight:
    """Check a compiled model and its training data before they are trained.

    Checks pixels, labels, their order and balance; softmax mistakes; the first loss against
    chance; activations and gradients by layer; frozen layers; what the optimizer's first steps do;
    and whether one batch can be fitted. The model is shown batches of one image as one batch.
    Everything is looked at in training mode: in inference mode a fresh batch normalisation gives
    logits near 0 and so a loss of log C, whatever is wrong.

    Afterwards weights, batch statistics, optimizer, metrics and seeds are what they were, to the
    bit, and `fit` goes on as if nothing had been; only a dataset that shuffles anew each time has
    been read once more. A model that was not built is built.

    Args:
        model: Compiled, with one input of images and one output `(batch, classes)`.
        data: What can be read again and again: a `tf.data.Dataset`, a `keras.utils.PyDataset` or a
            list of batches `(images, labels)` or `(images, labels, weights)`; or one such tuple of
            whole arrays. Labels are class indices, or rows of shares. Give the training data as it
            goes into `fit`, augmentation included.
        batches: Batches to look at, at least 1.
        steps: Training steps at most, at each of up to three learning rates, to fit one batch; 0
            to leave that check out.
        images: Images of the batch to fit, at least 2.
        input_range: Lowest and highest pixel that the model expects, such as `(0, 255)`; `None` to
            judge by what arrives at the first kernel.
        batch_size: For whole arrays.

    Returns:
        A `Preflight`.

    Raises:
        ConfigError: If an argument is out of range, the model is not compiled, or has other outputs
            than it should.
        DataError: If the data holds no batch, or what is no images and labels.

    Example:
        >>> keras.utils.set_random_seed(0)
        >>> layers = [keras.layers.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]
        >>> model = keras.Sequential([*layers, keras.layers.Softmax()])
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> model.compile("sgd", loss)
        >>> images = np.random.default_rng(0).normal(size=(48, 4, 4, 1)).astype("float32")
        >>> found = preflight(model, (images, np.arange(48) % 3), steps=0)
        >>> [finding.name for finding in found.findings]
        ['softmax_and_from_logits']

    Source:
        The first two steps of Karpathy, "A recipe for training neural networks", 2019; He et al.,
        "Delving deep into rectifiers", 2015, section 2.2, for the activations by layer.
    """
    batches, steps = whole_number("batches", batches, 1), whole_number("steps", steps, 0)
    images = whole_number("images", images, 2)
    if not getattr(model, "compiled", False) or model.optimizer is None:
        raise ConfigError("preflight needs a compiled model: call model.compile() first")
    given = read_batches(data, batches, batch_size)
    width = _width(model, given[0][0])
    look = _Look(model, given, width, input_range)
    look.at_data()
    if fatal := sorted(_FATAL & {finding.name for finding in look.findings}):
        for name in _Look.MODEL_CHECKS:
            look.skipped[name] = f"the data has to be mended first ({fatal[0]})"
    else:
        with restored(model):
            look.at_model()
        if steps and look.learns:
            with restored(model):
                look.at_overfit(steps, images)
        else:
            look.skipped["overfit"] = "not asked for" if not steps else "nothing to train, or NaN"
    return look.result()


def _width(model, images):
    """Return the outputs of a model an image; build it if it was not."""
    outputs = model(images[:1], training=False)
    shape = getattr(outputs, "shape", None)
    if shape is None or len(shape) != 2:
        raise ConfigError(
            "preflight expects a model with one output of shape (batch, classes), received: "
            f"{shape if shape is not None else type(outputs).__name__}"
        )
    return int(shape[1])


class _Look:
    """Gathers findings, check by check."""

    MODEL_CHECKS = ("outputs", "initial_loss", "activations", "gradients", "updates", "overfit")

    def __init__(self, model, batches, width, input_range):
        self.model, self.batches, self.width = model, batches, width
        self.input_range = input_range
        self.facts: LossFacts = describe_loss(model.loss)
        self.findings, self.figures, self.checks, self.skipped = [], {}, [], {}
        self.layers, self.gradients, self.learns = (), (), False
        # Several labels an image: nothing that goes by one class can be said.
        self.several = self.facts.kind == "binary" and width > 1

    def result(self):
        return Preflight(
            tuple(self.findings),
            plain(self.figures),
            tuple(self.checks),
            self.skipped,
            self.layers,
            self.gradients,
        )

    def _add(self, check, findings):
        self.checks.append(check)
        self.findings.extend(findings)

    def at_data(self):
        self._add("images", data_checks.check_images(self.batches, self.input_range))
        self._add("labels", data_checks.check_labels(self.batches, self.width, self.facts.kind))
        rows = [as_rows(batch[1], self.width) for batch in self.batches]
        if self.several or any(one is None for one in rows):
            self.skipped["order"] = "labels do not name one class an image"
        else:
            self._add("order", data_checks.check_order(self.batches, self.width))
        self._add(
            "batch_sizes", data_checks.check_batch_sizes(self.batches, _normalizing(self.model))
        )
        frozen, trainable = _frozen(self.model), len(self.model.trainable_variables)
        self._add("frozen", model_checks.check_frozen(frozen, trainable))

    def at_model(self):
        self.batches = joined(self.batches)
        observer = Observer(self.model)
        with _keras_remarks() as remarks:
            seen = [observer(*batch) for batch in self.batches]
        first = seen[0]
        self.layers, self.gradients = first.layers, first.gradients
        outputs = np.concatenate([one.outputs for one in seen])
        later = self._nudged(observer)
        self._at_outputs(outputs, any("from_logits" in remark for remark in remarks))
        self._at_first_loss(seen, outputs)
        if len(outputs) > 1:
            self._add("activations", model_checks.check_activations(first.layers, later.layers))
        else:
            self.skipped["activations"] = "one image"
        self._add(
            "input_scale",
            model_checks.check_input_scale(first.layers, self.input_range is not None),
        )
        gradients = first.gradients, later.gradients
        self._add("gradients", model_checks.check_gradients(*gradients, self._summed()))
        finite = np.isfinite(first.loss) and all(one.finite for one in first.gradients)
        self.learns = (
            bool(self.gradients)
            and bool(finite)
            and any(one.norm is not None for one in first.gradients)
        )
        if self.learns:
            self._at_updates(first, later)
        else:
            self.skipped["updates"] = "nothing to train, or NaN"

    def _nudged(self, observer):
        with restored(self.model):
            for _ in range(_NUDGES):
                observer.nudge()
                found = observer(*self.batches[0])
        return found

    def _at_outputs(self, outputs, repaired):
        if self.facts.kind is None or not np.isfinite(outputs).all():
            self.skipped["outputs"] = "the loss is not a cross-entropy, or outputs are not finite"
            return
        self._add(
            "outputs",
            output_checks.check_outputs(
                outputs, self.facts, repaired=repaired, sigmoid=_ends_in_sigmoid(self.model)
            ),
        )

    def _at_first_loss(self, seen, outputs):
        loss = float(np.mean([one.loss for one in seen]))
        spread = float(outputs.std(axis=0).mean())
        self.figures |= {"initial_loss": loss, "logit_spread": spread}
        if self.facts.kind is None:
            self.skipped["initial_loss"] = "the loss is not a cross-entropy"
            return
        uniform, prior = self._chance()
        self.figures |= {"log_classes": uniform, "prior_entropy": prior}
        if not np.isfinite(loss):
            self.skipped["initial_loss"] = "it is not finite"
            return
        squashed = not self.facts.from_logits
        # Probabilities of a sane start are about 1/C each: their spread says less than logits'.
        spread = spread * self.width if squashed else spread
        self._add(
            "initial_loss",
            output_checks.check_initial_loss(loss, uniform, prior, spread, self._summed()),
        )

    def _summed(self):
        """Return how many images the loss of a batch is a sum over, 1 for a mean."""
        return float(np.mean([len(batch[0]) for batch in self.batches])) if self.facts.summed else 1

    def _chance(self):
        weights = [batch[2] for batch in self.batches]
        weights = None if weights[0] is None else np.concatenate(weights).astype(float).reshape(-1)
        if self.several:
            scale = 1.0 if weights is None else float(weights.mean())
            losses = 2 * [scale * float(np.log(2))]
        else:
            rows = [as_rows(batch[1], self.width) for batch in self.batches]
            losses = chance_loss(np.concatenate(rows), weights)
        return tuple(self._summed() * loss for loss in losses)

    def _at_updates(self, first, later):
        try:
            peak = _peak(self.model)
        except TypeError as error:
            self.skipped["updates"] = str(error)
            return
        without = [
            a.name
            for a, b in zip(first.gradients, later.gradients, strict=True)
            if not a.norm and not b.norm
        ]
        # What is 0 by design now gets its gradient when the rest has moved.
        with _keras_remarks(), restored(self.model):
            probe = probe_optimizer(self.model, self.batches[0], _PROBES)
        self.figures |= {"learning_rate": max(probe.rates), "probe_losses": list(probe.losses)}
        self._add("updates", model_checks.check_updates(probe, without, peak))

    def at_overfit(self, steps, images):
        batch = tuple(None if part is None else part[:images] for part in self.batches[0])
        with _keras_remarks():
            found = overfit(self.model, batch, self._floor(batch), steps)
        self.figures |= {
            "overfit_loss": found.losses[-1],
            "overfit_floor": found.floor,
            "overfit_steps": len(found.losses),
        }
        summed = len(batch[0]) if self.facts.summed else 1
        facts = max(self.width, 2), self.facts.smoothing, summed
        self._add("overfit", model_checks.check_overfit(found, *facts))

    def _floor(self, batch):
        if self.facts.kind is None:
            return 0.0
        weights = None if batch[2] is None else np.asarray(batch[2], float).reshape(-1)
        images = len(batch[0]) if self.facts.summed else 1
        if self.several:
            shares = np.stack([1 - batch[1], batch[1]], axis=-1).astype(float)
            each = [loss_floor(row, None, self.facts.smoothing) for row in shares]
            return images * float(np.mean(each if weights is None else each * weights))
        return images * loss_floor(as_rows(batch[1], self.width), weights, self.facts.smoothing)


def _normalizing(model):
    """Return the names of layers that will take statistics over the batch."""
    return [
        layer.name
        for layer in walk(model)
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]


def _frozen(model):
    """Return the paths of layers that have weights to train, but none of them trainable."""
    return [
        layer.path or layer.name
        for layer in walk(model)
        if not any(sublayers(layer))
        and any(
            getattr(weight, "trainable", False) or not layer.trainable for weight in layer.weights
        )
        and not layer.trainable_weights
    ]


def _ends_in_sigmoid(model):
    last = [layer for layer in walk(model) if not any(sublayers(layer))][-1]
    return getattr(getattr(last, "activation", None), "__name__", "") == "sigmoid"


def _peak(model):
    """Return the highest rate of a schedule in its first steps, or `None` for a constant one."""
    rate = settings(inner_optimizer(model.optimizer))["learning_rate"]
    if not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return None
    return max(float(rate(step)) for step in (0, 1, 10, 100, 1000, 10_000))


@contextlib.contextmanager
def _keras_remarks():
    """Hold back what Keras says of from_logits; let all other warnings through."""
    said = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield said
        said.extend(str(warning.message) for warning in caught)
    for warning in caught:
        if "from_logits" not in str(warning.message):
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
