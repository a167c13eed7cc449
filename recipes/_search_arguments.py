"""The command `recipes search`."""

from recipes import _commands
from recipes._arguments import SOURCE_HELP, add_command, add_corrupt, add_labels, add_settings


def add_commands(commands) -> None:
    """Declare it."""
    command = add_command(
        commands,
        "search",
        _commands.run_search,
        "look for better values of a recipe's fields by many short trainings",
        "recipes search fashion-mini fashion-mini --out runs/search --trials 24",
        "recipes search photos my_photos/ --out runs/search --minutes 60 --refine --seeds 3 "
        "--vary 'optimizer.learning_rate: log 1e-3..1' --vary 'model.dropout: 0, 0.2, 0.5'",
        "recipes search fashion-mini fashion-mini --out runs/search --trials 24 --workers 4",
        "recipes train runs/search/best.json my_photos/ --out runs/best",
    )
    command.add_argument("recipe", help="name of a recipe, or a recipe.json")
    command.add_argument("source", help=SOURCE_HELP)
    command.add_argument(
        "--out", metavar="DIR", required=True, help="folder; a search in it that was killed goes on"
    )
    command.add_argument("--space", metavar="FILE", help="what to vary, a 'FIELD: VALUES' a line")
    command.add_argument(
        "--vary", action="append", metavar="'FIELD: VALUES'", help="the same here; repeatable"
    )
    command.add_argument(
        "--algorithm",
        default="random",
        metavar="NAME",
        help="random, bayesian, hyperband or grid (default: random)",
    )
    command.add_argument("--trials", type=int, metavar="N", help="trials at most")
    command.add_argument("--minutes", type=float, metavar="M", help="begin no trial after so long")
    command.add_argument(
        "--epochs", type=int, metavar="N", help="of a trial (default: a quarter of the recipe's)"
    )
    command.add_argument(
        "--objective",
        default="val_accuracy",
        metavar="NAME",
        help="val_accuracy, val_loss or val_ece (default: val_accuracy)",
    )
    command.add_argument("--no-prune", action="store_true", help="run hopeless trials to their end")
    command.add_argument(
        "--refine", action="store_true", help="use a third of the trials to look closer, for longer"
    )
    command.add_argument(
        "--seeds", type=int, default=0, metavar="N", help="train the winner N times (default: 0)"
    )
    command.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes that run trials (default: 1); over machines see docs/scale.md",
    )
    command.add_argument(
        "--recycle", type=int, metavar="N", help="replace a process after N trials, for its memory"
    )
    command.add_argument("--no-preflight", action="store_true", help="search without a check first")
    command.add_argument(
        "--no-range-test", action="store_true", help="do not look first where learning rates end"
    )
    add_settings(command)
    add_labels(command)
    add_corrupt(command)
