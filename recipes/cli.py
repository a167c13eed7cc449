"""The `recipes` command: parses; `recipes._commands` calls one public function and prints.

Results go to the standard output, as text or with `--json`; progress and remarks go to the standard
error stream. Exit codes: 0 done; 1 `check-data` or `preflight` found errors, or `compress` no file
that is good enough; 2 something the user gave is wrong; 130 interrupted. Nothing here imports
TensorFlow until a command needs it.
"""

import argparse
import sys
from collections.abc import Sequence

from recipes import (
    _augment_commands,
    _commands,
    _diagnosis_arguments,
    _search_arguments,
    _strategy_arguments,
    _tflite_arguments,
)
from recipes._arguments import (
    SOURCE_HELP,
    HelpFormatter,
    add_command,
    add_corrupt,
    add_labels,
    add_settings,
)
from recipes.errors import RecipesError

_DESCRIPTION = """\
From labelled images to a trained, calibrated, int8 TFLite classifier and a report.

  recipes demo                                     the whole way, on bundled images
  recipes train photos my_photos/ --out runs/a     the same on images of your own
  recipes predict runs/a cat.jpg                   calibrated classes of an image
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    options = _parser().parse_args(arguments)
    if hasattr(sys.stdout, "reconfigure"):
        # Names of files may be any bytes.
        sys.stdout.reconfigure(errors="backslashreplace")
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
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    _add_list(commands)
    _add_show(commands)
    _add_model(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _tflite_arguments.add_commands(commands)
    _add_report(commands)
    _add_compare(commands)
    _diagnosis_arguments.add_commands(commands)
    _add_show_augment(commands)
    _add_ablate(commands)
    _search_arguments.add_commands(commands)
    _add_demo(commands)
    return parser


def _add_list(commands):
    command = add_command(commands, "list", _commands.run_list, "list the recipes", "recipes list")
    command.add_argument(
        "--models",
        nargs="?",
        const="*",
        metavar="PATTERN",
        help="list the networks instead: all, or those that fit, such as 'resnet*' or lite",
    )


def _add_show(commands):
    command = add_command(
        commands, "show", _commands.run_show, "show a recipe", "recipes show fashion-mini"
    )
    command.add_argument("recipe", help="name of a recipe, or a recipe.json")
    add_settings(command)


def _add_model(commands):
    command = add_command(
        commands,
        "model",
        _commands.run_model,
        "show a network: layers, parameters, multiply-adds, receptive field, memory",
        "recipes model resnet50",
        "recipes model efficientnet_lite0 --input 128 --diagram lite0.svg",
    )
    command.add_argument("model", help="name of a network, a .keras file, or a run folder")
    command.add_argument("--input", type=int, metavar="SIDE", help="side of the image in pixels")
    command.add_argument("--brief", action="store_true", help="stages only, no single layers")
    command.add_argument("--diagram", metavar="FILE", help="draw it into an SVG file, too")


def _add_train(commands):
    command = add_command(
        commands,
        "train",
        _commands.run_train,
        "train, calibrate, judge, export and report",
        "recipes train photos my_photos/ --out runs/a --set training.epochs=20",
        "recipes train --resume runs/a",
        "recipes train photos my_photos/ --out runs/a --strategy mirrored",
    )
    command.add_argument("recipe", nargs="?", help="name of a recipe, or a recipe.json")
    command.add_argument("source", nargs="?", help=SOURCE_HELP)
    command.add_argument("--out", metavar="DIR", help="new folder for the run")
    command.add_argument("--resume", metavar="DIR", help="go on with an interrupted run")
    command.add_argument("--no-export", action="store_true", help="make no TFLite files")
    _strategy_arguments.add_to(command)
    add_settings(command)
    add_labels(command)
    add_corrupt(command)


def _add_evaluate(commands):
    command = add_command(
        commands,
        "evaluate",
        _commands.run_evaluate,
        "measure a run, a .keras or a .tflite file on images",
        "recipes evaluate runs/a",
        "recipes evaluate runs/a/model.tflite more_photos/ --slices class,size",
        "recipes evaluate runs/a --against runs/b",
    )
    command.add_argument("model", help="run folder, .keras or .tflite file")
    command.add_argument("source", nargs="?", help=f"default: the run's own; {SOURCE_HELP}")
    command.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        default="test",
        help="of the run or source, if that is divided (default: test)",
    )
    command.add_argument(
        "--slices", metavar="NAMES", help="judge parts of the images apart: class, size, or both"
    )
    command.add_argument(
        "--bootstrap",
        type=int,
        default=1000,
        metavar="N",
        help="resamples for the intervals (default: 1000; 0: Wilson's alone)",
    )
    command.add_argument(
        "--against", metavar="OTHER", help="compare with another model on the same images"
    )
    add_corrupt(command)


def _add_predict(commands):
    command = add_command(
        commands,
        "predict",
        _commands.run_predict,
        "classify images",
        "recipes predict runs/a cat.jpg dog.png",
        "recipes predict runs/a/model.tflite cat.jpg --top 1 --json",
    )
    command.add_argument("model", help="run folder, .keras or .tflite file")
    command.add_argument("images", nargs="+", metavar="IMAGE", help="image files")
    command.add_argument("--top", type=int, default=3, help="classes to print (default: 3)")


def _add_report(commands):
    command = add_command(
        commands,
        "report",
        _commands.run_report,
        "write report.html, report.md and report.json",
        "recipes report runs/a",
    )
    command.add_argument("folder", metavar="RUN", help="run folder")


def _add_compare(commands):
    command = add_command(
        commands,
        "compare",
        _commands.run_compare,
        "write one report of several runs: compare.html, .md and .json",
        "recipes compare runs/a runs/b runs/c --out runs/compared",
    )
    command.add_argument(
        "folders", metavar="RUN", nargs="+", help="run folders, the reference first"
    )
    command.add_argument("--out", metavar="DIR", required=True, help="folder for the report")


def _add_show_augment(commands):
    command = add_command(
        commands,
        "show-augment",
        _augment_commands.run_show_augment,
        "draw images before and after augmentation",
        "recipes show-augment --operation random_rotation --set degrees=30 cat.jpg --out sheet.png",
        "recipes show-augment --policy randaugment --set n=2 my_photos/ --out sheet.png",
        "recipes show-augment --recipe fashion-mini fashion-mini --out sheet.png",
    )
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("--policy", metavar="NAME", help="a policy, such as randaugment")
    what.add_argument("--operation", metavar="NAME", help="an operation, such as random_flip")
    what.add_argument("--recipe", metavar="RECIPE", help="what this recipe does in training")
    command.add_argument(
        "source", nargs="+", metavar="SOURCE", help=f"image files, or: {SOURCE_HELP}"
    )
    command.add_argument("--out", metavar="FILE", required=True, help="picture to write")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="argument of the operation or policy, or field of the recipe; repeatable",
    )
    command.add_argument("--seed", type=int, default=0, help="seed of the draws (default: 0)")
    command.add_argument("--count", type=int, default=4, help="images to show (default: 4)")
    command.add_argument("--columns", type=int, default=4, help="draws of each (default: 4)")
    command.add_argument("--size", type=int, metavar="SIDE", help="side of the images in pixels")
    add_labels(command)


def _add_ablate(commands):
    command = add_command(
        commands,
        "ablate",
        _commands.run_ablate,
        "measure what each augmentation of a recipe is worth",
        "recipes ablate fashion-fast idx:fashion-mnist/ --out runs/ablation --seeds 3",
        "recipes ablate photos my_photos/ --out runs/ablation --mode both",
    )
    command.add_argument("recipe", help="name of a recipe, or a recipe.json")
    command.add_argument("source", help=SOURCE_HELP)
    command.add_argument(
        "--out", metavar="DIR", required=True, help="folder for the runs; finished ones are kept"
    )
    command.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="runs of each variant (default: 3)"
    )
    command.add_argument(
        "--mode",
        choices=("without", "alone", "both"),
        default="without",
        help="leave out one augmentation at a time, or use one alone (default: without)",
    )
    add_settings(command)
    add_labels(command)
    add_corrupt(command)


def _add_demo(commands):
    command = add_command(
        commands,
        "demo",
        _commands.run_demo,
        "train on the bundled images of clothes: the whole way in about two minutes",
        "recipes demo --out runs/demo",
    )
    command.add_argument("--out", metavar="DIR", default="runs/demo", help="default: runs/demo")
    command.set_defaults(recipe="fashion-mini")
    add_settings(command)


class _Version(argparse.Action):
    def __init__(self, option_strings, dest, **kwargs):
        super().__init__(option_strings, dest, nargs=0, **kwargs)

    def __call__(self, parser, namespace, values, option_string=None):
        from importlib.metadata import version

        print(f"keras-recipes {version('keras-recipes')}")
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
