"""What the report of a search shows, gathered from its result and its folder."""

import dataclasses
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipes.errors import ConfigError, RecipesError
from recipes.files import read_json
from tuning._search_dimensions import Choices, Range
from tuning._search_range_test import FIELD as RATE
from tuning._search_range_test import RangeTest
from tuning._search_trials import (
    COMPLETED,
    DIVERGED,
    FAILED,
    OUT_OF_MEMORY,
    PRUNED,
    Trial,
    ranked_trials,
)
from tuning.search_report import SearchResult
from tuning.spaces import Space

LEADERS = 4
# The best value within this part of a range's length from an end calls for a wider one.
EDGE = 0.03
# Trials below this part of the full length favour what learns fast.
SHORT = 0.5
BATCH_SIZE = "batch_size"


@dataclasses.dataclass(frozen=True)
class Curve:
    """The epochs of one training, with what they show.

    Attributes:
        label: Such as `"coarse 3"` or `"seed 0"`.
        epochs: What history.jsonl holds of each, or only the objective.
        findings: `name`, `severity`, `message`, `advice` of each finding, the worst first.
        note: Why there are no findings, or `None`.
    """

    label: str
    epochs: tuple[dict[str, Any], ...]
    findings: tuple[dict[str, str], ...]
    note: str | None


@dataclasses.dataclass(frozen=True)
class BatchCost:
    """What one batch size costs and gives, over the completed trials of one stage.

    Attributes:
        size: Images a step.
        trials: Completed trials with it.
        seconds: Median of a trial.
        epoch_seconds: Median of an epoch after the first, which compiles; `None` if not known.
        best: The best objective.
        median: The median one.
    """

    size: int
    trials: int
    seconds: float
    epoch_seconds: float | None
    best: float
    median: float


@dataclasses.dataclass(frozen=True)
class SearchView:
    """What the report of a search shows.

    Attributes:
        result: Of the search, perhaps of its first stage alone.
        plan: What was searched: search.json.
        spaces: The space of each stage, `None` of a model of the user's own.
        range_test: Or `None`.
        preflight: preflight.json, or `None`.
        validation_images: Number of them, or `None`.
        leaders: The best few trials of the last stage.
        seeds: The winner's trainings at full length.
        batch_costs: By size; empty where it was not varied.
    """

    result: SearchResult
    plan: dict[str, Any]
    spaces: dict[str, Space | None]
    range_test: RangeTest | None
    preflight: dict[str, Any] | None
    validation_images: int | None
    leaders: tuple[Curve, ...]
    seeds: tuple[Curve, ...]
    batch_costs: tuple[BatchCost, ...]

    @property
    def name(self) -> str:
        """Of the recipe, or of the model."""
        recipe = self.plan.get("recipe")
        return recipe["name"] if recipe else self.plan.get("model", "a model")

    @property
    def stages(self) -> list[str]:
        """Names, in order."""
        return list(dict.fromkeys(trial.stage for trial in self.result.trials))

    def of_stage(self, stage: str) -> list[Trial]:
        """Return the trials of a stage."""
        return [trial for trial in self.result.trials if trial.stage == stage]

    def best_of(self, stage: str) -> Trial | None:
        """Return the best completed trial of a stage, or `None`."""
        return next(iter(ranked_trials(self.of_stage(stage), self.result.direction)), None)

    def own_value(self, field: str) -> Any:
        """Return what the recipe had in a field; `None` for a model of the user's own."""
        from recipes.config import Recipe
        from tuning._search_fields import own_value

        if not self.plan.get("recipe"):
            return None
        return own_value(Recipe.from_dict(self.plan["recipe"]), field)


def read_view(result: SearchResult) -> SearchView:
    """Gather what there is; what is missing or broken is left out.

    Args:
        result: Of the search in its `out`.
    """
    out = result.out
    plan = _read(out / "search.json") or {}
    stages = list(dict.fromkeys(trial.stage for trial in result.trials))
    epochs = {
        trial.name: _history(_run_folder(out, trial)) for trial in result.trials if trial.epochs
    }
    data = _read(_run_folder(out, result.trials[0]) / "data.json") or {}
    counts = (data.get("counts") or {}).get("validation")
    return SearchView(
        result=result,
        plan=plan,
        spaces={stage: _space(out / stage) for stage in stages},
        range_test=_range_test(out),
        preflight=_read(out / "preflight.json"),
        validation_images=sum(counts) if counts else None,
        leaders=tuple(_leader(result, trial, epochs) for trial in _leaders(result)),
        seeds=tuple(
            _curve(f"seed {number}", out / "seeds" / f"seed{number}", ())
            for number in range(len(result.seeds.accuracies) if result.seeds else 0)
        ),
        batch_costs=tuple(_batch_costs(result, epochs)),
    )


def _read(path: Path):
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None


def _range_test(out):
    try:
        return RangeTest.read(out)
    except RecipesError:
        return None


def _space(directory):
    facts = _read(directory / "stage.json") or {}
    try:
        return Space.from_dict(facts["space"]) if facts.get("space") else None
    except ConfigError:
        return None


def _run_folder(out, trial):
    return out / trial.stage / "runs" / f"{trial.number:04d}"


def _history(folder):
    try:
        text = (folder / "history.jsonl").read_text(encoding="utf-8")
        return tuple(json.loads(line) for line in text.splitlines())
    except (OSError, ValueError):
        return ()


def _leaders(result):
    same = [trial for trial in result.trials if trial.stage == result.best.stage]
    return ranked_trials(same, result.direction)[:LEADERS]


def _leader(result, trial, epochs):
    known = epochs.get(trial.name) or tuple(
        {"epoch": epoch, result.objective: value} for epoch, value in enumerate(trial.curve, 1)
    )
    return _curve(trial.name, _run_folder(result.out, trial), known)


def _curve(label, folder, epochs):
    epochs = _history(folder) or epochs
    try:
        from recipes.diagnosis.diagnose import diagnose

        found = diagnose(folder)
    except (ValueError, TypeError, KeyError, AttributeError, OSError):
        return Curve(label, epochs, (), "the curves of a model of your own are not kept")
    rows = tuple(
        {key: getattr(one, key) for key in ("name", "severity", "message", "advice")}
        for one in found.findings
    )
    note = None
    if not rows:
        note = f"nothing found: {', '.join(name.replace('_', ' ') for name in found.checks)}"
        if "overfit" in found.skipped:
            note = f"not diverged; {found.skipped['overfit']} show no more"
    return Curve(label, epochs, rows, note)


def _batch_costs(result, epochs):
    """Yield what each batch size cost, in the stage of the best trial."""
    name = next(
        (name for name in result.best.values if name.rpartition(".")[2] == BATCH_SIZE), None
    )
    done = [
        trial
        for trial in result.trials
        if trial.stage == result.best.stage and trial.state == COMPLETED
    ]
    sizes = sorted({trial.values[name] for trial in done if name in trial.values}) if name else []
    if len(sizes) < 2:
        return
    best_of = max if result.direction == "max" else min
    for size in sizes:
        trials = [trial for trial in done if trial.values.get(name) == size]
        later = [
            epoch["seconds"]
            for trial in trials
            for epoch in epochs.get(trial.name, ())[1:]
            if epoch.get("seconds") is not None
        ]
        values = [trial.value for trial in trials]
        yield BatchCost(
            size=size,
            trials=len(trials),
            seconds=statistics.median(trial.seconds for trial in trials),
            epoch_seconds=statistics.median(later) if later else None,
            best=best_of(values),
            median=statistics.median(values),
        )


# --- sentences ------------------------------------------------------------------------------------


def verdicts(view: SearchView) -> list[tuple[str, str]]:
    """Return what the search says, a sentence each, with its kind: `good`, `warn` or `info`."""
    found = []
    for rule in (_gain, _seeds, _edges, _lost, _batch_size, _range, _ended_early, _short):
        found += rule(view)
    return found


def show(objective: str, value: float | None, *, signed: bool = False) -> str:
    """Return a value of an objective as people read it: an accuracy in percent.

    Example:
        >>> show("val_accuracy", 0.8512), show("val_loss", 0.43219), show("val_loss", None)
        ('85.1%', '0.4322', '–')
        >>> show("val_accuracy", -0.0123, signed=True)
        '−1.2 points'
    """
    if value is None:
        return "–"
    if "accuracy" in objective:
        words = f"{100 * value:+.1f} points" if signed else f"{100 * value:.1f}%"
    else:
        words = f"{value:+.4f}" if signed else f"{value:.4f}"
    return words.replace("-", "−")


def _gain(view):
    """Compare the best of the first stage with the recipe as it is, its first trial."""
    result, trials = view.result, view.of_stage(view.stages[0])
    first, ranked = trials[0], ranked_trials(trials, view.result.direction)
    own = {name: view.own_value(name) for name in first.values}
    if not view.plan.get("recipe") or first.state != COMPLETED or first.values != own:
        return []
    best = ranked[0]
    if best == first:
        return [("info", f"None of {len(trials)} trials was better than the recipe as it is.")]
    words = (
        f"After {first.planned_epochs} epochs the best trial is at "
        f"{show(result.objective, best.value)}, the recipe as it is at "
        f"{show(result.objective, first.value)} "
        f"({show(result.objective, best.value - first.value, signed=True)})."
    )
    images = view.validation_images
    if result.objective == "val_accuracy" and images:
        share = min(max(best.value, 1 / images), 1 - 1 / images)
        error = math.sqrt(2 * share * (1 - share) / images)
        words += (
            f" Of {images:,} validation images, chance alone moves such a difference by up to "
            f"about {200 * error:.1f} points, and the best of many is flattered: believe it when "
            "the winner was trained over seeds."
        )
    return [("good", words)]


def _sign(result):
    return 1 if result.direction == "max" else -1


def _seeds(view):
    seeds = view.result.seeds
    if not seeds:
        return []
    spread = "" if seeds.deviation is None else f" ± {100 * seeds.deviation:.2f}"
    count = len(seeds.accuracies)
    return [
        (
            "good",
            f"Trained at full length with {count} seed{'s' * (count > 1)}, the winner reaches "
            f"{100 * seeds.mean:.2f}{spread}% of the validation images.",
        )
    ]


def _edges(view):
    """Say where the best value lies at an end of what was searched."""
    space = view.spaces.get(view.stages[0])
    given = view.plan.get("space") or {}
    found = []
    for name, values in (space.dimensions if space else {}).items():
        best = view.result.best.values.get(name)
        if not isinstance(values, Range) or best is None:
            continue
        place = Axis.of_range(name, values).place(best)
        if EDGE < place < 1 - EDGE or (place >= 1 - EDGE and _ended_by_test(view, name)):
            continue
        if place <= EDGE and values.low == 0:
            continue
        end = "lower" if place <= EDGE else "upper"
        found.append(
            (
                "warn",
                f"{name}: the best value, {text_of(best)}, lies at the {end} end of "
                f"{given.get(name, values)}. A wider range may hold a better one.",
            )
        )
    return found


def _ended_by_test(view, name):
    test = view.range_test
    return name == RATE and test is not None and test.searched != test.given


def _lost(view):
    """Say which trials gave nothing."""
    found, trials = [], view.result.trials
    diverged = [trial for trial in trials if trial.state == DIVERGED]
    if diverged:
        words = f"{len(diverged)} of {len(trials)} trials diverged"
        rates = [trial.values[RATE] for trial in diverged if RATE in trial.values]
        if rates:
            words += f", the lowest learning rate among them {text_of(min(rates))}"
        found.append(
            ("warn", f"{words}. End the range lower, clip the gradient (optimizer.clip_norm) or "
             "warm up for longer (schedule.warmup).")
        )  # fmt: skip
    for state, words in ((FAILED, "failed"), (OUT_OF_MEMORY, "ran out of memory")):
        lost = [trial for trial in trials if trial.state == state]
        if lost:
            found.append(("warn", f"{len(lost)} of {len(trials)} trials {words}, the first by: "
                          f"{lost[0].reason}"))  # fmt: skip
    return found


def _batch_size(view):
    costs = view.batch_costs
    if not costs:
        return []
    by_epoch = all(cost.epoch_seconds is not None for cost in costs)
    unit = "an epoch" if by_epoch else "a trial"

    def key(cost):
        return cost.epoch_seconds if by_epoch else cost.seconds

    fastest = min(costs, key=key)
    best = max(costs, key=lambda cost: _sign(view.result) * cost.best)
    if best == fastest:
        return [("info", f"Batch size {best.size} is both the fastest and the best.")]
    gain = show(view.result.objective, best.best - fastest.best, signed=True)
    words = (
        f"Batch size {best.size} gave the best trial: {gain} over the best of batch size "
        f"{fastest.size}, the fastest, at {key(best) / key(fastest):.2f} times its seconds {unit}."
    )
    return [("info", words)]


def _range(view):
    test = view.range_test
    if test is None:
        return []
    if test.problem:
        return [("info", f"The range test of the learning rate gave nothing: {test.problem}.")]
    if test.searched != test.given:
        return [
            (
                "info",
                f"In the range test the network was worse than untrained from a learning rate of "
                f"{text_of(test.limit)} on: {test.searched} was searched in place of {test.given}.",
            )
        ]
    return []


def _ended_early(view):
    trials = view.result.trials
    pruned = [trial for trial in trials if trial.state == PRUNED]
    if not pruned:
        return []
    saved = sum(trial.planned_epochs - trial.epochs for trial in pruned)
    planned = sum(trial.planned_epochs for trial in trials)
    return [
        (
            "info",
            f"{len(pruned)} of {len(trials)} trials were behind the median of the others and ended "
            f"early, which saved {saved} of {planned} epochs.",
        )
    ]


def _short(view):
    recipe = view.plan.get("recipe")
    varied = [
        name
        for name in view.result.best.values
        if name.startswith("augmentation.")
        or name in ("optimizer.weight_decay", "model.dropout", "training.ema")
    ]
    length = view.result.best.planned_epochs
    if not recipe or not varied or length >= SHORT * recipe["training"]["epochs"]:
        return []
    return [
        (
            "info",
            f"Trials of {length} epochs favour what learns fast: for the "
            f"{recipe['training']['epochs']} epochs of the recipe, expect more augmentation, decay "
            f"or averaging to be better than these trials say ({', '.join(varied)}).",
        )
    ]


# --- axes -----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Axis:
    """One hyperparameter as an axis from 0 to 1.

    Attributes:
        name: Of the hyperparameter.
        low: Value at 0, where there are numbers.
        high: Value at 1.
        log: Whether the scale is logarithmic.
        choices: Values of an axis of places, else empty.
    """

    name: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    choices: tuple = ()

    @classmethod
    def of_range(cls, name: str, values: Range) -> "Axis":
        """Return the axis of a range."""
        return cls(name, values.low, values.high, values.log)

    def place(self, value: Any) -> float | None:
        """Return where a value lies, or `None` if it has no place."""
        if self.choices:
            texts = list(map(text_of, self.choices))
            if text_of(value) not in texts:
                return None
            return texts.index(text_of(value)) / (len(texts) - 1) if len(texts) > 1 else 0.5
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        low, high, value = (
            map(math.log, (self.low, self.high, max(value, 1e-300)))
            if self.log
            else (self.low, self.high, value)
        )
        return min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        """Return the places and texts of marks."""
        if self.choices:
            return [(self.place(value), text_of(value)) for value in self.choices]
        if self.log:
            return [
                (self.place(value), text_of(value)) for value in _log_ticks(self.low, self.high)
            ]
        from recipes.evaluation.plots import nice_ticks

        ticks = [tick for tick in nice_ticks(self.low, self.high) if self.low <= tick <= self.high]
        if len(ticks) < 2:
            ticks = [self.low, self.high]
        return [(self.place(tick), text_of(tick)) for tick in ticks]


def _log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten inside a range, or 1, 2 and 5 times these where they are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        ticks = [
            factor * 10.0**power
            for power in powers
            for factor in factors
            if low * 0.999 <= factor * 10.0**power <= high * 1.001
        ]
        if len(ticks) >= 3:
            return ticks
    return ticks if len(ticks) >= 2 else [low, high]


def axes(trials: Sequence[Trial], space: Space | None) -> list[Axis]:
    """Return an axis for each hyperparameter of some trials.

    Args:
        trials: Of one stage.
        space: Which says the scale; without it numbers over a factor of 50 are taken for
            logarithmic.
    """
    found = []
    for name in dict.fromkeys(name for trial in trials for name in trial.values):
        declared = space.dimensions.get(name) if space else None
        if isinstance(declared, Range):
            found.append(Axis.of_range(name, declared))
            continue
        values = [trial.values[name] for trial in trials if name in trial.values]
        if isinstance(declared, Choices):
            values = list(declared.values)
        found.append(_axis_of_values(name, values, bool(declared)))
    return found


def _axis_of_values(name, values, declared):
    different = list(dict.fromkeys(values))
    numbers = all(
        isinstance(value, (int, float)) and not isinstance(value, bool) for value in different
    )
    if numbers:
        different.sort()
    if declared or not numbers or len(different) <= 6:
        return Axis(name, choices=tuple(different))
    low, high = different[0], different[-1]
    return Axis(name, low, high, log=low > 0 and high / low > 50)


def text_of(value: Any) -> str:
    """Return a value as it is written in a report.

    Example:
        >>> text_of(0.00031622), text_of(1e-05), text_of(None), text_of(3.0)
        ('0.000316', '1e-5', 'none', '3')
    """
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    return str(value)
