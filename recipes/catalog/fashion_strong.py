"""Fashion-MNIST as well as half an hour on two processor cores allows.

Source: that of `fashion-fast`, at the full width of Page's ResNet-9 (64).

Command: recipes train fashion-strong idx:/usr/share/datasets/fashion-mnist --out runs/strong
(the folder is that of the Debian package dataset-fashion-mnist)

Measured: 94.52 % and 94.29 % (two seeds) in about half an hour of training on two virtual cores of
an AMD EPYC with AVX512-BF16: four times the arithmetic of `fashion-fast`, and hardly better. Take
that one until this is tuned; more in benchmarks/RESULTS.md.
"""

from recipes.catalog import fashion_fast
from recipes.config import Recipe


def config() -> Recipe:
    """Return the recipe."""
    return fashion_fast.config().override(
        {
            "name": "fashion-strong",
            "summary": "all of Fashion-MNIST, as well as half an hour on two cores allows",
            "model.width": 64,
            "training.epochs": 16,
            "training.ema": 0.999,
        }
    )
