"""Run the PyTorch twins of our residual and VGG networks once, and store what they put out.

    python scripts/make_torchvision_references.py tests/models/torchvision_references.npz

Needs torch, torchvision and timm; the tests that read the file need none of them. The weights are
not stored: they are drawn from the names of the parameters (`make_weights`), here and in the tests
alike. Stored are the logits, and the names and shapes to draw.
"""

import argparse
import json
import zlib

import numpy as np

# Of ImageNet, as torchvision's weights expect them; images divided by 255.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
CLASSES = 10
HIDDEN = 32

# Odd, and unequal, so that every padding and every exchange of height and width shows.
_SMALL = (75, 97)

# name: library, image size
_NETWORKS = {
    **{f"resnet{depth}": ("torchvision", _SMALL) for depth in (18, 34, 50, 101, 152)},
    "wide_resnet50_2": ("torchvision", _SMALL),
    "resnet18d": ("timm", _SMALL),
    "resnet50d": ("timm", _SMALL),
    "seresnet50": ("timm", _SMALL),
    "resnetv2_50": ("timm", _SMALL),
    **{f"vgg{depth}": ("torchvision", (224, 224)) for depth in (11, 13, 16, 19)},
    **{f"vgg{depth}_bn": ("torchvision", (224, 224)) for depth in (13, 16, 19)},
    # A 7x14 feature map, to be averaged to 7x7.
    "vgg11_bn": ("torchvision", (224, 448)),
}


def make_weights(shapes, residual):
    """Return the arrays of a state dict, drawn from the name of each, and no two alike.

    Args:
        shapes: Shape by name.
        residual: Whether the network has residual branches. Their normalisations then scale down:
            branches that keep the size of their inputs would add up to huge activations.

    Returns:
        float32 arrays by name. Scales are positive, as in none but fresh networks: only then is
        pooling before a normalisation the same as after it.
    """
    scale = (0.4, 0.8) if residual else (0.7, 1.3)
    arrays = {}
    for name, shape in shapes.items():
        random = np.random.default_rng(zlib.crc32(name.encode()))
        if len(shape) > 1:
            array = random.standard_normal(shape, "float32")
            array *= np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith("running_var"):
            array = random.uniform(0.5, 1.5, shape)
        elif name.endswith("weight"):
            array = random.uniform(*scale, shape)
        else:
            array = random.normal(0, 0.1, shape)
        arrays[name] = np.asarray(array, "float32")
    return arrays


def make_images(size):
    """Return two uint8 images of random squares, which leave more structure than noise does."""
    random = np.random.default_rng(0)
    height, width = size
    squares = random.integers(0, 256, (2, -(-height // 8), -(-width // 8), 3), "uint8")
    return squares.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]


def main():
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", help="the .npz file to write")
    options = parser.parse_args()
    stored = {}
    for name, (library, size) in _NETWORKS.items():
        network = _network(name, library)
        shapes = {
            key: tuple(value.shape)
            for key, value in network.state_dict().items()
            if not key.endswith("num_batches_tracked")
        }
        logits = _logits(network, make_weights(shapes, "vgg" not in name), make_images(size))
        print(name, np.round(logits[:, :4], 4).tolist())
        stored[f"{name}/logits"] = logits
        stored[f"{name}/size"] = np.array(size)
        stored[f"{name}/shapes"] = np.array(json.dumps(shapes))
    with open(options.out, "wb") as file:
        np.savez_compressed(file, **stored)


def _network(name, library):
    if library == "timm":
        import timm

        return timm.create_model(name, num_classes=CLASSES)
    models = _import_torchvision_models()
    network = getattr(models, name)(num_classes=CLASSES)
    if name.startswith("vgg"):
        # The published 4096 hidden units would make up nearly all of the weights.
        _narrow(network)
    return network


def _narrow(network):
    from torch import nn

    sizes = {0: (512 * 7 * 7, HIDDEN), 3: (HIDDEN, HIDDEN), 6: (HIDDEN, CLASSES)}
    for index, (inputs, outputs) in sizes.items():
        assert isinstance(network.classifier[index], nn.Linear)
        network.classifier[index] = nn.Linear(inputs, outputs)


def _logits(network, weights, images):
    import torch

    state = {name: torch.from_numpy(array) for name, array in weights.items()}
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    inputs = (images / 255 - np.array(MEAN)) / np.array(DEVIATION)
    with torch.no_grad():
        outputs = network.eval()(torch.from_numpy(inputs.astype("float32")).permute(0, 3, 1, 2))
    return outputs.numpy()


def _import_torchvision_models():
    """Import torchvision's networks, also where its compiled operators do not load."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms", "qroi_align", "deform_conv2d", "_deform_conv2d_backward"):
        _define(library, name)
    for name in ("roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool"):
        _define(library, name)
        _define(library, f"_{name}_backward")
    import torchvision.models

    return torchvision.models


def _define(library, name):
    import torch

    if not hasattr(torch.ops.torchvision, name):
        library.define(f"{name}(Tensor inputs) -> Tensor")


if __name__ == "__main__":
    main()
