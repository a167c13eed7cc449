"""The sections of a recipe, each a frozen dataclass of plain types; `recipes.config` joins them."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ModelConfig:
    """Which network.

    Attributes:
        name: A name of `recipes.models.list_models()`, such as `"resnet20"`.
        width: Channels of the first stage where the family has a free width, or `None` for the
            family's own.
        dropout: Rate before the classifier, in [0, 1), or `None` for the family's own.
        stochastic_depth: Drop rate of the last residual block, in [0, 1), linear rule; or `None`
            for the family's own.
    """

    name: str = "resnet20"
    width: int | None = None
    dropout: float | None = None
    stochastic_depth: float | None = None


@dataclass(frozen=True)
class DataConfig:
    """How images and labels reach the network.

    Attributes:
        image_size: Side of the square image in pixels; `None` keeps a common size, or chooses one.
        color: `"auto"`, `"rgb"` or `"grayscale"`.
        fit: How another aspect ratio is met: `"crop"`, `"stretch"` or `"pad"`.
        validation: Share of the training images held out when the source has no validation split.
        test: Share of the training images held out when the source has no test split.
        split_seed: Seed of those splits. Apart from the training seed, so that runs over several
            seeds are judged on the same images.
        sampling: `"natural"`, or `"balanced"` to draw each class equally often.
        class_weights: Weigh the loss by inverse class frequency.
    """

    image_size: int | None = None
    color: Literal["auto", "rgb", "grayscale"] = "auto"
    fit: Literal["crop", "stretch", "pad"] = "crop"
    validation: float = 0.1
    test: float = 0.1
    split_seed: int = 0
    sampling: Literal["natural", "balanced"] = "natural"
    class_weights: bool = False


@dataclass(frozen=True)
class OptimizerConfig:
    """How weights move.

    Attributes:
        name: `"sgd"` (Nesterov momentum) or `"adamw"`.
        learning_rate: Peak learning rate, at the batch size of the recipe.
        momentum: For `"sgd"`.
        weight_decay: Decoupled: each step subtracts `learning_rate * weight_decay * weight`.
            Kernels only; biases and normalisation are left alone. (An L2 penalty `p` under SGD
            with momentum `m` corresponds to `p / (1 - m)` here.)
        clip_norm: Upper bound of the global gradient norm, or `None`.
    """

    name: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-3
    clip_norm: float | None = None


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate moves over the run.

    Attributes:
        name: `"cosine"` or `"linear"` decay after the warmup, or `"constant"`.
        warmup: Share of all steps over which the rate rises linearly from 0.
        final: Rate that is reached after the last step, as a share of the peak.
    """

    name: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = 0.1
    final: float = 0.0


@dataclass(frozen=True)
class AugmentationConfig:
    """What happens to training images and labels.

    Attributes:
        flip: Mirror at random: `"none"`, `"horizontal"` or `"both"`.
        crop_padding: Pad each side by this many pixels, then crop back at random.
        crop_fill: What the padding holds: `"constant"` (black) or `"reflect"`.
        cutout: Side in pixels of a square set to black, 0 for none.
        erase_probability: Chance of a random rectangle being erased (random erasing).
        policy: Image policy of `augment.policy` applied after flip and crop, with its arguments if
            they are not its defaults: `"randaugment"`, `"randaugment(n=2, m=9)"`; or `None`.
        mixup_alpha: Beta parameter of MixUp, 0 for none.
        cutmix_alpha: Beta parameter of CutMix, 0 for none.
        mix_probability: Chance of each image to be mixed by MixUp or CutMix.
        label_smoothing: Share of the label spread over all classes, in [0, 1).
    """

    flip: Literal["none", "horizontal", "both"] = "horizontal"
    crop_padding: int = 0
    crop_fill: Literal["constant", "reflect"] = "constant"
    cutout: int = 0
    erase_probability: float = 0.0
    policy: str | None = None
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    mix_probability: float = 1.0
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class TrainingConfig:
    """How long and how precisely.

    Attributes:
        epochs: Passes over the training images at most.
        batch_size: Images of one update of the weights, over all devices that share it.
        ema: Decay a step of the averaged weights that are validated and kept, or `None`. Early in
            training it is held lower, `(1 + step) / (10 + step)`.
        patience: Epochs without improvement before training stops, or `None` to run all epochs.
        monitor: What early stopping and the choice of the kept epoch look at.
        keep: `"best"` epoch by `monitor`, or the `"last"`.
        precision: `"auto"` takes mixed bfloat16 where the processor computes it, else float32.
        steps_per_execution: Steps a call of the compiled function runs.
        accumulation_steps: Steps over which the gradient of a batch is gathered, each of so small a
            part of it, to need less memory; on one device. All that counts updates (schedule,
            averaged weights, clipping, decay) is as without; batch normalisation sees the parts.
        jit_compile: Whether XLA compiles the training step; `None` leaves it to Keras, which does
            on one GPU.
        synchronize_batch_norm: In training, normalise by the statistics of the images of all
            devices, not of each device's own; slower. Of no effect on one device.
        seed: Of initial weights, order of images, augmentation and dropout.
    """

    epochs: int = 30
    batch_size: int = 128
    ema: float | None = None
    patience: int | None = None
    monitor: Literal["val_loss", "val_accuracy", "val_ece", "loss", "accuracy"] = "val_loss"
    keep: Literal["best", "last"] = "best"
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    steps_per_execution: int = 1
    accumulation_steps: int = 1
    jit_compile: bool | None = None
    synchronize_batch_norm: bool = False
    seed: int = 0


@dataclass(frozen=True)
class TransferConfig:
    """How a pretrained backbone is put to use. Off unless `weights` is given.

    The model's `name` is then that of the backbone, which keeps its own preprocessing; the head is
    new. The first `head_epochs` of `training.epochs` train the head alone.

    Attributes:
        weights: `"imagenet"` or the path of a weights file, or `None` to train from scratch.
        strategy: `"frozen"` trains the head alone in all epochs; `"partial"` unfreezes the last
            part of the backbone after `head_epochs`, `"full"` all of it; `"auto"` takes what
            `recipes.transfer.advise` says of so many images.
        linear_probe: Begin with a linear head fitted on features that are computed once.
        head_epochs: Epochs in which the head trains alone, before the rest.
        head_learning_rate: Peak learning rate in them, or `None` for that of the optimizer.
        unfreeze_from: For `"partial"`: first layer to train, or the first part of its name; `None`
            to go by `unfreeze_stages`.
        unfreeze_stages: For `"partial"`: stages to train, counted from the end.
        rate_decay: Factor of the learning rate from stage to stage towards the stem, above 0 and at
            most 1; 1 for the same rate everywhere.
        batch_norm: What unfrozen batch normalisations do: `"frozen"` nothing, `"affine"` train
            scale and offset, `"train"` everything, statistics included.
    """

    weights: str | None = None
    strategy: Literal["auto", "frozen", "partial", "full"] = "auto"
    linear_probe: bool = False
    head_epochs: int = 0
    head_learning_rate: float | None = None
    unfreeze_from: str | None = None
    unfreeze_stages: int = 2
    rate_decay: float = 1.0
    batch_norm: Literal["frozen", "affine", "train"] = "frozen"
