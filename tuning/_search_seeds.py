"""The winner of a search, trained with several seeds by its workers."""

from collections.abc import Callable
from pathlib import Path

from recipes.config import Recipe
from recipes.errors import RecipesError, RunError
from recipes.files import write_json
from recipes.run import Run
from tuning._search_tuner import load_keras_tuner


class Seeds:
    """What the chief gives to workers after the last stage; see `tuning._search_chief.Tasks`.

    Args:
        recipe: The winner.
        seeds: How many, from 0.
        directory: Of the runs, `seed0` and so on.
        say: Receives a line a run.
    """

    name = "seeds"

    def __init__(self, recipe: Recipe, seeds: int, directory: Path, say: Callable[[str], None]):
        self.directory = directory
        self.say = say
        directory.mkdir(parents=True, exist_ok=True)
        write_json(directory / "winner.json", recipe.to_dict())
        self._recipe = recipe
        self._waiting = [seed for seed in range(seeds) if not self.is_recorded(seed)]
        self._held = {}

    def take(self, worker):
        """Give a worker the next seed."""
        keras_tuner = load_keras_tuner()
        if worker not in self._held and self._waiting:
            self._held[worker] = self._waiting.pop(0)
        seed = self._held.get(worker)
        return keras_tuner.engine.trial.Trial(
            hyperparameters=keras_tuner.HyperParameters(),
            trial_id=str(seed),
            status="STOPPED" if seed is None else "RUNNING",
        )

    def holding(self, worker):
        """Return the name of what a worker has."""
        return f"{self.name} {self._held[worker]}" if worker in self._held else None

    def leave(self, worker):
        """Give what a worker has to another."""
        if worker in self._held:
            self._waiting = sorted([*self._waiting, self._held.pop(worker)])

    def adopt(self, worker, number):
        """Let a worker have the seed that it says it has, if nobody else does."""
        if worker not in self._held and number in self._waiting:
            self._waiting.remove(number)
            self._held[worker] = number

    def is_recorded(self, number):
        """Whether a seed is trained to its end."""
        try:
            run = Run(self.directory / f"seed{number}")
            wanted = self._recipe.override({"training.seed": number})
            return run.finished and run.recipe == wanted
        except RecipesError:
            return False

    def finish(self, number, worker, hyperparameters=None):
        """Take one that a worker has trained."""
        if self._held.get(worker) == number:
            del self._held[worker]
            accuracy = Run(self.directory / f"seed{number}").metrics["validation"]["accuracy"]
            self.say(f"winner, seed {number} ({worker}): validation accuracy {accuracy:.4f}")

    def give_up(self, worker, reason):
        """End the search: there is nothing without it."""
        raise RunError(f"the winner with seed {self._held[worker]} {reason}")

    @property
    def unfinished(self):
        """How many are left."""
        return len(self._held) + len(self._waiting)

    @property
    def interrupted(self):
        """Whether some of them were begun."""
        return any((self.directory / f"seed{seed}").exists() for seed in self._waiting)
