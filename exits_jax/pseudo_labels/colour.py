"""Colour augmentation of the crop the student sees: jitter, grey, blur. Geometry stays."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageEnhance, ImageFilter

# Strengths below are those usual for self-supervised training, as relatives of the method use them
# [I]; not given in the paper. Hue is left alone.
JITTER_PROBABILITY = 0.8
BRIGHTNESS = CONTRAST = SATURATION = 0.4  # factors are uniform in 1 -+ this
GREY_PROBABILITY = 0.2
BLUR_PROBABILITY = 0.5
BLUR_SIGMA = (0.1, 2.0)  # pixels of a crop of 224; scaled with the crop's size


def change_colour(
    image: UInt8[np.ndarray, "s s 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "s s 3"]:
    """Brightness, contrast and saturation jitter, sometimes grey, sometimes blurred.

    All random numbers are always drawn, so that a crop's draws never depend on which of the changes
    it gets.
    """
    jitter, grey, blur, sigma = rng.random(4)
    factors = 1 + rng.uniform(-1, 1, size=3) * [BRIGHTNESS, CONTRAST, SATURATION]
    picture = Image.fromarray(image)
    if jitter < JITTER_PROBABILITY:
        kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
        for kind, factor in zip(kinds, factors, strict=True):
            picture = kind(picture).enhance(float(factor))
    if grey < GREY_PROBABILITY:
        picture = picture.convert("L").convert("RGB")
    if blur < BLUR_PROBABILITY:
        radius = (BLUR_SIGMA[0] + sigma * (BLUR_SIGMA[1] - BLUR_SIGMA[0])) * len(image) / 224
        picture = picture.filter(ImageFilter.GaussianBlur(float(radius)))
    return np.array(picture)
