"""What the transfer section of a recipe means for given images: which phases train what."""

import dataclasses
from collections.abc import Callable

import keras

from callbacks.gradual_unfreezing import GradualUnfreezing
from recipes.config import Recipe
from recipes.transfer.advice import advise, unfrozen_by
from recipes.transfer.freezing import Trainable, freeze, unfreeze
from recipes.transfer.rates import rate_factors


@dataclasses.dataclass(frozen=True)
class Phase:
    """One stretch of epochs with one optimizer.

    Attributes:
        name: `"head"` or `"tune"`.
        start: First epoch, counted from 0.
        epochs: How many.
        learning_rate: Peak.
    """

    name: str
    start: int
    epochs: int
    learning_rate: float


class TransferPlan:
    """The phases of a recipe with pretrained weights.

    Args:
        recipe: Its `transfer.weights` are given.
        images: Number of training images.
        classes: Number of classes.
        say: Receives what is advised and done.

    Attributes:
        phases: In order.
        strategy: `"frozen"`, `"partial"` or `"full"`.
    """

    def __init__(self, recipe: Recipe, images: int, classes: int, say: Callable[[str], None]):
        self.recipe, self.say = recipe, say
        chosen = recipe.transfer
        advice = advise(images, classes)
        say(f"advice: {advice.reason}")
        self.strategy, self._what = chosen.strategy, {}
        self._advice = advice if chosen.strategy == "auto" else None
        if self._advice is not None:
            self.strategy = advice.strategy
        elif chosen.strategy == "partial":
            by_name = chosen.unfreeze_from is not None
            self._what = (
                {"from_layer": chosen.unfreeze_from}
                if by_name
                else {"stages": chosen.unfreeze_stages}
            )
        say(f"transfer.strategy {chosen.strategy!r}: {_WORDS[self.strategy]}")
        self.phases = self._phases()

    def _phases(self):
        chosen, epochs = self.recipe.transfer, self.recipe.training.epochs
        rate = self.recipe.optimizer.learning_rate
        head_rate = chosen.head_learning_rate or rate
        if self.strategy == "frozen":
            return (Phase("head", 0, epochs, head_rate),)
        count = chosen.head_epochs
        tune = Phase("tune", count, epochs - count, rate)
        return (Phase("head", 0, count, head_rate), tune) if count else (tune,)

    def check(self, model: keras.Model) -> None:
        """Raise `ConfigError` if the model has not what is to be trained; say what it lacks."""
        if self.strategy != "frozen":
            unfreeze(model, **self._unfrozen(model, self.say), say=None)
        if self.phases[0].name == "head":
            freeze(model, say=None)

    @property
    def first_tuning_epoch(self) -> int:
        """The epoch, counted from 0, at which the last phase begins."""
        return self.phases[-1].start

    def callback(
        self,
        make_optimizer: Callable[[keras.Model, Phase, dict | None], keras.optimizers.Optimizer],
    ) -> GradualUnfreezing:
        """Return the callback that enters each phase in its time.

        Args:
            make_optimizer: Function `(model, phase, factors)` that returns the built optimizer of a
                phase; `factors` is `None`, or the factor of the learning rate by layer name.
        """
        by_start = {phase.start: phase for phase in self.phases}

        def optimizer(model, start):
            phase = by_start[start]
            decay = self.recipe.transfer.rate_decay
            by_layer = phase.name == "tune" and decay < 1
            return make_optimizer(model, phase, rate_factors(model, decay) if by_layer else None)

        return GradualUnfreezing(
            {start: self._entering(phase) for start, phase in by_start.items()}, optimizer
        )

    def _entering(self, phase):
        def enter(model):
            # The callback compiles the model again.
            report = dataclasses.replace(self.set_trainable(model, phase), recompile=False)
            self.say(f"from epoch {phase.start + 1}: {report}")

        return enter

    def set_trainable(self, model: keras.Model, phase: Phase | None = None) -> Trainable:
        """Make trainable what a phase trains, by default the last; return what that is."""
        if (phase or self.phases[-1]).name == "head":
            return freeze(model, say=None)
        policy = self.recipe.transfer.batch_norm
        return unfreeze(model, **self._unfrozen(model), batch_norm=policy, say=None)

    def _unfrozen(self, model, say=None):
        return self._what if self._advice is None else unfrozen_by(self._advice, model, say)


_WORDS = {
    "frozen": "the head alone trains",
    "partial": "the head, then the last part of the backbone with it",
    "full": "the head, then everything",
}
