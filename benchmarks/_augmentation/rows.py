"""The rows of the table: what is measured and how fast it is meant to be."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: Key in the sides' tables, and what `--rows` takes.
        title: What it does.
        targets: Least ratio to Keras at 32 and at 224 pixels, in images per CPU-second; `None`
            where none is set.
        of_floor: The targets are shares of the speed of copying instead.
        behind: At 224 pixels ours is not to be slower than albumentations.
    """

    name: str
    title: str
    targets: tuple[float | None, float | None] = (None, None)
    of_floor: bool = False
    behind: bool = False

    def target(self, size):
        """Return the target for images of this size, or `None`."""
        return dict(zip((32, 224), self.targets, strict=True)).get(size)


ROWS = (
    Row("floor", "cast to float32"),
    Row("flip", "flip", (7, 15)),
    Row("rotation", "rotation by 30 degrees", (5, 6)),
    Row("affine", "flip, rotation, zoom in one warp", (11, 14)),
    Row("resized_crop", "random resized crop, flip", (3, 3), behind=True),
    Row("brightness", "brightness", (1, 2.2)),
    Row("contrast", "contrast", (2, 4.5), behind=True),
    Row("saturation", "saturation", (9, 25)),
    Row("hue", "hue (HSV)", (12, 25)),
    Row("jitter", "colour jitter, exact", (12, 20)),
    Row("gray", "grey", (5, 10), behind=True),
    Row("erasing", "erasing, noise", (20, 30), behind=True),
    Row("blur", "Gaussian blur", (4, 10), behind=True),
    Row("autocontrast", "autocontrast", (7, 20)),
    Row("equalize", "equalize", (3.5, 10), behind=True),
    Row("solarize", "solarize", (8, 20)),
    Row("posterize", "posterize", (1, 3)),
    Row("sharpness", "sharpness", (1, 2), behind=True),
    Row("noise", "Gaussian noise", (15, 30)),
    Row("pca", "PCA lighting", (None, 0.8), of_floor=True),
    Row("mixup", "MixUp", (1.2, 3)),
    Row("cutmix", "CutMix", (6, 12)),
    Row("crop_jitter", "resized crop, flip, jitter", (10, 12)),
    Row("randaugment", "RandAugment, 2 operations", (15, 50), behind=True),
    Row("randaugment_mix", "RandAugment, MixUp or CutMix", (14, 40)),
    Row("augmix", "AugMix", (3, 3)),
    Row("shift", "flip, shift, cutout"),
    Row("shift_mix", "flip, shift, cutout, mix"),
)
NAMES = tuple(row.name for row in ROWS)
