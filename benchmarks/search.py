"""What a search finds, and how many trials an hour it makes.

`accuracy`: a search over fields that leave the cost of an epoch alone, then the recipe as it is and
the winner at the same length over seeds. Everything is chosen on validation images; the test images
are looked at once, after each final training. What is in the folder already is read.

    python benchmarks/search.py accuracy --refine --test idx:/usr/share/datasets/fashion-mnist
"""

import argparse
import json
import os

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
    options = parser.parse_args(arguments)

    from benchmarks._search import accuracy

    result = accuracy.compare(options)
    print(json.dumps(result, indent=2) if options.json else "\n".join(accuracy.lines(result)))


if __name__ == "__main__":
    main()
