"""Memory of the process that runs the trials of a search, after each of many tiny ones.

`keep`: one process runs them all. `recycle`: a process runs so many, then a fresh one takes its
place. What is read is the resident memory of that process (`VmRSS`) as the line about a trial is
said; with `recycle` that of the chief, which trains nothing, stands beside it. A trial is the
network of `fashion-mini` at width 4, with a rate of its own, on 600 images of 28x28 for an epoch.
Linux only: it reads `/proc`.

    python benchmarks/search_memory.py --trials 50 --recycle 10
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np


def resident(pid):
    """Return the resident memory of a process in MB (10**6 bytes), or None if it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024 / 1e6
    except FileNotFoundError:
        pass
    return None


def child():
    """Return the process that this one started last, or None."""
    pid = os.getpid()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[-1]) if children else None


def measure(trials, recycle):
    """Search once, in this process; return the memory after each trial."""
    from recipes import get_recipe, load_data
    from tuning import search

    recipe = get_recipe("fashion-mini").override({"model.width": 4, "training.batch_size": 64})
    whole = load_data("fashion-mini").splits["train"]
    chosen = np.arange(0, len(whole), len(whole) // 600)[:600]
    data = load_data((whole.load(chosen), whole.labels[chosen]), validation=0.2)
    found = {"trials": [], "chief": []}

    def note(line):
        if not line.startswith("coarse"):
            return
        found["trials"].append(resident(child() if recycle else os.getpid()))
        found["chief"].append(resident(os.getpid()) if recycle else None)

    with tempfile.TemporaryDirectory() as folder:
        search(
            recipe,
            data,
            {"optimizer.learning_rate": "log 1e-3..1"},
            trials=trials,
            epochs_per_trial=1,
            out=Path(folder) / "search",
            prune=False,
            preflight=False,
            range_test=False,
            recycle=recycle,
            say=note,
        )
    return found


def growth(memory, first=5):
    """Return the slope in MB a trial of a line through the memory from trial `first` on."""
    known = [(n, value) for n, value in enumerate(memory, 1) if value is not None and n >= first]
    return float(np.polyfit(*zip(*known, strict=True), 1)[0])


def main():
    """Measure as the arguments say, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=50, help="default: 50")
    parser.add_argument("--recycle", type=int, default=10, help="default: 10")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", choices=("keep", "recycle"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        recycle = options.recycle if options.one == "recycle" else None
        print(json.dumps(measure(options.trials, recycle)))
        return
    found = {}
    for way in ("keep", "recycle"):
        command = [sys.executable, __file__, *sys.argv[1:], "--one", way]
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        found[way] = json.loads(answer.splitlines()[-1])
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print("resident MB after trial   one process   recycled   its chief")
    shown = sorted({1, *range(5, options.trials, 5), options.trials})
    columns = found["keep"]["trials"], found["recycle"]["trials"], found["recycle"]["chief"]
    for number in shown:
        print(f"{number:23}", *(_cell(column[number - 1]) for column in columns))
    for name, column in zip(("one process", "its chief"), (columns[0], columns[2]), strict=True):
        print(f"{name}: {growth(column):+.1f} MB a trial from the fifth on")
    most = [max(value for value in column if value is not None) for column in columns]
    print("most:", ", ".join(f"{value:.0f} MB" for value in most))


def _cell(value):
    return f"{'–' if value is None else f'{value:.0f}':>11}"


if __name__ == "__main__":
    main()
