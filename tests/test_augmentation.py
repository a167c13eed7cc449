"""What a recipe's `augmentation` section may ask for, of which images."""

import pytest

from recipes.augmentation import check_augmentation
from recipes.config import AugmentationConfig
from recipes.errors import ConfigError


def test_a_policy_that_does_not_fit_the_channels_is_refused():
    chosen = AugmentationConfig(policy="randaugment(value=(124, 116, 104))")
    check_augmentation(chosen, (28, 28, 3))
    message = r"augmentation.policy: value must be .*, 1 in these images, received: \(124, 116"
    with pytest.raises(ConfigError, match=message):
        check_augmentation(chosen, (28, 28, 1))
    check_augmentation(AugmentationConfig(policy="trivialaugment(value=7)"), (28, 28, 1))
