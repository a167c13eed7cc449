"""Images per second of `augment`, against Keras' layers, albumentations and kornia.

All in one process, held to one core, in alternating rounds; the table gives medians and, of rounds
side by side, the median ratio. Images are random bytes in memory, uint8, in batches of 128.

    python benchmarks/augmentation.py
    python benchmarks/augmentation.py --rows randaugment,blur --sizes 224 --rounds 7 --json
    python benchmarks/augmentation.py --rows shift,shift_mix --sizes 28 --channels 1
    python benchmarks/augmentation.py --training

Columns, in thousand images per second of processor time unless said otherwise:
    ours      a pipeline of `augment` in `Dataset.map`, uint8 in, with `output_dtype="float32"`,
              which is what the others give; wall: the same on the clock
    Keras     the stock layers in `Dataset.map`, on uint8 or on float32 images, whichever is faster
    target    the ratio that is wanted; met: yes, no, or uint8 where only the next column meets it
    uint8     ours without `output_dtype`: what the pipeline of a recipe hands to the model
    peer      albumentations image by image, stacked and cast to float32; for MixUp and CutMix
              kornia, which is given float32. Left out where not installed. `!` marks where ours is
              slower though it should not be.
    first s   tracing, compiling and the first batch; peak MB: growth of memory meanwhile
    traces    how often the function is traced after the first epoch

`--training` instead compares the input pipeline of a strong policy with the training step of
ResNet-20 on Fashion-MNIST's size of image.
"""

import argparse
import json
import os
import sys
from pathlib import Path

# Run as a program, only this folder is on the path, not that of the package of its parts.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main(arguments=None):
    """Measure and print; return the exit code."""
    from benchmarks._augmentation.rows import NAMES

    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--rows", help=f"all, or some of: {', '.join(NAMES)}", default="all")
    parser.add_argument("--sizes", default="32,224", help="pixels a side")
    parser.add_argument("--channels", type=int, choices=(1, 3), default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a round of a side")
    parser.add_argument("--budget", type=float, default=10, help="seconds a side of a row has")
    parser.add_argument("--cores", type=int, default=1, help="processor cores to use")
    parser.add_argument("--no-keras", dest="keras", action="store_false", help="leave Keras out")
    parser.add_argument("--training", action="store_true", help="against a training step instead")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    options = parser.parse_args(arguments)
    options.rows = NAMES if options.rows == "all" else tuple(options.rows.split(","))
    unknown = sorted(set(options.rows) - set(NAMES))
    if unknown:
        parser.error(f"--rows: {', '.join(unknown)} is none of {', '.join(NAMES)}")
    options.sizes = tuple(int(size) for size in options.sizes.split(","))
    _hold_to(options.cores)
    if options.training:
        from benchmarks._augmentation.training import run
    else:
        run = _table
    run(options)
    return 0


def _hold_to(cores):
    """Run on this many cores only; TensorFlow counts them when it is imported."""
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, allowed[:cores])


def _table(options):
    import keras
    import tensorflow as tf

    from benchmarks._augmentation.table import HEADER, line_of, measure_rows

    versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
    if not options.json:
        print(", ".join(f"{name} {version}" for name, version in versions.items()))
        print(HEADER, flush=True)
    show = (
        (lambda result: None) if options.json else lambda result: print(line_of(result), flush=True)
    )
    found = measure_rows(options, show)
    if options.json:
        print(json.dumps({"settings": {**vars(options), **versions}, "rows": found}))


if __name__ == "__main__":
    sys.exit(main())
