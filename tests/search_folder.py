"""A search as its folder holds it, made up: what its report is drawn from."""

import dataclasses
import json
import math

import numpy as np

from recipes import Recipe
from recipes.files import write_json, write_text
from tuning._search_range_test import RangeTest
from tuning._search_trials import Trial, write_trial
from tuning.search_report import SearchResult, SeedResults
from tuning.spaces import Space

SPACE = {
    "optimizer.learning_rate": "log 0.003..3",
    "optimizer.weight_decay": "log 5e-4..5e-2",
    "training.batch_size": "32, 64, 128",
    "augmentation.label_smoothing": "0, 0.1, 0.2",
    "augmentation.policy": "none, randaugment(n=2, m=9), trivialaugment",
    "schedule.warmup": "0..0.4",
}


def write_search(out, *, trials=26, refined=10, seeds=3, seed=0):
    """Write the folder of a search of a recipe in two stages; return its `SearchResult`."""
    random = np.random.default_rng(seed)
    recipe = Recipe(name="shop-window").override(
        {"optimizer.learning_rate": 0.1, "training.epochs": 30, "schedule.warmup": 0.1}
    )
    space = Space(SPACE)
    test = _range_test(space)
    write_json(out / "range_test.json", dataclasses.asdict(test))
    searched = Space({**space.dimensions, "optimizer.learning_rate": test.searched})
    plan = {"recipe": recipe.to_dict(), "space": space.to_dict(), "epochs_per_trial": 5}
    write_json(out / "search.json", {**plan, "algorithm": "random", "objective": "val_accuracy"})
    write_json(out / "preflight.json", _preflight())
    found = []
    for stage, count, epochs in (("coarse", trials, 5), ("refined", refined, 10)):
        (out / stage).mkdir()
        write_json(out / stage / "stage.json", {"space": searched.to_dict(), "epochs": epochs})
        for number in range(count):
            values = searched.start(recipe) if not number else _draw(searched, random)
            state = {4: "diverged", 9: "failed", 15: "out of memory"}.get(number, "completed")
            if number > 5 and number % 4 == 3:
                state = "pruned"
            one = _trial(stage, number, values, state if stage == "coarse" else "completed", epochs)
            write_trial(out / stage, one)
            _write_run(out / stage / "runs" / f"{number:04d}", recipe, one, random)
            found.append(one)
    last = [one for one in found if one.stage == found[-1].stage and one.state == "completed"]
    best = max(last, key=lambda one: one.value)
    for number in range(seeds):
        run = dataclasses.replace(best, planned_epochs=30, epochs=30)
        _write_run(out / "seeds" / f"seed{number}", recipe, run, random)
    accuracies = tuple(best.value + 0.01 + 0.004 * number for number in range(seeds))
    return SearchResult(
        out=out,
        trials=tuple(found),
        best=best,
        recipe=recipe,
        objective="val_accuracy",
        direction="max",
        seeds=SeedResults(accuracies) if seeds else None,
    )


def write_own_search(out, name="units <script>alert(1)</script> " + "of-no-break-" * 9):
    """Write the folder of a search over somebody's own model; its names are hostile."""
    random = np.random.default_rng(1)
    write_json(out / "search.json", {"model": "<b>build_model</b>", "algorithm": "bayesian"})
    (out / "coarse").mkdir()
    found = []
    for number in range(40):
        values = {name: int(random.choice([8, 16, 32])), "rate": float(10 ** random.uniform(-4, 0))}
        if number % 3:
            values["日本語 & <i>"] = str(random.choice(["a < b", "x" * 60]))
        loss = 1.0 + abs(math.log10(values["rate"]) + 2)
        found.append(Trial("coarse", number, values, "completed", None, loss, 2, 2, 1.0,
                           (loss + 1, loss), loss, values))  # fmt: skip
    best = min(found, key=lambda one: one.value)
    return SearchResult(out, tuple(found), best, None, "val_loss", "min")


def _draw(space, random):
    found = {}
    for name, values in space.dimensions.items():
        if hasattr(values, "values"):
            found[name] = values.values[random.integers(len(values.values))]
        else:
            low, high = (math.log(end) if values.log else end for end in (values.low, values.high))
            drawn = random.uniform(low, high)
            found[name] = math.exp(drawn) if values.log else drawn
    return found


def _trial(stage, number, values, state, epochs):
    rate = abs(math.log10(values["optimizer.learning_rate"]) + 0.5)
    size = values["training.batch_size"]
    value = 0.9 - 0.12 * rate - 0.01 * math.log2(size / 32) - 0.1 * values["schedule.warmup"] ** 2
    value += 0.02 * (epochs == 10)
    trained = {"pruned": 2, "diverged": 1, "failed": 0, "out of memory": 0}.get(state, epochs)
    has_value = state in ("completed", "pruned")
    reasons = {
        "failed": "ConfigError: model.width must be a positive number",
        "out of memory": "OOM when allocating tensor with shape[512,64,224,224]",
        "diverged": "loss was not finite in epoch 1",
    }
    value = value * trained / epochs if state == "pruned" else value
    curve = tuple(value * (1 - 0.4 / (epoch + 1)) for epoch in range(trained))
    return Trial(
        stage=stage,
        number=number,
        values=values,
        state=state,
        reason=reasons.get(state),
        value=value if has_value else None,
        epochs=trained,
        planned_epochs=epochs,
        seconds=round((4 + trained * 300 / size**0.5) / 10, 2),
        curve=curve if has_value else (),
        reported=value if has_value else 0.1,
        hyperparameters=values,
    )


def _write_run(folder, recipe, trial, random):
    if not trial.epochs:
        return
    folder.mkdir(parents=True)
    write_json(folder / "recipe.json", recipe.to_dict())
    counts = {"train": [480] * 10, "validation": [120] * 10, "test": [0] * 10}
    write_json(folder / "data.json", {"counts": counts, "class_names": list("abcdefghij")})
    lines = []
    value = trial.value or 0.1
    for epoch in range(1, trial.epochs + 1):
        share = epoch / trial.epochs
        rising = 0.3 * max(0.0, share - 0.5) if trial.planned_epochs == 30 else 0.0
        noise = random.normal(0, 0.004)
        lines.append(
            {
                "epoch": epoch,
                "loss": 2.0 * math.exp(-2.2 * share) + noise,
                "accuracy": min(1.0, value * (0.55 + 0.5 * share) + noise),
                "val_loss": 2.2 * math.exp(-1.6 * share) + 1.6 * rising + noise,
                "val_accuracy": value * (0.7 + 0.3 * share) + noise,
                "val_ece": 0.05 + 0.05 * share,
                "learning_rate": 0.1 * (1 - share),
                "seconds": 30 / trial.values["training.batch_size"] ** 0.5,
            }
        )
    write_text(folder / "history.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def _range_test(space):
    rates = np.geomspace(1e-4, 30, 100)
    powers = np.log10(rates)
    curve = 2.3 - 1.5 / (1 + np.exp(-3 * (powers + 1.2))) + 0.002 * np.exp(5.2 * (powers - 0.1))
    noise = np.random.default_rng(0).normal(0, 0.08, 100)
    return RangeTest(
        rates=tuple(rates.tolist()[:92]),
        losses=tuple((curve + noise).tolist()[:92]),
        smoothed=tuple(curve.tolist()[:92]),
        suggestions={"minimum/10": 0.05, "steepest": 0.06, "valley": 0.04, "slide": 0.9},
        limit=1.9,
        given=str(space.dimensions["optimizer.learning_rate"]),
        searched="log 0.003..1.9",
        seconds=8.2,
    )


def _preflight():
    finding = {
        "name": "imbalance",
        "severity": "note",
        "message": "class 'a' has 12 times the images of class 'b'",
        "advice": "weigh the classes",
    }
    figures = {"initial_loss": 2.37, "log_classes": 2.303, "overfit_loss": 0.51,
               "overfit_floor": 0.5}  # fmt: skip
    checks = ["images", "labels", "initial_loss", "gradients", "overfit"]
    return {"findings": [finding], "figures": figures, "checks": checks, "skipped": {}}
