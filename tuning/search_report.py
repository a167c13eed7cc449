"""What a search found: its trials, the best so far, what each hyperparameter was worth."""

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.config import Recipe
from tuning._search_trials import COMPLETED, DIVERGED, Trial, best_of

if TYPE_CHECKING:
    from recipes.diagnosis.diagnose import Diagnosis

# Numbers are put into at most so many groups of like size.
_GROUPS = 5
# Fewer in a group say little of what is inside it.
_GROUP_SIZE = 3


@dataclass(frozen=True)
class SeedResults:
    """Validation accuracies of the winner at full length, one a seed.

    Attributes:
        accuracies: In [0, 1].
    """

    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Of the accuracies."""
        return statistics.fmean(self.accuracies)

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation; `None` for one seed."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else None


@dataclass(frozen=True)
class Importance:
    """What a hyperparameter was worth.

    Attributes:
        name: Of the hyperparameter.
        share: Of the variance of the objective's ranks that its groups explain, in [0, 1]; `None`
            with too few trials.
        trend: Spearman's rank correlation with the objective in [-1, 1]; `None` for what has no
            order.
    """

    name: str
    share: float | None
    trend: float | None


@dataclass(frozen=True)
class SearchResult:
    """What a search found; prints as a table of its trials.

    Attributes:
        out: Folder of the search.
        trials: All of them, in the order in which they ran.
        best: The best completed trial of the last stage.
        recipe: The recipe with the best values at its full length, as in `best.json`; `None` for a
            model of the user's own.
        objective: Name of the measure.
        direction: `"max"` or `"min"`.
        seeds: Of the winner at full length, or `None` if it was not trained.
    """

    out: Path
    trials: tuple[Trial, ...]
    best: Trial
    recipe: Recipe | None
    objective: str
    direction: str
    seeds: SeedResults | None = None

    def best_so_far(self) -> list[float | None]:
        """Return after each trial the best value of the completed ones of its stage."""
        return best_so_far(self.trials, self.direction)

    def importance(self) -> list[Importance]:
        """Return what each hyperparameter was worth in the coarse search, the most first."""
        coarse = [trial for trial in self.trials if trial.stage == self.trials[0].stage]
        return importance(coarse, self.direction)

    def diagnosis(self) -> "Diagnosis | None":
        """Say what the curves of the best trial show; `None` where none are kept.

        They are kept of recipes, until someone deletes the folder of the trial's run.
        """
        run = self.out / self.best.stage / "runs" / f"{self.best.number:04d}"
        if not (run / "history.jsonl").exists():
            return None
        from recipes.diagnosis.diagnose import diagnose

        return diagnose(run)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        diagnosis = self.diagnosis()
        return {
            "objective": self.objective,
            "direction": self.direction,
            "best": self.best.to_dict(),
            "recipe": self.recipe.to_dict() if self.recipe else None,
            "seeds": self.seeds
            and {
                "accuracies": list(self.seeds.accuracies),
                "mean": self.seeds.mean,
                "deviation": self.seeds.deviation,
            },
            "seconds": round(sum(trial.seconds for trial in self.trials), 3),
            "importance": [asdict(found) for found in self.importance()],
            "best_so_far": self.best_so_far(),
            "diagnosis": diagnosis and diagnosis.to_dict(),
            "trials": [trial.to_dict() for trial in self.trials],
        }

    def to_csv(self) -> str:
        """Return the trials as CSV, one a line."""
        return trials_csv(self.trials)

    def __rich_console__(self, console, options):
        """Print the trials, the best first, then what each hyperparameter was worth."""
        from rich.text import Text

        yield _trials_table(self)
        yield Text("")
        yield _importance_table(self.importance())
        yield Text("")
        for line in self._lines():
            yield Text(line)
        diagnosis = self.diagnosis()
        if diagnosis is not None:
            yield Text("\nthe best trial:")
            yield diagnosis

    def __str__(self):
        from rich.console import Console

        console = Console(width=160, highlight=False, color_system=None, file=io.StringIO())
        console.print(self)
        return console.file.getvalue().rstrip()

    def _lines(self):
        yield f"best: {self.best.name}, {self.objective} {self.best.value:.4f}"
        if self.seeds:
            deviation = self.seeds.deviation
            spread = "" if deviation is None else f" ± {deviation:.4f}"
            count = len(self.seeds.accuracies)
            yield f"at full length: val_accuracy {self.seeds.mean:.4f}{spread} over {count} seed(s)"
        yield f"best values: {self.out / 'best.json'}"
        if (self.out / "search.html").exists():
            yield f"report: {self.out / 'search.html'}"


def best_so_far(trials: Sequence[Trial], direction: str) -> list[float | None]:
    """Return after each trial the best value of the completed ones so far, stage by stage.

    Trials of another stage are of another length and begin anew.
    """
    found, values, stage = [], [], None
    for trial in trials:
        if trial.stage != stage:
            stage, values = trial.stage, []
        if trial.state == COMPLETED:
            values.append(trial.value)
        found.append(best_of(values, direction) if values else None)
    return found


def importance(trials: Sequence[Trial], direction: str) -> list[Importance]:
    """Return what each hyperparameter was worth, the most first.

    A hyperparameter's values are put into groups: each choice one, numbers into up to five of like
    size. Its share is the part of the variance of the objective that lies between groups, less
    what chance gives to as many groups; of the ranks of the objective, so that a few very bad
    trials do not decide. An effect that rises and falls again is seen, unlike by a correlation;
    one of two hyperparameters together is not. Trials that were pruned count with their last
    value, those that diverged as the worst. Of trials of several lengths, as Hyperband has them,
    those of the most frequent length count: longer ones are better whatever their values.

    Args:
        trials: Of one stage.
        direction: `"max"` or `"min"`, in which the objective is better.

    Source:
        Kelley, "An unbiased correlation ratio measure", 1935: epsilon squared.
    """
    worst = -np.inf if direction == "max" else np.inf
    judged = [trial for trial in trials if trial.state == DIVERGED or trial.value is not None]
    lengths = [trial.planned_epochs for trial in judged]
    usual = statistics.mode(lengths) if lengths else None
    judged = [trial for trial in judged if trial.planned_epochs == usual]
    names = list(dict.fromkeys(name for trial in judged for name in trial.values))
    objective = np.array(
        [worst if trial.state == DIVERGED else trial.value for trial in judged], np.float64
    )
    found = []
    for name in names:
        # Where a conditional hyperparameter is not active, there is no value.
        has = np.array([name in trial.values for trial in judged])
        values = [trial.values[name] for trial in judged if name in trial.values]
        found.append(_importance_of(name, values, objective[has]))
    return sorted(found, key=lambda one: -1 if one.share is None else one.share, reverse=True)


def _importance_of(name, values, objective):
    numeric = all(isinstance(value, (int, float)) for value in values)
    numeric = numeric and not any(isinstance(value, bool) for value in values)
    groups = _number_groups(values) if numeric else [str(value) for value in values]
    trend = None
    if numeric and len(set(values)) > 1 and len(set(objective)) > 1:
        from scipy import stats

        trend = float(stats.spearmanr(values, objective).statistic)
    return Importance(name, variance_share(groups, objective), trend)


def _number_groups(values):
    """Return a group for each number: itself if there are few, else its quantile."""
    values = np.array(values, np.float64)
    if len(np.unique(values)) <= _GROUPS:
        return values.tolist()
    count = int(np.clip(len(values) // _GROUP_SIZE, 2, _GROUPS))
    edges = np.quantile(values, np.linspace(0, 1, count + 1)[1:-1])
    return np.searchsorted(edges, values, side="right").tolist()


def variance_share(groups: Sequence, values: Sequence[float]) -> float | None:
    """Return the share of the variance of the ranks of values that lies between groups.

    Args:
        groups: Group of each value.
        values: At least two more than there are groups, or nothing is said.

    Returns:
        Epsilon squared, `1 - MS within / MS total`, no less than 0; `None` with too few values.

    Example:
        >>> variance_share(["a", "a", "b", "b"], [1.0, 2.0, 11.0, 12.0])
        0.7
    """
    from scipy import stats

    ranks = stats.rankdata(values)
    names = sorted(set(groups), key=str)
    if len(names) < 2 or len(ranks) < len(names) + 2:
        return 0.0 if len(names) == 1 and len(ranks) > 2 else None
    total = ((ranks - ranks.mean()) ** 2).sum() / (len(ranks) - 1)
    if total == 0:
        return 0.0
    groups = np.array([names.index(group) for group in groups])
    inside = sum(
        ((ranks[groups == group] - ranks[groups == group].mean()) ** 2).sum()
        for group in range(len(names))
    ) / (len(ranks) - len(names))
    return max(0.0, float(1 - inside / total))


def trials_csv(trials: Sequence[Trial]) -> str:
    """Return trials as CSV: stage, number, state, value and costs, then the hyperparameters."""
    names = list(dict.fromkeys(name for trial in trials for name in trial.values))
    facts = ("stage", "number", "state", "value", "epochs", "planned_epochs", "seconds", "reason")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*facts, *names])
    for trial in trials:
        row = [getattr(trial, fact) for fact in facts]
        writer.writerow([*row, *(trial.values.get(name) for name in names)])
    return text.getvalue()


def _trials_table(result):
    """Return a table of the trials, the best of the last stage first."""
    from rich.table import Table
    from rich.text import Text

    trials = result.trials
    names = list(dict.fromkeys(name for trial in trials for name in trial.values))
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column("trial")
    table.add_column("state")
    for name in (result.objective, "epochs", "seconds", *names):
        table.add_column(name, justify="right")
    sign = -1 if result.direction == "max" else 1
    stages = list(dict.fromkeys(trial.stage for trial in trials))

    def order(trial):
        unfinished = trial.state != COMPLETED
        return -stages.index(trial.stage), unfinished, trial.value is None, sign * _value(trial)

    for trial in sorted(trials, key=order):
        cells = (
            trial.name,
            trial.state,
            "–" if trial.value is None else f"{trial.value:.4f}",
            f"{trial.epochs}/{trial.planned_epochs}",
            f"{trial.seconds:.1f}",
            *(_cell(trial.values.get(name, "–")) for name in names),
        )
        table.add_row(*map(Text, cells), style="bold" if trial == result.best else None)
    return table


def _importance_table(found):
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column("hyperparameter")
    table.add_column("importance", justify="right")
    table.add_column("trend", justify="right")
    for one in found:
        share = "–" if one.share is None else f"{100 * one.share:.0f} %"
        table.add_row(one.name, share, "–" if one.trend is None else f"{one.trend:+.2f}")
    return table


def _value(trial):
    return 0.0 if trial.value is None else trial.value


def _cell(value):
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)
