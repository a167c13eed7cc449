"""Search over the fields of a recipe, or over a user's own model, with KerasTuner's algorithms."""

import contextlib
import dataclasses
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from recipes.data.problems import say_problems
from recipes.errors import ConfigError, RunError
from recipes.files import write_json, write_text
from recipes.run import refuse_among_images
from tuning._search_checks import check_arguments, check_workers, direction_of, open_folder
from tuning._search_cluster import Cluster, cluster_from_environment
from tuning._search_job import Job, check_subject
from tuning._search_range_test import range_tested
from tuning._search_subjects import subject_of
from tuning._search_trials import Trial, ranked_trials, read_trials
from tuning._search_tuner import load_keras_tuner
from tuning.search_page import write_search_report
from tuning.search_report import SearchResult, SeedResults, trials_csv

if TYPE_CHECKING:
    import keras_tuner

    from recipes.config import Recipe
    from recipes.data import ImageData
    from tuning.spaces import Space

FORMAT_VERSION = 1
# Of the trials, or of the time, the refined search gets this part.
_REFINED_SHARE = 1 / 3
# The refined search looks where the best of the trials were.
_GOOD_SHARE = 1 / 4


def search(
    recipe: "Recipe | str | keras_tuner.HyperModel | Callable",
    data: "ImageData | str | tuple",
    space: "Space | dict | str | os.PathLike | None" = None,
    *,
    out: str | os.PathLike,
    algorithm: str = "random",
    trials: int | None = None,
    budget_minutes: float | None = None,
    epochs_per_trial: int | None = None,
    objective: str = "val_accuracy",
    prune: bool = True,
    refine: bool = False,
    seeds: int = 0,
    preflight: bool = True,
    range_test: bool = True,
    seed: int = 0,
    workers: int = 1,
    recycle: int | None = None,
    say: Callable[[str], None] | None = None,
    progress: bool = False,
) -> SearchResult:
    """Look for better values of a recipe's fields: short trainings, judged on validation images.

    The way of a good practitioner: the recipe is checked before anything is searched
    (`preflight`: the first loss, gradients, whether it can fit one batch), and which learning
    rates it can be trained with (`range_test`); many short trainings find the region (a whole
    schedule each, over fewer epochs); with `refine`, fewer of twice the length look closer where
    the best quarter was; with `seeds`, the winner is trained at full length several times. The
    first trial is the recipe as it is, if the space holds it. Test images are never looked at.

    A trial that diverges, runs out of memory or fails is recorded, and the search goes on; one that
    the median of the others leaves behind is ended (`prune`; not under `"hyperband"`, which does
    that itself). Images are read once. Everything is written to `out` as it goes; called again with
    the same arguments after a kill at any moment, the search goes on: no finished trial is lost or
    run again, and the trial that was killed goes on after its last epoch. Given more `trials` or
    time, a finished search goes on too, with `refine` where it looks closer.

    With `workers`, so many processes run trials, and this one is KerasTuner's chief: it decides
    what is tried, and starts a worker that ended anew. One that is killed loses its trial only,
    which is run again; one that kills its worker three times is recorded as failed. The cores are
    shared among them. Images are read once: their arrays are mapped by all, though TensorFlow makes
    a tensor in each of what is smaller than half a gigabyte. What is tried and what is pruned may
    depend on which trial ends first; the files are those of one process, and a search may go on
    with more workers or fewer. No worker outlives this process.

    Over machines that see the same folder, call this with the same arguments on each, with
    KerasTuner's variables in the environment, `KERASTUNER_ORACLE_IP` and `KERASTUNER_ORACLE_PORT`
    of the chief, and `KERASTUNER_TUNER_ID` `chief` on one and another name on each other. A worker
    that is started again under its name gets its trial again; the trial of one that is silent for
    three minutes is left to the others. `docs/scale.md` has the commands.

    TensorFlow keeps the graph of every network that was trained in a process, some megabytes for
    a small one: `recycle` bounds that.

    Args:
        recipe: A `Recipe`, the name of one in the catalogue, or a model of your own: a
            `keras_tuner.HyperModel` or a function `build_model(hp)` that returns a compiled model,
            which is trained with plain `fit`.
        data: From `load_data`, or a source that it takes. For your own model also `(train,
            validation)`, each a `tf.data.Dataset` or `(images, labels)`.
        space: A `Space`, a mapping as it takes, or the path of a space file; `None` for
            `default_space(recipe)`. For your own model `None`: it declares its own.
        out: Folder: new, or that of the same search.
        algorithm: `"random"`, `"bayesian"`, `"hyperband"` or `"grid"`. Under Hyperband a trial
            that is promoted is trained from the start, so that its schedule fits its length.
        trials: At most, in all; needed for `"random"` and `"bayesian"` without `budget_minutes`.
        budget_minutes: Begin no trial after so many minutes of trials; one trial is always run.
        epochs_per_trial: Length of a trial; of the longest under `"hyperband"`. Default: a quarter
            of the recipe's epochs, rounded up; for your own model it has to be given.
        objective: For a recipe `"val_accuracy"`, `"val_loss"` or `"val_ece"`; for your own model
            what `fit` reports under a name that tells whether it grows.
        prune: Whether to end hopeless trials by the median rule.
        refine: Whether a third of the trials, or time, and what the first search leaves of the
            rest, goes into a second one, of twice the epochs.
        seeds: Trainings of the winner at full length, with seeds 0, 1 and so on.
        preflight: Whether to check the recipe first, and refuse it if that finds errors.
        range_test: Whether to raise the learning rate step by step first, if the space varies it.
            A range that begins well and ends where the network gets worse than untrained is then
            searched up to there; that is said, and in `range_test.json`.
        seed: Of the algorithm. All trials of a recipe have its own `training.seed`.
        workers: Processes that run trials; 1: this one does, unless `recycle` is given. They share
            `budget_minutes`. A model of your own then has to be from a module that can be imported,
            and its data images or arrays.
        recycle: Trials that a process runs before a fresh one takes its place; `None`: all.
        say: Receives a line about each trial; default: standard error.
        progress: Whether to show the epochs of each trial.

    Returns:
        A `SearchResult`; it prints as a table. `best.json` in `out` is a recipe for
        `recipes train`, of the length of the recipe that was given; `search.html` and `search.md`
        are the report, written anew after each stage.

    Raises:
        ConfigError: If an argument or the space is wrong, or no trial was completed.
        DataError: If the images cannot be used.
        RunError: If `out` cannot be written, lies among the images, or holds another search or
            something else, three trials in a row failed, or workers and chief do not find each
            other or search for different things.
        PreflightError: If the preflight finds errors.

    Example:
        >>> found = search("fashion-mini", "fashion-mini", {        # doctest: +SKIP
        ...     "optimizer.learning_rate": "log 1e-3..1",
        ...     "model.width": [16, 32, 64]}, trials=24, out="runs/search")
        >>> found.recipe.optimizer.learning_rate                     # doctest: +SKIP
        0.21
    """
    say = say or _say_to_stderr
    subject = subject_of(recipe, space, epochs_per_trial)
    check_arguments(subject, algorithm, trials, budget_minutes, objective, refine, seeds)
    cluster = cluster_from_environment()
    check_workers(workers, recycle, cluster)
    load_keras_tuner()
    direction = direction_of(objective)
    refuse_among_images(out, data)
    subject.load(data)
    if subject.images is not None:
        say_problems(subject.images, say)
    out = Path(out)
    plan = subject.to_dict() | {
        "format_version": FORMAT_VERSION,
        "algorithm": algorithm,
        "objective": objective,
        "prune": prune,
        "range_test": range_test,
        "seed": seed,
    }
    # Hyperband ends trials itself.
    prune = prune and algorithm != "hyperband"
    job = Job(subject, out, plan, objective, direction, prune, progress)
    if cluster and not cluster.is_chief:
        from tuning._search_worker import work

        work(job, cluster, say)
        return _recorded(subject, out, objective, direction)
    try:
        with _chief(job, workers, recycle, cluster, say) as chief:
            return _searched(
                job,
                chief,
                say,
                algorithm=algorithm,
                trials=trials,
                budget_minutes=budget_minutes,
                refine=refine,
                seeds=seeds,
                preflight=preflight,
                seed=seed,
            )
    except OSError as error:
        raise RunError(f"cannot write to {out}: {error.strerror or error}") from error


def _searched(
    job, chief, say, *, algorithm, trials, budget_minutes, refine, seeds, preflight, seed
) -> SearchResult:
    """Search in this process, or as the chief of others."""
    subject, out, plan, prune, progress = job.subject, job.out, job.plan, job.prune, job.progress
    objective, direction = job.objective, job.direction
    is_new = open_folder(out, plan)
    if is_new and preflight and subject.recipe:
        say("preflight")
        _preflight(subject, out)
    write_json(out / "search.json", plan)
    if plan["range_test"] and subject.recipe:
        subject.space = range_tested(subject, out, say)

    settings = {
        "subject": subject,
        "objective": objective,
        "direction": direction,
        "seed": seed,
        "prune": prune,
        "say": say,
        "progress": progress,
        "chief": chief,
    }
    share = 1 - _REFINED_SHARE if refine else 1

    def seconds(workers):
        return budget_minutes * 60 * share * workers

    from tuning._search_stage import Stage

    coarse = Stage(
        "coarse",
        out / "coarse",
        algorithm=algorithm,
        space=subject.space,
        epochs=subject.epochs,
        start=subject.space.start(subject.recipe) if subject.recipe else None,
        **settings,
    )
    if refine and (out / "refined" / "stage.json").exists():
        # More trials here would move the region that is being searched again.
        found = last = coarse.trials
    else:
        found = last = coarse.run(
            trials=None if trials is None else max(1, round(trials * share)),
            seconds=None if budget_minutes is None else seconds,
        )
    if refine:
        if ranked_trials(found, direction):
            _write(_concluded(subject, out, last, found, objective), "the refined search")
        last = _refine(coarse, trials, budget_minutes, algorithm, settings)
        found = found + last
    result = _concluded(subject, out, last, found, objective)
    if seeds:
        _write(result, "the winner at full length")
        trained = _retrain(subject, result.best, out, seeds, say, progress, chief)
        result = dataclasses.replace(result, seeds=trained)
    _write(result)
    return result


def _chief(job, workers, recycle, cluster, say):
    """Return a chief, to be entered, or for one process alone what gives None."""
    if cluster is None and workers == 1 and recycle is None:
        return contextlib.nullcontext()
    from tuning._search_chief import Chief
    from tuning._search_crew import HOST, Crew

    lock = threading.Lock()

    def one_by_one(line):
        with lock:
            say(line)

    if cluster:
        return Chief(cluster, one_by_one)
    check_subject(job.subject)
    crew = Crew(workers, recycle, job, one_by_one)
    return Chief(Cluster("chief", HOST, 0), one_by_one, crew)


def _recorded(subject, out, objective, direction) -> SearchResult:
    """Return what a worker sees when its chief has no more to do for it."""
    coarse, refined = (read_trials(out / name) for name in ("coarse", "refined"))
    best = _best(refined or coarse, coarse + refined, direction)
    found = tuple(coarse + refined)
    return SearchResult(out, found, best, subject.winner(best), objective, direction)


def _concluded(subject, out, last, found, objective) -> SearchResult:
    """Return what the trials so far say.

    Args:
        subject: What is tuned.
        out: Folder of the search.
        last: Trials of the last stage.
        found: All of them.
        objective: Name of the measure.
    """
    direction = direction_of(objective)
    best = _best(last, found, direction)
    return SearchResult(out, tuple(found), best, subject.winner(best), objective, direction)


def _refine(coarse, trials, budget_minutes, algorithm, settings) -> list[Trial]:
    """Search again in the region of the best trials, with twice the epochs."""
    from tuning._search_stage import Stage

    subject, direction = settings["subject"], settings["direction"]
    ranked = ranked_trials(coarse.trials, direction)
    if not ranked:
        return []
    good = ranked[: max(3, math.ceil(len(ranked) * _GOOD_SHARE))]
    space = subject.space.narrow([trial.values for trial in good])
    stage = Stage(
        "refined",
        coarse.directory.parent / "refined",
        algorithm="bayesian" if algorithm == "bayesian" else "random",
        space=space,
        epochs=min(2 * subject.epochs, subject.recipe.training.epochs),
        start=good[0].values,
        **settings,
    )
    # At least its own share, and what the coarse search left of trials or time given since then.
    share = 1 - _REFINED_SHARE
    count = max(3, len(coarse.trials) // 2)
    if trials is not None:
        count = max(1, trials - min(round(trials * share), len(coarse.trials)))
    elif budget_minutes is not None:
        count = None
    spent = sum(trial.seconds for trial in coarse.trials)

    def seconds(workers):
        whole = budget_minutes * 60 * workers
        return whole - min(whole * share, spent)

    return stage.run(trials=count, seconds=None if budget_minutes is None else seconds)


def _best(last, found, direction):
    # Trials of other lengths are not comparable: the last stage decides if it can.
    ranked = ranked_trials(last, direction) or ranked_trials(found, direction)
    if not ranked:
        reasons = sorted({f"{trial.state}: {trial.reason}" for trial in found})
        raise ConfigError(f"none of {len(found)} trials was completed ({'; '.join(reasons[:3])})")
    return ranked[0]


def _preflight(subject, out):
    from recipes.diagnosis.of_recipe import preflight_recipe

    found = preflight_recipe(subject.recipe, subject.data)
    write_json(out / "preflight.json", found.to_dict())
    found.raise_for_errors()


def _retrain(subject, best, out, seeds, say, progress, chief) -> SeedResults:
    from tuning._search_runners import train_or_go_on

    if chief:
        from tuning._search_seeds import Seeds

        # After which they are only read.
        chief.run(Seeds(subject.winner(best), seeds, out / "seeds", say))
    accuracies = []
    for seed in range(seeds):
        if not chief:
            say(f"winner, seed {seed}")
        recipe = subject.winner(best).override({"training.seed": seed})
        directory = out / "seeds" / f"seed{seed}"
        run = train_or_go_on(recipe, subject.data, directory, lambda line: None, progress)
        accuracies.append(run.metrics["validation"]["accuracy"])
    return SeedResults(tuple(accuracies))


def _write(result: SearchResult, running: str | None = None) -> None:
    """Write what was found, and the report of it; `running` is what is still to be done."""
    best = {"values": result.best.values}
    write_json(result.out / "best.json", result.recipe.to_dict() if result.recipe else best)
    write_text(result.out / "trials.csv", trials_csv(result.trials))
    write_json(result.out / "result.json", result.to_dict())
    write_search_report(result, running=running)


def _say_to_stderr(line: str) -> None:
    from recipes.training import say_to_stderr

    say_to_stderr(line)
