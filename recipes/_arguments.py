"""What the commands of `recipes.cli` share: how one is declared, and the arguments of several."""

import argparse

SOURCE_HELP = (
    "fashion-mini (bundled), a folder with one folder a class, idx:FOLDER, tfds:NAME or keras:NAME"
)


def add_command(commands, name: str, run, summary: str, *examples: str) -> argparse.ArgumentParser:
    """Declare a command.

    Args:
        commands: What `add_subparsers` returned.
        name: Of the command.
        run: Function of the parsed options that returns the exit code, or `None` for 0.
        summary: One line, in lower case.
        *examples: Command lines.

    Returns:
        Its parser.
    """
    lines = "\n".join(f"  {example}" for example in examples)
    command = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example:\n{lines}",
        formatter_class=HelpFormatter,
    )
    command.add_argument("--json", action="store_true", help="print JSON for machines")
    command.set_defaults(run=run)
    return command


def add_settings(command: argparse.ArgumentParser) -> None:
    """Add what changes a recipe: `--set` and `--seed`."""
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a field of the recipe, such as optimizer.learning_rate=0.1; repeatable",
    )
    command.add_argument("--seed", type=int, help="short for --set training.seed=SEED")


def add_labels(command: argparse.ArgumentParser) -> None:
    """Add `--labels`."""
    command.add_argument(
        "--labels", metavar="FILE", help="class names, one a line, for a source without names"
    )


def add_corrupt(command: argparse.ArgumentParser) -> None:
    """Add `--corrupt`."""
    command.add_argument(
        "--corrupt",
        choices=("refuse", "skip"),
        default="refuse",
        help="what to do with image files that cannot be read (default: refuse)",
    )


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Room for the longest command name beside its summary."""

    def __init__(self, prog):
        super().__init__(prog, max_help_position=28)
