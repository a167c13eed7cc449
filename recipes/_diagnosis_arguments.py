"""The commands that look for what is wrong: check-data, preflight, diagnose."""

from recipes import _commands, _diagnosis_commands
from recipes._arguments import SOURCE_HELP, add_command, add_corrupt, add_labels, add_settings


def add_commands(commands) -> None:
    """Declare them, in the order in which the help lists them."""
    _add_check_data(commands)
    _add_preflight(commands)
    _add_diagnose(commands)


def _add_check_data(commands):
    command = add_command(
        commands,
        "check-data",
        _commands.run_check_data,
        "look for corrupt, duplicate, leaked and badly balanced images",
        "recipes check-data my_photos/",
    )
    command.add_argument("source", help=SOURCE_HELP)
    add_labels(command)


def _add_preflight(commands):
    command = add_command(
        commands,
        "preflight",
        _diagnosis_commands.run_preflight,
        "check a recipe on images before training: labels, first loss, gradients, one batch",
        "recipes preflight photos my_photos/",
        "recipes preflight fashion-mini fashion-mini --layers",
    )
    command.add_argument("recipe", help="name of a recipe, or a recipe.json")
    command.add_argument("source", help=SOURCE_HELP)
    command.add_argument(
        "--steps", type=int, default=100, help="steps to fit one batch, 0 for none (default: 100)"
    )
    command.add_argument("--layers", action="store_true", help="show the activations by layer")
    add_settings(command)
    add_labels(command)
    add_corrupt(command)


def _add_diagnose(commands):
    command = add_command(
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
