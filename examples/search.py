"""Look for a better learning rate and weight decay by short trainings; random draws against a grid.

    python examples/search.py fashion-mini fashion-mini
    python examples/search.py photos my_photos/ --trials 25 --epochs 4 --out runs/search

Two searches of as many trials: a grid, which tries few values of each field, and random draws, each
of which tries another value of all. Where few of the fields matter, random draws see more of those.
Both go on after a kill when they are started again. The better of the two is left as best.json for
`recipes train`.
"""

import argparse
import sys
from pathlib import Path

from recipes import RecipesError, get_recipe
from recipes.files import write_json
from recipes.training import load_recipe_data
from tuning import search

SPACE = {
    "optimizer.learning_rate": "log 1e-3..1",
    "optimizer.weight_decay": "log 1e-5..1e-2",
}


def main(arguments=None):
    """Search twice, print; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("recipe", help="name of a recipe, or a recipe.json")
    parser.add_argument("source", help="images")
    parser.add_argument("--trials", type=int, default=9, help="of each search, a square")
    parser.add_argument("--epochs", type=int, default=3, help="of a trial")
    parser.add_argument("--out", default="runs/search", help="folder to write into")
    options = parser.parse_args(arguments)
    try:
        work(get_recipe(options.recipe), Path(options.out), options)
    except RecipesError as error:
        print(f"search: {error}", file=sys.stderr)
        return 2
    return 0


def work(recipe, out, options):
    """Do it."""
    data = load_recipe_data(recipe, options.source)
    spaces = {"grid": grid(round(options.trials**0.5)), "random": SPACE}
    found = {
        algorithm: search(
            recipe,
            data,
            space,
            algorithm=algorithm,
            trials=options.trials,
            epochs_per_trial=options.epochs,
            out=out / algorithm,
        )
        for algorithm, space in spaces.items()
    }
    for algorithm, result in found.items():
        rates = {trial.values["optimizer.learning_rate"] for trial in result.trials}
        print(f"\n{algorithm}: {len(rates)} learning rates in {len(result.trials)} trials")
        print(result)
    better = max(found.values(), key=lambda result: result.best.value)
    write_json(out / "best.json", better.recipe.to_dict())
    print(f"\nbest: recipes train {out / 'best.json'} {options.source} --out runs/best")


def grid(count):
    """Return as many values of each field, evenly spaced on the scale of `SPACE`."""
    steps = [step / max(count - 1, 1) for step in range(count)]
    return {
        "optimizer.learning_rate": [float(f"{10 ** (-3 + 3 * step):.4g}") for step in steps],
        "optimizer.weight_decay": [float(f"{10 ** (-5 + 3 * step):.4g}") for step in steps],
    }


if __name__ == "__main__":
    sys.exit(main())
