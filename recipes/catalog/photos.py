"""A folder of photographs, from scratch, on a GPU: ResNet-18 at 128 pixels.

Source: the network and its initialisation are those of He et al., "Deep Residual Learning for Image
Recognition", 2016 (ResNet-18, as in torchvision); schedule, label smoothing, exponential averaging
and CutMix follow Wightman et al., "ResNet strikes back", 2021, shortened to 60 epochs.

Differs from the source: 128 pixels instead of 224, SGD, and flips with padded crops instead of
random resized crops.

Command: recipes train photos my_photos/ --out runs/photos

Measured: not measured on photographs.
"""

from recipes.config import (
    AugmentationConfig,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    Recipe,
    ScheduleConfig,
    TrainingConfig,
)


def config() -> Recipe:
    """Return the recipe."""
    return Recipe(
        name="photos",
        summary="photographs of your own, from scratch, ResNet-18 at 128 pixels; wants a GPU",
        model=ModelConfig(name="resnet18", stochastic_depth=0.05),
        data=DataConfig(image_size=128, color="rgb"),
        optimizer=OptimizerConfig(name="sgd", learning_rate=0.1, weight_decay=5e-4, clip_norm=5.0),
        schedule=ScheduleConfig(name="cosine", warmup=0.08),
        augmentation=AugmentationConfig(
            flip="horizontal",
            crop_padding=16,
            crop_fill="reflect",
            erase_probability=0.25,
            cutmix_alpha=1.0,
            mix_probability=0.5,
            label_smoothing=0.1,
        ),
        training=TrainingConfig(epochs=60, batch_size=64, ema=0.999, keep="last"),
    )
