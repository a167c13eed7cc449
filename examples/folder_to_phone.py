"""From a folder of photos to a classifier for a phone, as a program instead of commands.

    python examples/folder_to_phone.py my_photos/ runs/photos --epochs 30

The folder holds one folder of images a class. Without arguments it makes itself such a folder from
the bundled images, to show the way.
"""

import argparse
import tempfile
from pathlib import Path

from PIL import Image

from recipes import get_recipe, load_data, predict
from tuning import train_and_export


def main():
    """Train, export, and classify a test image with the file that would ship."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="?", help="folder with one folder of images a class")
    parser.add_argument("out", nargs="?", help="folder for the run")
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()

    folder = Path(options.photos or make_folder(Path(tempfile.mkdtemp())))
    out = options.out or tempfile.mkdtemp()
    recipe = get_recipe("fashion-mini" if options.photos is None else "photos")
    recipe = recipe.override({"training.epochs": options.epochs})
    run = train_and_export(recipe, str(folder), out, corrupt="skip")

    shipped = next(file for file in run.export["files"] if file["quantization"] == "int8")
    print(
        f"{run.path(shipped['file'])}: {shipped['bytes'] / 1000:.0f} kB, measured accuracy "
        f"{100 * shipped['accuracy']:.1f} %"
    )
    image = run.load_data().splits["test"].paths[0]
    print(predict(run.path(shipped["file"]), [image], top=1)[0])
    print(f"report: {run.path('report.html')}")


def make_folder(folder):
    """Write 60 bundled images of each of three classes as PNG files."""
    split = load_data("fashion-mini").splits["train"]
    for label, name in ((1, "trouser"), (8, "bag"), (9, "ankle boot")):
        (folder / name).mkdir()
        for index in (split.labels == label).nonzero()[0][:60]:
            image = Image.fromarray(split.load([index])[0][..., 0])
            image.save(folder / name / f"{index}.png")
    return folder


if __name__ == "__main__":
    main()
