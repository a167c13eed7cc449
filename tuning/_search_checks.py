"""What a search refuses before it begins: wrong arguments, and a folder of something else."""

from pathlib import Path

from recipes.errors import ConfigError, RunError, nearest
from recipes.files import is_leftover, read_json
from tuning._search_oracle import ALGORITHMS

# Of a recipe, with the direction in which each is better.
OBJECTIVES = {"val_accuracy": "max", "val_loss": "min", "val_ece": "min"}


def check_arguments(subject, algorithm, trials, budget_minutes, objective, refine, seeds):
    """Raise `ConfigError` if these arguments of `search` are wrong, or do not go together."""
    if algorithm not in ALGORITHMS:
        raise ConfigError(
            f"algorithm must be one of {', '.join(ALGORITHMS)}, received: {algorithm!r}"
            f"{nearest(str(algorithm), ALGORITHMS)}"
        )
    if trials is not None and (type(trials) is not int or trials < 1):
        raise ConfigError(f"trials must be a whole number above 0, received: {trials!r}")
    if budget_minutes is not None and not 0 < budget_minutes < float("inf"):
        raise ConfigError(f"budget_minutes must be a positive number, received: {budget_minutes!r}")
    if trials is None and budget_minutes is None and algorithm in ("random", "bayesian"):
        raise ConfigError(f"algorithm {algorithm} needs trials or budget_minutes to end")
    if refine and trials is not None and trials < 4:
        raise ConfigError(f"refine needs at least 4 trials, received: trials={trials}")
    if type(seeds) is not int or seeds < 0:
        raise ConfigError(f"seeds must be a whole number of 0 or more, received: {seeds!r}")
    if subject.recipe:
        if objective not in OBJECTIVES:
            raise ConfigError(
                f"objective must be one of {', '.join(OBJECTIVES)}, received: {objective!r}"
            )
    elif refine or seeds:
        raise ConfigError("refine and seeds are for recipes, not for a model of your own")


def check_workers(workers, recycle, cluster):
    """Raise `ConfigError` if these are wrong, or given where each worker is started by itself."""
    for name, value in (("workers", workers), ("recycle", 1 if recycle is None else recycle)):
        if type(value) is not int or value < 1:
            raise ConfigError(f"{name} must be a whole number above 0, received: {value!r}")
    if cluster and (workers != 1 or recycle is not None):
        raise ConfigError(
            "workers and recycle are for one machine; KERASTUNER_ORACLE_IP is set, so each worker "
            "is started by itself"
        )


def direction_of(objective: str) -> str:
    """Return `"max"` or `"min"`; raise `ConfigError` if a name does not tell which."""
    if objective in OBJECTIVES:
        return OBJECTIVES[objective]
    from callbacks._monitoring import better_direction

    try:
        return better_direction(objective)
    except ValueError as error:
        raise ConfigError(f"objective: {error}") from None


def open_folder(out: Path, plan: dict) -> bool:
    """Return whether the search is new; refuse a folder of something else."""
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file, expected a folder for the search")
    path = out / "search.json"
    if path.exists():
        try:
            found = read_json(path)
        except (OSError, ValueError) as error:
            raise RunError(f"cannot read {path}: {error}") from error
        other = [name for name in {**plan, **found} if plan.get(name) != found.get(name)]
        if other:
            raise RunError(
                f"{out} holds another search (its {other[0]} differs): give another folder"
            )
        return False
    # Before search.json there can be a preflight, and what a kill left of either.
    if out.exists() and not all(
        path.name == "preflight.json" or is_leftover(path) for path in out.iterdir()
    ):
        raise RunError(f"{out} exists, is not empty and is not a search; choose another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot write to {out}: {error.strerror}") from error
    return True
