"""The baseline of He et al. on CIFAR-10: ResNet-20 in about 64,000 steps.

Source: He et al., "Deep Residual Learning for Image Recognition", 2016, section 4.2: 91.25 %
(an error of 8.75 %) for ResNet-20 with identity shortcuts (option A).

Differs from the source: cosine decay after a short warmup instead of two steps, Nesterov momentum,
weight decay on kernels alone (decoupled: 1e-4 as an L2 penalty is 1e-3 here at momentum 0.9), and
5,000 training images are held out to calibrate on.

Command: recipes train cifar-resnet20 keras:cifar10 --out runs/cifar

Measured: not measured here (CIFAR-10 must be downloaded).
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
        name="cifar-resnet20",
        summary="the CIFAR-10 baseline of the ResNet paper",
        model=ModelConfig(name="resnet20"),
        optimizer=OptimizerConfig(name="sgd", learning_rate=0.1, weight_decay=1e-3),
        schedule=ScheduleConfig(name="cosine", warmup=0.02),
        augmentation=AugmentationConfig(flip="horizontal", crop_padding=4),
        training=TrainingConfig(epochs=182, batch_size=128, keep="last"),
    )
