"""What classifiers are made of besides V1: tables without Keras, for command lines."""

# Blocks per stage, and whether they are bottleneck blocks (He et al. 2016).
ARCHITECTURES = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet50": ((3, 4, 6, 3), True),
}

NORMALIZATIONS = ("batch", "group")
"""How a backbone may normalise."""

# Means and standard deviations of red, green and blue over ImageNet, of pixels in
# [0, 1], as torchvision has them.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

PIXEL_SCALINGS = {
    "symmetric": {"scale": 1.0 / 127.5, "offset": -1.0},
    "imagenet": {
        # One row of one pixel: Keras takes a bare list for the factors of the axis that
        # `keras.config.image_data_format` says, and our images are "channels_last".
        "scale": [[[1.0 / (255.0 * std) for std in _IMAGENET_STD]]],
        "offset": [
            -mean / std for mean, std in zip(_IMAGENET_MEAN, _IMAGENET_STD, strict=True)
        ],
    },
}
"""How pixels in 0..255 may be scaled: arguments of `keras.layers.Rescaling`."""
