"""The range test of a search: which learning rates a recipe can be trained with at all.

It is made once, before the first trial, on the recipe's own batches, and kept in the folder of the
search. A range of the space whose upper part ruins the network ends where it does; that is said
and written down, and nothing else of a space is ever changed.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipes.errors import RunError
from recipes.files import read_json, write_json
from tuning._search_dimensions import Choices, Range, is_numeric, rounded

FIELD = "optimizer.learning_rate"
STEPS = 100
# How far beyond the space the test looks: to see what is below it, and where it would explode.
_BELOW, _ABOVE = 30.0, 10.0
# But no further from the recipe's own rate: the steps would be too few to read anything off.
_FURTHEST_BELOW, _FURTHEST_ABOVE = 1e4, 1e3
# The moving average that the limit is read from has seen about so many steps.
_MEMORY = 0.8


@dataclasses.dataclass(frozen=True)
class RangeTest:
    """What the range test of a search found.

    Attributes:
        rates: Learning rate of each step, rising.
        losses: Loss of each step, before its update.
        smoothed: Their exponential moving average.
        suggestions: Name of a rule to the rate that it suggests; see `callbacks.suggest_rates`.
        limit: From this rate on the network was worse than untrained; `None` if it never was.
        given: Values of the learning rate in the space that was given, as text.
        searched: The same as they are searched.
        seconds: What the test took.
        problem: Why there is no curve, one line; else `None`.
    """

    rates: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()
    smoothed: tuple[float, ...] = ()
    suggestions: dict[str, float] = dataclasses.field(default_factory=dict)
    limit: float | None = None
    given: str = ""
    searched: str = ""
    seconds: float = 0.0
    problem: str | None = None

    def lines(self) -> list[str]:
        """Return what to say of it: what it suggests, and what it did to the space."""
        if self.problem:
            return [f"range test: {self.problem}; {FIELD} is searched as given, {self.given}"]
        rates = ", ".join(f"{name} {rate:.3g}" for name, rate in self.suggestions.items())
        if self.limit is None:
            end = f"no rate up to {self.rates[-1]:.3g} ruins the network"
        else:
            end = f"from {self.limit:.3g} on the network is worse than untrained"
        kept = f"{FIELD} is searched as given, {self.given}"
        if self.searched != self.given:
            kept = f"{FIELD} is searched over {self.searched}, not all of {self.given}"
        return [f"range test: {rates}; {end}", f"range test: {kept}"]

    @classmethod
    def read(cls, out: Path) -> "RangeTest | None":
        """Return the range test of the search in a folder, `None` if there is none.

        Raises:
            RunError: If it cannot be read.
        """
        path = out / "range_test.json"
        if not path.exists():
            return None
        try:
            values = read_json(path)
            for name in ("rates", "losses", "smoothed"):
                values[name] = tuple(values[name])
            return cls(**values)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RunError(f"cannot read {path}: {error}") from error


def range_tested(subject, out: Path, say: Callable[[str], None]):
    """Make or read the range test of a search; return the space to search.

    Args:
        subject: A recipe with its space and images.
        out: Folder of the search; gets `range_test.json` and `range_test.svg`.
        say: Receives what was found, once.
    """
    values = subject.space.dimensions.get(FIELD)
    if values is None or (isinstance(values, Choices) and not is_numeric(values)):
        return subject.space
    found = RangeTest.read(out)
    if found is None:
        say("range test")
        found = _run(subject, values, out)
        write_json(out / "range_test.json", dataclasses.asdict(found))
        for line in found.lines():
            say(line)
    if found.searched == found.given:
        return subject.space
    dimensions = {**subject.space.dimensions, FIELD: shortened(values, found.limit)}
    return dataclasses.replace(subject.space, dimensions=dimensions)


def shortened(values: Range | Choices, limit: float | None) -> Range | Choices:
    """Return a range that ends at the limit; itself if it ends below, begins above, or is a list.

    Example:
        >>> print(shortened(Range(0.01, 10, log=True), 2.0))
        log 0.01..2
        >>> print(shortened(Range(0.01, 10, log=True), 0.001))
        log 0.01..10
    """
    if limit is None or isinstance(values, Choices) or values.step is not None:
        return values
    end = rounded(limit)
    return dataclasses.replace(values, high=end) if values.low < end < values.high else values


def ruinous_rate(rates: Sequence[float], losses: Sequence[float], steps: int) -> float | None:
    """Return the lowest rate from which on the loss stays above what it was at the start.

    Args:
        rates: Rising learning rates of all steps that were planned.
        losses: Loss of each step that was made; fewer than `rates` if the last was not finite, or
            the test was ended by an explosion.
        steps: The first so many losses say what the untrained network's is.

    Example:
        >>> rates = [10.0 ** (power / 10 - 4) for power in range(50)]
        >>> losses = [2.3] * 20 + [1.0] * 20 + [9.0] * 5
        >>> round(ruinous_rate(rates, losses, 5), 2)
        1.0
        >>> ruinous_rate(rates, [2.3] * 20 + [1.0] * 30, 5) is None
        True
    """
    from callbacks.learning_rate_finder import smooth

    start = sum(losses[:steps]) / steps
    smoothed = smooth(losses, _MEMORY)
    good = [step for step, loss in enumerate(smoothed) if loss <= start]
    worse = max(good[-1] if good else 0, steps - 1) + 1
    if worse >= len(rates):
        return None
    if worse < len(losses):
        return float(rates[worse])
    # All that could be measured was fine; the step that could not be comes next.
    return float(rates[len(losses)]) if len(losses) < len(rates) else None


def _run(subject, values, out):
    """Make the test; a recipe that cannot be tested is no reason not to search."""
    import keras
    import tensorflow as tf

    from callbacks.learning_rate_finder import find_learning_rate

    ends = (values.low, values.high) if isinstance(values, Range) else values.values
    # What the first trial is: the recipe as it is, if the space holds it.
    recipe = subject.space.recipe(subject.recipe, subject.space.start(subject.recipe))
    own = recipe.optimizer.learning_rate
    lowest, highest = (end(rate for rate in (*ends, own) if rate > 0) for end in (min, max))
    low = max(lowest / _BELOW, own / _FURTHEST_BELOW)
    high = min(highest * _ABOVE, own * _FURTHEST_ABOVE)
    facts: dict[str, Any] = {"given": str(values), "searched": str(values)}
    began = time.perf_counter()
    model, batches = _compiled(recipe, subject.data)
    try:
        found = find_learning_rate(model, batches, low=low, high=high, steps=STEPS)
    except (ValueError, MemoryError, tf.errors.ResourceExhaustedError) as error:
        problem = str(error).strip().splitlines()[0][:300]
        return RangeTest(**facts, problem=problem, seconds=_since(began))
    finally:
        del model
        keras.utils.clear_session()
    limit = ruinous_rate(np.geomspace(low, high, STEPS), found.losses, STEPS // 10)
    facts["searched"] = str(shortened(values, limit))
    found.plot(out / "range_test.svg")
    return RangeTest(
        rates=tuple(found.rates.tolist()),
        losses=tuple(found.losses.tolist()),
        smoothed=tuple(found.smoothed.tolist()),
        suggestions=found.suggestions,
        limit=limit,
        seconds=_since(began),
        **facts,
    )


def _since(began):
    return round(time.perf_counter() - began, 3)


def _compiled(recipe, data):
    """Return the network of a recipe as it trains, in its last phase, and its batches."""
    import keras

    from recipes.hardware import choose_precision
    from recipes.network import Network
    from recipes.training import compile_for_soft_labels, make_optimizer, training_pipeline

    precision, _ = choose_precision(recipe.training.precision)
    keras.utils.set_random_seed(recipe.training.seed)
    model = Network(recipe, data).build(precision)
    images = len(data.splits["train"])
    batch_size = min(recipe.training.batch_size, images)
    steps = images // batch_size * recipe.training.epochs
    if recipe.transfer.weights is None:
        compile_for_soft_labels(model, make_optimizer(recipe, model, steps))
    else:
        from recipes.transfer.plan import TransferPlan

        def optimizer(model, phase, factors):
            return make_optimizer(recipe, model, steps, factors=factors)

        plan = TransferPlan(recipe, images, len(data.class_names), lambda line: None)
        compile_for_soft_labels(model, "sgd")
        plan.callback(optimizer).prepare(model, plan.first_tuning_epoch + 1)
    return model, training_pipeline(recipe, data, batch_size)
