"""The `recipes` command: parses, calls one public function, prints.

Results go to the standard output, as text or with `--json`; progress and remarks go to the standard
error stream. Exit codes: 0 done; 1 `check-data` found errors; 2 something the user gave is wrong;
130 interrupted. Nothing here imports TensorFlow until a command needs it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from recipes.errors import RecipesError

_DESCRIPTION = """\
From labelled images to a trained, calibrated, int8 TFLite classifier and a report.

  recipes demo                                     the whole way, on bundled images
  recipes train photos my_photos/ --out runs/a     the same on images of your own
  recipes predict runs/a cat.jpg                   calibrated classes of an image
"""
_SOURCE_HELP = (
    "fashion-mini (bundled), a folder with one folder a class, idx:FOLDER, tfds:NAME or keras:NAME"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except RecipesError as error:
        print(f"recipes: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader (head, say) has seen enough. Python would complain once more at exit.
        sys.stdout = None
        return 0
    except KeyboardInterrupt:
        print("recipes: interrupted", file=sys.stderr)
        return 130


def _parser():
    parser = argparse.ArgumentParser(
        prog="recipes",
        description=_DESCRIPTION,
        formatter_class=_HelpFormatter,
    )
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    command = _add(commands, "list", _list, "list the recipes", "recipes list")
    command.add_argument("--models", action="store_true", help="list the networks instead")

    command = _add(commands, "show", _show, "show a recipe", "recipes show fashion-mini")
    command.add_argument("recipe", help="name of a recipe, or a recipe.json")
    _add_settings(command)

    command = _add(
        commands,
        "train",
        _train,
        "train, calibrate, judge, export and report",
        "recipes train photos my_photos/ --out runs/a --set training.epochs=20",
        "recipes train --resume runs/a",
    )
    command.add_argument("recipe", nargs="?", help="name of a recipe, or a recipe.json")
    command.add_argument("source", nargs="?", help=_SOURCE_HELP)
    command.add_argument("--out", metavar="DIR", help="new folder for the run")
    command.add_argument("--resume", metavar="DIR", help="go on with an interrupted run")
    command.add_argument("--no-export", action="store_true", help="make no TFLite files")
    _add_settings(command)
    _add_labels(command)
    _add_corrupt(command)

    command = _add(
        commands,
        "evaluate",
        _evaluate,
        "measure a run, a .keras or a .tflite file on images",
        "recipes evaluate runs/a",
        "recipes evaluate runs/a/model.tflite more_photos/ --split test",
    )
    command.add_argument("model", help="run folder, .keras or .tflite file")
    command.add_argument("source", nargs="?", help=f"default: the run's own; {_SOURCE_HELP}")
    command.add_argument(
        "--split", choices=("train", "validation", "test"), default="test", help="default: test"
    )
    _add_corrupt(command)

    command = _add(
        commands,
        "predict",
        _predict,
        "classify images",
        "recipes predict runs/a cat.jpg dog.png",
        "recipes predict runs/a/model.tflite cat.jpg --top 1 --json",
    )
    command.add_argument("model", help="run folder, .keras or .tflite file")
    command.add_argument("images", nargs="+", metavar="IMAGE", help="image files")
    command.add_argument("--top", type=int, default=3, help="classes to print (default: 3)")

    command = _add(
        commands,
        "export",
        _export,
        "make TFLite files of a run and measure them",
        "recipes export runs/a --quantization int8 float16",
    )
    command.add_argument("folder", metavar="RUN", help="run folder")
    command.add_argument(
        "--quantization",
        nargs="+",
        choices=("int8", "float16", "float32"),
        default=["int8", "float32"],
        help="default: int8 float32",
    )

    command = _add(
        commands, "report", _report, "write report.html and report.md", "recipes report runs/a"
    )
    command.add_argument("folder", metavar="RUN", help="run folder")

    command = _add(
        commands,
        "check-data",
        _check_data,
        "look for corrupt, duplicate, leaked and badly balanced images",
        "recipes check-data my_photos/",
    )
    command.add_argument("source", help=_SOURCE_HELP)
    _add_labels(command)

    command = _add(
        commands,
        "demo",
        _demo,
        "train on the bundled images of clothes: the whole way in about two minutes",
        "recipes demo --out runs/demo",
    )
    command.add_argument("--out", metavar="DIR", default="runs/demo", help="default: runs/demo")
    command.set_defaults(recipe="fashion-mini")
    _add_settings(command)
    return parser


def _add(commands, name, run, summary, *examples):
    lines = "\n".join(f"  {example}" for example in examples)
    command = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example:\n{lines}",
        formatter_class=_HelpFormatter,
    )
    command.add_argument("--json", action="store_true", help="print JSON for machines")
    command.set_defaults(run=run)
    return command


def _add_settings(command):
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a field of the recipe, such as optimizer.learning_rate=0.1; repeatable",
    )
    command.add_argument("--seed", type=int, help="short for --set training.seed=SEED")


def _add_labels(command):
    command.add_argument(
        "--labels", metavar="FILE", help="class names, one a line, for a source without names"
    )


def _add_corrupt(command):
    command.add_argument(
        "--corrupt",
        choices=("refuse", "skip"),
        default="refuse",
        help="what to do with image files that cannot be read (default: refuse)",
    )


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Room for the longest command name beside its summary."""

    def __init__(self, prog):
        super().__init__(prog, max_help_position=28)


class _Version(argparse.Action):
    def __init__(self, option_strings, dest, **kwargs):
        super().__init__(option_strings, dest, nargs=0, **kwargs)

    def __call__(self, parser, namespace, values, option_string=None):
        from importlib.metadata import version

        print(f"keras-recipes {version('keras-recipes')}")
        parser.exit()


def _list(options):
    from recipes.catalog import get_recipe, list_recipes

    if options.models:
        from recipes.models import list_models

        return _print_json(list_models()) if options.json else print("\n".join(list_models()))
    chosen = [get_recipe(name) for name in list_recipes()]
    if options.json:
        return _print_json([{"name": recipe.name, "summary": recipe.summary} for recipe in chosen])
    rows = [(recipe.name, recipe.model.name, recipe.summary) for recipe in chosen]
    return _print_table(("recipe", "network", "what it is for"), rows)


def _show(options):
    from recipes.catalog import list_recipes, recipe_notes

    recipe = _recipe(options)
    if options.json:
        return _print_json(recipe.to_dict())
    if options.recipe in list_recipes():
        print(recipe_notes(options.recipe), end="\n\n")
    rows = [
        (f"{section}.{name}", str(value))
        for section, fields in recipe.to_dict().items()
        if isinstance(fields, dict)
        for name, value in fields.items()
    ]
    return _print_table(("field", "value"), rows)


def _recipe(options):
    from recipes.catalog import get_recipe
    from recipes.config import parse_settings

    settings = parse_settings(options.set)
    if options.seed is not None:
        settings["training.seed"] = options.seed
    return get_recipe(options.recipe).override(settings)


def _train(options):
    from tuning.pipeline import resume_and_export, train_and_export

    export = not options.no_export
    if options.resume:
        if (
            any((options.recipe, options.out, options.set, options.labels))
            or options.seed is not None
        ):
            raise RecipesError(
                "--resume DIR stands alone: recipe, images and settings come from the run"
            )
        return _print_run(resume_and_export(options.resume, export=export), options)
    if not (options.recipe and options.source and options.out):
        raise RecipesError(
            "train expects RECIPE SOURCE --out DIR, or --resume DIR; see recipes train --help"
        )
    run = train_and_export(
        _recipe(options),
        options.source,
        options.out,
        labels=options.labels,
        corrupt=options.corrupt,
        export=export,
    )
    return _print_run(run, options)


def _demo(options):
    from tuning.pipeline import train_and_export

    return _print_run(train_and_export(_recipe(options), "fashion-mini", options.out), options)


def _print_run(run, options):
    from recipes.evaluation.console import run_rows, run_summary

    if options.json:
        return _print_json(run_summary(run))
    _print_table(("result", "value", "what it means"), run_rows(run))
    print(f"report: {run.path('report.html')}")
    return 0


def _evaluate(options):
    from recipes.evaluation.evaluate import evaluate

    metrics = evaluate(options.model, options.source, split=options.split, corrupt=options.corrupt)
    if options.json:
        return _print_json(metrics)
    from recipes.evaluation.console import metrics_rows

    _print_table(("measure", "value"), metrics_rows(metrics))
    rows = [
        (row["name"], _percent(row["precision"]), _percent(row["recall"]), str(row["support"]))
        for row in metrics["per_class"]
    ]
    return _print_table(("class", "precision", "recall", "images"), rows, right=(1, 2, 3))


def _predict(options):
    from recipes.evaluation.predict import predict

    predictions = predict(options.model, options.images, top=options.top)
    if options.json:
        return _print_json(predictions)
    rows = [
        (row["file"] if rank == 0 else "", guess["class"], _percent(guess["probability"]))
        for row in predictions
        for rank, guess in enumerate(row["top"])
    ]
    return _print_table(("image", "class", "probability"), rows, right=(2,))


def _export(options):
    from tuning.pipeline import export_again

    result = export_again(options.folder, tuple(options.quantization))
    if options.json:
        return _print_json(result)
    from recipes.evaluation.console import export_rows

    _print_table(
        ("file", "kB", "accuracy", "agrees", "ms an image"), export_rows(result), right=(1, 2, 3, 4)
    )
    return 0


def _report(options):
    from recipes.evaluation.report import write_report
    from recipes.run import Run

    path = write_report(Run(options.folder).directory)
    return _print_json({"report": str(path)}) if options.json else print(path)


def _check_data(options):
    from recipes.data import check_data

    report = check_data(options.source, labels=options.labels)
    if options.json:
        _print_json(report.to_dict())
    else:
        print("\n".join(report.to_lines()))
    return 0 if report.ok else 1


def _percent(value):
    return "–" if value is None else f"{100 * value:.1f} %"


def _print_json(value):
    json.dump(value, sys.stdout, indent=2, allow_nan=False, default=_plain)
    print()
    return 0


def _plain(value):
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"not JSON: {type(value).__name__}")


def _print_table(header, rows, right=()):
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for index, name in enumerate(header):
        table.add_column(name, justify="right" if index in right else "left")
    for row in rows:
        # Text, not markup: a class or a file may be called [red].
        table.add_row(*(Text(str(cell)) for cell in row))
    # Into a pipe or a file nothing is folded at 80 columns.
    Console(highlight=False, width=None if sys.stdout.isatty() else 240).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
