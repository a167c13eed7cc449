"""What the report of a search shows, gathered from its result and its folder."""

import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any

from recipes.errors import ConfigError, RecipesError
from recipes.files import read_json
from tuning._search_range_test import RangeTest
from tuning._search_trials import COMPLETED, Trial, ranked_trials
from tuning.search_report import SearchResult
from tuning.spaces import Space

LEADERS = 4
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
