"""Compute what networks of torchvision and efficientnet_lite_pytorch answer, for the tests.

    pip install torch torchvision efficientnet_lite_pytorch
    python scripts/make_torch_references.py

Neither the package nor its tests need torch. The weights are not stored, either: `seeded_array`
makes them from their names, here and in the tests. What is stored for each network is the names
and shapes of its state dict and its logits for the images of `seeded_images`.
"""

import argparse
import sys
import zlib
from pathlib import Path

import numpy as np

TARGET = Path(__file__).parent.parent / "tests" / "models" / "torch_references.npz"
CLASSES = 10
DENSE_UNITS = 64

# Of torchvision's `ImageClassification` preset, for images in [0, 1].
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)

# network: sides of the images. An odd one shows on which side each layer pads.
SIZES = {
    "alexnet": (224,),
    "googlenet": (64, 97),
    "mobilenet_v2": (64, 97),
    "convnext_tiny": (64, 97),
    "efficientnet_lite0": (64,),
    "efficientnet_lite1": (97,),
    "efficientnet_lite2": (64,),
    "efficientnet_lite4": (75,),
}


def seeded_array(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the array that stands in a state dict under `name`: float32, by the name alone.

    Kernels have the variance that keeps activations at their size behind a ReLU, everything else
    is near what it starts at in training, but different in each place.
    """
    # RandomState and not Generator: NumPy promises that its numbers stay the same.
    uniform = np.random.RandomState(zlib.crc32(name.encode())).random_sample(shape)
    if name.endswith("layer_scale"):
        low, high = 0.2, 0.6
    elif len(shape) > 1:
        high = (6 / np.prod(shape[1:])) ** 0.5
        low = -high
    elif name.endswith(("weight", "running_var")):
        low, high = 0.5, 1.5
    else:
        low, high = -0.2, 0.2
    return (low + (high - low) * uniform).astype("float32")


def seeded_images(size: int) -> np.ndarray:
    """Return two images, uint8, shape `(2, size, size, 3)`: noise over large squares of colour."""
    random = np.random.RandomState(size)
    squares = random.randint(0, 206, (2, 4, 4, 3)).repeat(-(-size // 4), 1).repeat(-(-size // 4), 2)
    return (squares[:, :size, :size] + random.randint(0, 50, (2, size, size, 3))).astype("uint8")


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, compute, write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=TARGET, help="where to write")
    options = parser.parse_args(arguments)
    stored = {}
    for name, sizes in SIZES.items():
        for size in sizes:
            state, logits = reference(name, size)
            stored[f"{name}/names"] = np.array(list(state))
            stored[f"{name}/shapes"] = np.array(
                [shape + (0,) * (4 - len(shape)) for shape in state.values()], "int32"
            )
            stored[f"{name}/{size}"] = logits
            print(name, size, len(state), np.abs(logits).max())
    np.savez_compressed(options.out, **stored)
    print(options.out, options.out.stat().st_size)
    return 0


def reference(name: str, size: int) -> tuple[dict[str, tuple[int, ...]], np.ndarray]:
    """Return the shapes of a network's state dict, and its logits, `(outputs, 2, CLASSES)`."""
    import torch

    network = _network(name, size).eval()
    state = {
        key: tuple(value.shape)
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    network.load_state_dict(
        {key: torch.tensor(seeded_array(key, shape)) for key, shape in state.items()}, strict=False
    )
    images = seeded_images(size).astype("float32")
    if name.startswith("efficientnet_lite"):
        images = (images - 127) / 128
    else:
        images = (images / 255 - np.array(MEAN)) / np.array(DEVIATION)
    # In double precision, so that any difference is the rounding of the network under test.
    network.double()
    images = torch.tensor(images.transpose(0, 3, 1, 2).copy(), dtype=torch.float64)
    with torch.no_grad():
        outputs = _googlenet_outputs(network, images) if name == "googlenet" else [network(images)]
    return state, np.stack([output.numpy() for output in outputs])


def _network(name, size):
    if name.startswith("efficientnet_lite"):
        from efficientnet_lite_pytorch import EfficientNet

        return EfficientNet.from_name(name.replace("_", "-"), image_size=size, num_classes=CLASSES)
    import torch
    from torchvision import models

    if name == "alexnet":
        network = models.alexnet(num_classes=CLASSES)
        # Its dense layers hold 94 % of the weights; smaller ones show the same.
        network.classifier[1] = torch.nn.Linear(256 * 6 * 6, DENSE_UNITS)
        network.classifier[4] = torch.nn.Linear(DENSE_UNITS, DENSE_UNITS)
        network.classifier[6] = torch.nn.Linear(DENSE_UNITS, CLASSES)
        return network
    arguments = {"init_weights": False} if name == "googlenet" else {}
    return getattr(models, name)(num_classes=CLASSES, **arguments)


def _googlenet_outputs(network, images):
    """Return the logits of the classifier and of the two auxiliary ones, without dropout."""
    maps = []
    for block in (network.inception4a, network.inception4d):
        block.register_forward_hook(lambda module, inputs, output: maps.append(output))
    logits = network(images)
    return [logits, network.aux1(maps[0]), network.aux2(maps[1])]


if __name__ == "__main__":
    sys.exit(main())
