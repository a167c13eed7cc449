"""Trials an hour of one search by one process, and by several workers of this machine.

Each way is a process of its own that makes the same random trials, so many epochs each, of the same
images, with nothing pruned; the ways take turns. Seconds count from the call of `search` to its
return: starting the workers, each of which loads TensorFlow, is in them. Beside it stands what is
left without it, of many trials: those that ended after each worker had ended one, by the time from
then to the last.

    python benchmarks/search_workers.py --trials 10 --workers 1 2
    python benchmarks/search_workers.py --width 32 --epochs 3 --rounds 2 --json
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FACTS = ("seconds", "trials_an_hour", "steady")


def measure(options, workers):
    """Search once, in this process; return the figures."""
    from recipes import get_recipe, load_data
    from tuning import search

    recipe = get_recipe("fashion-mini").override({"model.width": options.width})
    data = load_data("fashion-mini")
    ended = []
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        search(
            recipe,
            data,
            {"optimizer.learning_rate": "log 1e-2..1"},
            trials=options.trials,
            epochs_per_trial=options.epochs,
            out=Path(folder) / "search",
            prune=False,
            preflight=False,
            range_test=False,
            workers=workers,
            say=lambda line: ended.append(time.perf_counter()) if "completed" in line else None,
        )
        seconds = time.perf_counter() - began
    if len(ended) != options.trials:
        raise RuntimeError(f"{len(ended)} of {options.trials} trials were completed")
    return figures(seconds, ended, workers)


def figures(seconds, ended, workers):
    """Return seconds, trials an hour, and trials an hour once all workers are at it.

    Args:
        seconds: Of all trials.
        ended: Moments in seconds at which trials ended, in order; more than there are workers.
        workers: How many.
    """
    later = len(ended) - workers
    rates = 3600 * len(ended) / seconds, 3600 * later / (ended[-1] - ended[workers - 1])
    return dict(zip(FACTS, (seconds, *rates), strict=True))


def summary(rounds):
    """Return the medians of each way, and of the ratios to the first way within a round.

    Args:
        rounds: For each round, the number of workers to its figures.
    """
    found = {}
    for workers in rounds[0]:
        found[workers] = {
            name: statistics.median(each[workers][name] for each in rounds) for name in FACTS
        }
        for name in FACTS[1:]:
            ratios = [each[workers][name] / next(iter(each.values()))[name] for each in rounds]
            found[workers][f"{name}_ratio"] = statistics.median(ratios)
    return found


def main():
    """Measure as the arguments say, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10, help="default: 10")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    parser.add_argument("--epochs", type=int, default=1, help="of a trial (default: 1)")
    parser.add_argument("--width", type=int, default=16, help="of the network (default: 16)")
    parser.add_argument("--rounds", type=int, default=1, help="default: 1")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options, options.one)))
        return
    rounds = []
    for _ in range(options.rounds):
        rounds.append({})
        for workers in options.workers:
            command = [sys.executable, __file__, *sys.argv[1:], "--one", str(workers)]
            answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            rounds[-1][workers] = json.loads(answer.splitlines()[-1])
    found = summary(rounds)
    if options.json:
        print(json.dumps({"rounds": rounds, "median": found}, indent=2))
        return
    print("workers   seconds   trials/hour   ratio   steady/hour   ratio")
    for workers, row in found.items():
        print(
            f"{workers:7}   {row['seconds']:7.1f}   {row['trials_an_hour']:11.0f}   "
            f"{row['trials_an_hour_ratio']:5.2f}   {row['steady']:11.0f}   "
            f"{row['steady_ratio']:5.2f}"
        )


if __name__ == "__main__":
    main()
