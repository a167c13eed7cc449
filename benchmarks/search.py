"""What a search finds, and how many trials an hour it makes.

`accuracy`: a search over fields that leave the cost of an epoch alone, then the recipe as it is and
the winner at the same length over seeds. Everything is chosen on validation images; the test images
are looked at once, after each final training. What is in the folder already is read.

    python benchmarks/search.py accuracy --refine --test idx:/usr/share/datasets/fashion-mnist

`speed`: trials an hour of the same draws, ours and those of a plain script in stock Keras
(`benchmarks/_search/plain.py`), one after the other in one process, and what ours takes without
pruning and in float32. The ratio is of seconds in all: leave the machine alone for it.

    python benchmarks/search.py speed --trials 12
"""

import argparse
import importlib
import json
import os
import sys
from pathlib import Path

# Run as a program, only this folder is on the path, not that of the package of its parts.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main(arguments=None):
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="what", required=True)
    accuracy = commands.add_parser(
        "accuracy", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    accuracy.add_argument("--recipe", default="fashion-mini")
    accuracy.add_argument("--source", default="fashion-mini")
    accuracy.add_argument("--test", metavar="SOURCE", help="judge on the test images of this")
    accuracy.add_argument("--validation", type=float, default=0.2, help="share of the images")
    accuracy.add_argument("--trials", type=int, default=36)
    accuracy.add_argument("--trial-epochs", type=int, default=3)
    accuracy.add_argument("--epochs", type=int, default=10, help="of the final trainings")
    accuracy.add_argument("--refine", action="store_true")
    accuracy.add_argument("--seeds", type=int, default=3)
    accuracy.add_argument("--out", default="runs/search-accuracy", help="folder for the runs")
    accuracy.add_argument("--json", action="store_true")
    speed = commands.add_parser("speed", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    speed.add_argument("--trials", type=int, default=12)
    speed.add_argument("--trial-epochs", type=int, default=3)
    speed.add_argument("--width", type=int, default=32, help="of the ResNet-9")
    speed.add_argument("--sides", nargs="*", default=["search"], help="of ours, before the plain")
    speed.add_argument("--verbose", action="store_true")
    speed.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)

    measure = importlib.import_module(f"benchmarks._search.{options.what}")
    result = measure.compare(options)
    print(json.dumps(result, indent=2) if options.json else "\n".join(measure.lines(result)))


if __name__ == "__main__":
    main()
