"""The commands that make TFLite files and measure them: export, compress, benchmark."""

from recipes import _commands
from recipes._arguments import add_command


def add_commands(commands) -> None:
    """Declare them, in the order in which the help lists them."""
    _add_export(commands)
    _add_compress(commands)
    _add_benchmark(commands)


def _add_export(commands):
    command = add_command(
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


def _add_compress(commands):
    command = add_command(
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


def _add_benchmark(commands):
    command = add_command(
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
