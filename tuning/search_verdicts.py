"""What a search says, in sentences: its gain, its limits, and what went wrong."""

import math

from tuning._search_dimensions import Range
from tuning._search_range_test import FIELD as RATE
from tuning._search_trials import (
    COMPLETED,
    DIVERGED,
    FAILED,
    OUT_OF_MEMORY,
    PRUNED,
)
from tuning.search_axes import Axis
from tuning.search_view import SearchView
from tuning.search_wording import show, text_of

# The best value within this part of a range's length from an end calls for a wider one.
EDGE = 0.03
# Trials below this part of the full length favour what learns fast.
SHORT = 0.5


def verdicts(view: SearchView) -> list[tuple[str, str]]:
    """Return what the search says, a sentence each, with its kind: `good`, `warn` or `info`."""
    found = []
    for rule in (_gain, _seeds, _edges, _lost, _batch_size, _range, _ended_early, _short):
        found += rule(view)
    return found


def _gain(view):
    """Compare the best of the first stage with the recipe as it is, over as many epochs."""
    result, best = view.result, view.best_of(view.stages[0])
    if best is None or not view.plan.get("recipe"):
        return []
    trials = [
        trial for trial in view.of_stage(best.stage) if trial.planned_epochs == best.planned_epochs
    ]
    own = {name: view.own_value(name) for name in best.values}
    same = [trial for trial in trials if trial.state == COMPLETED and trial.values == own]
    if not same:
        return []
    if best in same:
        return [("info", f"None of {len(trials)} trials was better than the recipe as it is.")]
    first = same[0]
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
