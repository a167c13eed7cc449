"""A small classifier of clothes in about two minutes on two processor cores.

Source: the bundled 6,000 images of Fashion-MNIST; the network is the ResNet-9 of DAWNBench entries.

Measured: 93.2 % of the 1,000 test images (one seed) after 131 s of training on two virtual cores of
an AMD EPYC with AVX512-BF16; more in benchmarks/RESULTS.md.
"""

from recipes.config import (
    AugmentationConfig,
    ModelConfig,
    OptimizerConfig,
    Recipe,
    ScheduleConfig,
    TrainingConfig,
)


def config() -> Recipe:
    """Return the recipe."""
    return Recipe(
        name="fashion-mini",
        summary="bundled 6,000 images of clothes, about two minutes on two cores",
        model=ModelConfig(name="resnet9"),
        optimizer=OptimizerConfig(name="sgd", learning_rate=0.3, weight_decay=5e-3),
        schedule=ScheduleConfig(name="linear", warmup=0.2),
        augmentation=AugmentationConfig(
            flip="horizontal", crop_padding=2, cutout=6, label_smoothing=0.1
        ),
        training=TrainingConfig(epochs=40, batch_size=128, ema=0.99, keep="last"),
    )
