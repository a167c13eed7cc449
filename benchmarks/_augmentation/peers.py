"""The same operations of albumentations and kornia, where they are installed.

albumentations works on one image at a time; stacking and casting to float32 are timed with it, as
a model needs both. kornia is given what it works on: a float32 batch, channels first, in `[0, 1]`.
"""

import numpy as np


def albumentations_rows(size):
    """Return a dictionary of row name to transform (`None` does nothing); empty without it."""
    try:
        import albumentations as A
        import cv2
    except ImportError:
        return {}
    # One process, one thread.
    cv2.setNumThreads(0)
    flip, crop = A.HorizontalFlip(p=0.5), A.RandomResizedCrop((size, size), p=1)
    jitter = A.ColorJitter((0.6, 1.4), (0.6, 1.4), (0.6, 1.4), (-0.1, 0.1), p=1)
    return {
        "floor": None,
        "flip": flip,
        "rotation": A.Rotate(30, p=1),
        "affine": A.Compose([flip, A.Affine(scale=(0.8, 1.2), rotate=(-30, 30), p=1)]),
        "resized_crop": A.Compose([crop, flip]),
        "brightness": A.RandomBrightnessContrast(0.2, 0, p=1),
        "contrast": A.RandomBrightnessContrast(0, 0.4, p=1),
        "hue": A.HueSaturationValue(20, 0, 0, p=1),
        "jitter": jitter,
        "gray": A.ToGray(p=1),
        "erasing": A.Erasing(fill="random", p=1),
        "blur": A.GaussianBlur((5, 5), (0.5, 1.0), p=1),
        "autocontrast": A.AutoContrast(p=1),
        "equalize": A.Equalize(p=1),
        "solarize": A.Solarize(p=1),
        "posterize": A.Posterize(4, p=1),
        "sharpness": A.Sharpen(p=1),
        "noise": A.GaussNoise((0.05, 0.05), p=1),
        "pca": A.FancyPCA(p=1),
        "crop_jitter": A.Compose([crop, flip, jitter]),
        "randaugment": _albumentations_rand_augment(A),
    }


def _albumentations_rand_augment(A):
    """Return two of the 14 operations of RandAugment at magnitude 9 of 30, as torchvision's."""
    members = [
        A.NoOp(p=1),
        A.AutoContrast(p=1),
        A.Equalize(p=1),
        A.Rotate((-9, 9), p=1),
        A.Solarize((0.7, 0.7), p=1),
        A.ColorJitter((1, 1), (1, 1), (0.73, 1.27), (0, 0), p=1),
        A.Posterize(6, p=1),
        A.RandomBrightnessContrast(0, 0.27, p=1),
        A.RandomBrightnessContrast(0.27, 0, p=1),
        A.Sharpen(p=1),
        A.Affine(shear={"x": (-5, 5), "y": (0, 0)}, p=1),
        A.Affine(shear={"x": (0, 0), "y": (-5, 5)}, p=1),
        A.Affine(translate_percent={"x": (-0.14, 0.14), "y": (0, 0)}, p=1),
        A.Affine(translate_percent={"x": (0, 0), "y": (-0.14, 0.14)}, p=1),
    ]
    return A.SomeOf(members, n=2, p=1)


def albumentations_batch(transform, images):
    """Return a function that makes one float32 batch of uint8 `images`."""

    def run():
        changed = [
            image if transform is None else transform(image=image)["image"] for image in images
        ]
        return np.stack(changed).astype(np.float32)

    return run


def kornia_rows(images, labels):
    """Return a dictionary of row name to a function that mixes one batch; empty without it."""
    try:
        import torch
        from kornia import augmentation
    except ImportError:
        return {}
    torch.set_num_threads(1)
    batch = torch.from_numpy(images.transpose(0, 3, 1, 2) / np.float32(255))
    classes = torch.from_numpy(labels).long()
    mixes = {
        "mixup": augmentation.RandomMixUpV2(p=1, data_keys=["input", "class"]),
        "cutmix": augmentation.RandomCutMixV2(p=1, data_keys=["input", "class"]),
    }
    return {name: lambda mix=mix: mix(batch, classes) for name, mix in mixes.items()}
