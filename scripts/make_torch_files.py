"""Write small files with PyTorch itself, for the tests of the reader that works without it.

    pip install torch
    python scripts/make_torch_files.py

The tests know the values by formula: see `tensors`, which they repeat in NumPy.
"""

import sys
from pathlib import Path

TARGET = Path(__file__).parent.parent / "tests" / "weights" / "torch_files"


def tensors():
    """Return tensors of all types and of all ways to lie in a storage."""
    import torch

    numbers = torch.arange(24, dtype=torch.float32) / 8
    return {
        "plain": numbers.reshape(2, 3, 4),
        "transposed": numbers.reshape(4, 6).T,
        "slice": numbers[5:9],
        "every_other": numbers[::2],
        "parameter": torch.nn.Parameter(numbers[:4].reshape(2, 2).clone()),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "float64": numbers[:3].double(),
        "float16": numbers[:3].half(),
        "bfloat16": numbers[:3].bfloat16(),
        "int64": torch.tensor([-(2**40), 3]),
        "int32": torch.tensor([-70000, 3], dtype=torch.int32),
        "int16": torch.tensor([-300, 3], dtype=torch.int16),
        "int8": torch.tensor([-3, 3], dtype=torch.int8),
        "uint8": torch.tensor([200, 3], dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
    }


def main() -> int:
    """Write the files and print their sizes."""
    import torch

    TARGET.mkdir(exist_ok=True)
    legacy = {"_use_new_zipfile_serialization": False}
    for protocol in (2, 4):
        torch.save(tensors(), TARGET / f"zip{protocol}.pt", pickle_protocol=protocol)
        torch.save(tensors(), TARGET / f"legacy{protocol}.pth", pickle_protocol=protocol, **legacy)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    with torch.no_grad():
        network[0].weight.copy_(torch.arange(108).reshape(4, 3, 3, 3) / 4)
    # As a training script with a parallel wrapper saves it.
    state = network.state_dict(prefix="module.")
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9).state_dict()
    checkpoint = {"epoch": 3, "state_dict": state, "optimizer": optimizer}
    torch.save(checkpoint, TARGET / "checkpoint.pth")
    # These two hold programs: to be refused.
    torch.save(network, TARGET / "whole_model.pt")
    torch.jit.script(network).save(TARGET / "torchscript.pt")
    for path in sorted(TARGET.iterdir()):
        print(path.name, path.stat().st_size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
