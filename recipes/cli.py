"""The `recipes` command: parses; `recipes._commands` calls one public function and prints.

Results go to the standard output, as text or with `--json`; progress and remarks go to the standard
error stream. Exit codes: 0 done; 1 `check-data` or `preflight` found errors; 2 something the user
gave is wrong; 130 interrupted. Nothing here imports TensorFlow until a command needs it.
"""

import argparse
import sys
from collections.abc import Sequence

from recipes import (
    _augment_commands,
    _commands,
    _diagnosis_commands,
    _search_arguments,
    _strategy_arguments,
)
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

    command = _add(commands, "list", _commands.run_list, "list the recipes", "recipes list")
    command.add_argument(
        "--models",
        nargs="?",
        const="*",
        metavar="PATTERN",
        help="list the networks instead: all, or those that fit, such as 'resnet*' or lite",
    )

    command = _add(
        commands, "show", _commands.run_show, "show a recipe", "recipes show fashion-mini"
    )
    command.add_argument("recipe", help="name of a recipe, or a recipe.json")
    _add_settings(command)

    command = _add(
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

    command = _add(
        commands,
        "train",
        _commands.run_train,
        "train, calibrate, judge, export and report",
        "recipes train photos my_photos/ --out runs/a --set training.epochs=20",
        "recipes train --resume runs/a",
        "recipes train photos my_photos/ --out runs/a --strategy mirrored",
    )
    command.add_argument("recipe", nargs="?", help="name of a recipe, or a recipe.json")
    command.add_argument("source", nargs="?", help=_SOURCE_HELP)
    command.add_argument("--out", metavar="DIR", help="new folder for the run")
    command.add_argument("--resume", metavar="DIR", help="go on with an interrupted run")
    command.add_argument("--no-export", action="store_true", help="make no TFLite files")
    _strategy_arguments.add_to(command)
    _add_settings(command)
    _add_labels(command)
    _add_corrupt(command)

    command = _add(
        commands,
        "evaluate",
        _commands.run_evaluate,
        "measure a run, a .keras or a .tflite file on images",
        "recipes evaluate runs/a",
        "recipes evaluate runs/a/model.tflite more_photos/ --slices class,size",
        "recipes evaluate runs/a --against runs/b",
    )
    command.add_argument("model", help="run folder, .keras or .tflite file")
    command.add_argument("source", nargs="?", help=f"default: the run's own; {_SOURCE_HELP}")
    command.add_argument(
        "--split", choices=("train", "validation", "test"), default="test", help="default: test"
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
    _add_corrupt(command)

    command = _add(
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

    command = _add(
        commands,
        "export",
        _commands.run_export,
        "make TFLite files of a run and measure them",
        "recipes export runs/a --to int8 weight-only-int4",
    )
    command.add_argument("folder", metavar="RUN", help="run folder")
    command.add_argument(
        "--to",
        # Its name until there were other precisions.
        "--quantization",
        nargs="+",
        default=["int8", "float32"],
        metavar="PRECISION",
        help="float32, float16, dynamic, weight-only-int8, weight-only-int4, int8, int8-only, 16x8 "
        "(default: int8 float32)",
    )

    command = _add(
        commands,
        "compress",
        _commands.run_compress,
        "find the fastest or smallest file that keeps the accuracy; killed, it goes on",
        "recipes compress runs/a --max-drop 0.005",
        "recipes compress runs/a --target smallest --budget-minutes 30",
        "recipes compress runs/a --target smallest --methods post-training distillation",
    )
    command.add_argument("folder", metavar="RUN", help="run folder")
    command.add_argument(
        "--max-drop", type=float, default=0.01, metavar="SHARE", help="of accuracy (default: 0.01)"
    )
    command.add_argument("--target", default="cpu", help="cpu, int-only or smallest (default: cpu)")
    command.add_argument(
        "--methods",
        nargs="+",
        default=["post-training", "pruning", "quantization-aware"],
        metavar="METHOD",
        help="that may be used: post-training, pruning, quantization-aware, distillation "
        "(default: the first three)",
    )
    command.add_argument(
        "--student",
        metavar="NAME",
        help="network to distil into, NAME, NAME@WIDTH or @WIDTH (default: half the run's own)",
    )
    command.add_argument(
        "--student-epochs", type=int, metavar="N", help="of teaching it (default: the recipe's)"
    )
    command.add_argument(
        "--budget-minutes", type=float, metavar="N", help="begin nothing new after so many"
    )
    command.add_argument("--out", metavar="DIR", help="default: compressed in the run folder")
    command.add_argument("--seed", type=int, default=0, help="default: 0")

    command = _add(
        commands,
        "benchmark",
        _commands.run_benchmark,
        "time TFLite files against the first of them: latency, memory, bytes",
        "recipes benchmark runs/a/model_float32.tflite runs/a/model.tflite",
    )
    command.add_argument("files", nargs="+", metavar="FILE", help=".tflite files")
    command.add_argument(
        "--threads", type=int, default=1, metavar="N", help="of the interpreter (default: 1)"
    )
    command.add_argument(
        "--runs", type=int, default=50, metavar="N", help="timed images a round (default: 50)"
    )
    command.add_argument(
        "--rounds", type=int, default=10, metavar="N", help="turns of each file (default: 10)"
    )

    command = _add(
        commands,
        "report",
        _commands.run_report,
        "write report.html, report.md and report.json",
        "recipes report runs/a",
    )
    command.add_argument("folder", metavar="RUN", help="run folder")

    command = _add(
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

    command = _add(
        commands,
        "check-data",
        _commands.run_check_data,
        "look for corrupt, duplicate, leaked and badly balanced images",
        "recipes check-data my_photos/",
    )
    command.add_argument("source", help=_SOURCE_HELP)
    _add_labels(command)

    command = _add(
        commands,
        "preflight",
        _diagnosis_commands.run_preflight,
        "check a recipe on images before training: labels, first loss, gradients, one batch",
        "recipes preflight photos my_photos/",
        "recipes preflight fashion-mini fashion-mini --layers",
    )
    command.add_argument("recipe", help="name of a recipe, or a recipe.json")
    command.add_argument("source", help=_SOURCE_HELP)
    command.add_argument(
        "--steps", type=int, default=100, help="steps to fit one batch, 0 for none (default: 100)"
    )
    command.add_argument("--layers", action="store_true", help="show the activations by layer")
    _add_settings(command)
    _add_labels(command)
    _add_corrupt(command)

    command = _add(
        commands,
        "diagnose",
        _diagnosis_commands.run_diagnose,
        "say what the curves of a run show: over-fit, under-fit, too short, diverged, ...",
        "recipes diagnose runs/a",
    )
    command.add_argument("folder", metavar="RUN", help="run folder")
    command.add_argument(
        "--copies",
        action="store_true",
        help="read the images again, and look for training images in the other splits",
    )

    command = _add(
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
        "source", nargs="+", metavar="SOURCE", help=f"image files, or: {_SOURCE_HELP}"
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
    _add_labels(command)

    command = _add(
        commands,
        "ablate",
        _commands.run_ablate,
        "measure what each augmentation of a recipe is worth",
        "recipes ablate fashion-fast idx:fashion-mnist/ --out runs/ablation --seeds 3",
        "recipes ablate photos my_photos/ --out runs/ablation --mode both",
    )
    command.add_argument("recipe", help="name of a recipe, or a recipe.json")
    command.add_argument("source", help=_SOURCE_HELP)
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
    _add_settings(command)
    _add_labels(command)
    _add_corrupt(command)

    about = _search_arguments
    command = _add(commands, "search", _commands.run_search, about.SUMMARY, *about.EXAMPLES)
    about.add_to(command, _SOURCE_HELP)
    _add_settings(command)
    _add_labels(command)
    _add_corrupt(command)

    command = _add(
        commands,
        "demo",
        _commands.run_demo,
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


if __name__ == "__main__":
    sys.exit(main())
