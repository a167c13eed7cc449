"""The tables of a search's report as rows of text, which the page and the Markdown share."""

from collections.abc import Iterator
from typing import Any

from tuning._search_dimensions import Range
from tuning._search_trials import COMPLETED, PRUNED, Trial
from tuning.search_report import Importance
from tuning.search_view import SearchView
from tuning.search_wording import show, text_of

IMPORTANCE_NOTE = (
    "Importance: the share of the variance of the trials' ranks that lies between groups of like "
    "values of the field, less what chance gives; of the first stage, and there of the trials of "
    "the most frequent length. Fields that matter only together are not seen. With few trials it "
    "is a rough guide."
)
BATCH_HEADER = (
    "Batch size", "Trials", "Seconds a trial", "Seconds an epoch", "Best", "Median",
)  # fmt: skip
BATCH_NOTE = (
    "Completed trials of the winner's stage; medians. An epoch is one after the first, in which "
    "the network is compiled. Other fields differ between trials too: this says what a size costs, "
    "and only roughly what it gains."
)
SEED_HEADER = ("Seed", "Validation accuracy", "Epochs", "Seconds")


def what_was_searched(view: SearchView) -> str:
    """Return a line: how it was searched, for what, and by which images."""
    plan, result = view.plan, view.result
    better = "highest" if result.direction == "max" else "lowest"
    words = [f"{plan.get('algorithm', 'search')} search for the {better} {result.objective}"]
    images = view.validation_images
    if images:
        words.append(f"judged on {images:,} validation images")
    words.append("test images were not looked at" if plan.get("recipe") else None)
    return " · ".join(word for word in words if word).capitalize()


def winner_rows(view: SearchView) -> Iterator[list[str]]:
    """Yield a row for each field of the winner."""
    given, searched = view.plan.get("space") or {}, view.spaces.get(view.stages[0])
    has_own = bool(view.plan.get("recipe"))
    for name, value in view.result.best.values.items():
        row = [name, text_of(value)]
        if has_own:
            row.append(text_of(view.own_value(name)))
            row.append(_as_text(given.get(name), searched, name))
        yield row


def _as_text(given, searched, name):
    values = searched.dimensions.get(name) if searched else None
    text = ", ".join(map(text_of, given)) if isinstance(given, list) else str(given)
    if values is not None and isinstance(values, Range) and str(values) != text:
        return f"{values} of {text}"
    return text


def winner_header(view: SearchView) -> tuple[str, ...]:
    """Return the heads of `winner_rows`."""
    return ("Field", "Winner", *(("Recipe", "Searched") if view.plan.get("recipe") else ()))


def importance_rows(view: SearchView) -> Iterator[tuple[Importance, str]]:
    """Yield what each field was worth, and its values in the best quarter of the first stage."""
    ranked = sorted(
        (trial for trial in view.of_stage(view.stages[0]) if trial.state == COMPLETED),
        key=lambda trial: trial.value,
        reverse=view.result.direction == "max",
    )
    good = ranked[: max(3, len(ranked) // 4)]
    for one in view.result.importance():
        values = [trial.values[one.name] for trial in good if one.name in trial.values]
        yield one, _spread_of(values)


def _spread_of(values):
    """Return where some values lie: from the lowest to the highest, or which they are."""
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    different = sorted(set(values)) if numbers else sorted(set(map(text_of, values)))
    if numbers and len(different) > 3:
        return f"{text_of(different[0])} to {text_of(different[-1])}"
    return ", ".join(map(text_of, different)) or "–"


def trend_words(one: Importance, direction: str) -> str:
    """Return whether higher or lower values of a field were better."""
    if one.trend is None or abs(one.trend) < 0.2:
        return "–"
    return "higher" if (one.trend > 0) == (direction == "max") else "lower"


def batch_rows(view: SearchView) -> Iterator[tuple[str, ...]]:
    """Yield a row for each batch size, under `BATCH_HEADER`."""
    for cost in view.batch_costs:
        yield (
            str(cost.size),
            str(cost.trials),
            f"{cost.seconds:.1f}",
            "–" if cost.epoch_seconds is None else f"{cost.epoch_seconds:.2f}",
            show(view.result.objective, cost.best),
            show(view.result.objective, cost.median),
        )


def finding_title(name: str) -> str:
    """Return the name of a finding of `diagnose` as a title."""
    words = {"overfit": "over-fit", "underfit": "under-fit"}
    return words.get(name, name.replace("_", " ")).capitalize()


def sentence(words: str) -> str:
    """Return words as a sentence: with a capital and a full stop."""
    return f"{words[:1].upper()}{words[1:]}."


def seed_rows(view: SearchView) -> Iterator[tuple[str, ...]]:
    """Yield a row for each training of the winner, and their mean, under `SEED_HEADER`."""
    seeds = view.result.seeds
    for number, (accuracy, run) in enumerate(zip(seeds.accuracies, view.seeds, strict=True)):
        seconds = [epoch.get("seconds") for epoch in run.epochs]
        known = seconds and None not in seconds
        yield (str(number), f"{100 * accuracy:.2f}%", str(len(run.epochs)),
               f"{sum(seconds):.0f}" if known else "–")  # fmt: skip
    spread = "" if seeds.deviation is None else f" ± {100 * seeds.deviation:.2f}"
    yield "mean ± s.d." if spread else "mean", f"{100 * seeds.mean:.2f}{spread}%", "", ""


def before_rows(view: SearchView) -> Iterator[tuple[str, str]]:
    """Yield what the preflight measured and checked; nothing if there was none."""
    found = view.preflight
    if not found:
        return
    figures = found.get("figures", {})
    for name, key in (
        ("First loss", "initial_loss"),
        ("Loss of guessing, log C", "log_classes"),
        ("One batch, fitted to", "overfit_loss"),
        ("Lowest possible", "overfit_floor"),
    ):
        if figures.get(key) is not None:
            yield name, f"{figures[key]:.3g}"
    yield "Checks", ", ".join(name.replace("_", " ") for name in found.get("checks", ()))


def trial_header(view: SearchView) -> tuple[list[str], list[str]]:
    """Return the heads of `trial_row`, and the names of the fields among them."""
    names = list(dict.fromkeys(name for trial in view.result.trials for name in trial.values))
    return ["Trial", "State", view.result.objective, "Epochs", "Seconds", *names], names


def ordered_trials(view: SearchView) -> list[Trial]:
    """Return the trials, the last stage first, in it the best first, then those without an end."""
    sign = -1 if view.result.direction == "max" else 1
    stages = view.stages

    def order(trial):
        value = trial.value
        ended = {COMPLETED: 0, PRUNED: 1}.get(trial.state, 2)
        return -stages.index(trial.stage), ended, 0.0 if value is None else sign * value

    return sorted(view.result.trials, key=order)


def trial_row(trial: Trial, names: list[str], objective: str) -> list[Any]:
    """Return the row of a trial, with its values of the fields of these names."""
    return [
        trial.name,
        trial.state,
        show(objective, trial.value),
        f"{trial.epochs} of {trial.planned_epochs}",
        f"{trial.seconds:.1f}",
        *(text_of(trial.values[name]) if name in trial.values else "–" for name in names),
    ]
