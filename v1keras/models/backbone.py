"""ResNet18 and ResNet50 v1.5 without their stem, as functions on Keras tensors."""

import math

import keras
from keras import layers

from v1keras.layers import BatchNormalization
from v1keras.models.architectures import ARCHITECTURES, NORMALIZATIONS
from v1keras.scalars import LARGEST_SEED, as_seed

_BOTTLENECK_EXPANSION = 4

# Wu and He 2018, "Group Normalization" (ECCV, arXiv 1803.08494).
_GROUPS = 32


class Parts:
    """Makes the convolutions and normalisations of one model.

    Args:
        seed: int. Every initial weight gets a different seed derived from it. From 0 to
            2**32 - 1.
        normalization: str. One of `NORMALIZATIONS`.

    Raises:
        ValueError: if `normalization` is unknown or `seed` out of range.
    """

    def __init__(self, seed: int, normalization: str = "batch"):
        if normalization not in NORMALIZATIONS:
            raise ValueError(
                f"`normalization` must be one of {', '.join(NORMALIZATIONS)}. "
                f"Received: normalization={normalization!r}"
            )
        self._seed = as_seed(seed) * 1000
        self._normalization = normalization

    def seed(self) -> int:
        """The next seed."""
        self._seed += 1
        if keras.backend.backend() == "tensorflow":
            return self._seed
        # Other back-ends take 32 bits.
        return self._seed & LARGEST_SEED

    def convolution(self, x, filters: int, size: int, *, stride: int = 1, name: str):
        """A convolution without bias, He normal by fan-out, padded by `size // 2`."""
        padding = "same"
        if stride > 1 and size > 1:
            # "same" pads strided convolutions on the far side only; PyTorch, and with
            # it the published models, on both sides.
            x = layers.ZeroPadding2D(
                size // 2, data_format="channels_last", name=f"{name}_pad"
            )(x)
            padding = "valid"
        return layers.Conv2D(
            filters,
            size,
            strides=stride,
            padding=padding,
            data_format="channels_last",
            use_bias=False,
            kernel_initializer=keras.initializers.VarianceScaling(
                2.0, "fan_out", "untruncated_normal", seed=self.seed()
            ),
            name=name,
        )(x)

    def normalization(self, x, *, name: str):
        """Normalisation with the constants of the published models."""
        if self._normalization == "group":
            # Each group has the same number of channels.
            groups = math.gcd(_GROUPS, x.shape[-1])
            return layers.GroupNormalization(groups, epsilon=1e-5, name=name)(x)
        return BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)


def backbone(x, arch: str, *, width: int, num_classes: int, parts: Parts):
    """The four stages of a ResNet, global pooling and the classifier.

    Args:
        x: Keras tensor of shape (batch, height, width, channels).
        arch: str. A key of `ARCHITECTURES`.
        width: int. Channels of the first stage; 64 in the published models.
        num_classes: int. The number of logits.
        parts: `Parts` of the model.

    Returns:
        Keras tensor of logits, of shape (batch, num_classes), in float32.
    """
    depths, bottleneck = ARCHITECTURES[arch]
    block = _bottleneck_block if bottleneck else _basic_block
    for stage, depth in enumerate(depths):
        for index in range(depth):
            stride = 2 if stage > 0 and index == 0 else 1
            x = block(
                x,
                width * 2**stage,
                stride=stride,
                parts=parts,
                name=f"layer{stage + 1}_{index}",
            )
    x = layers.GlobalAveragePooling2D(data_format="channels_last", name="pool")(x)
    uniform = {"scale": 1.0 / 3.0, "mode": "fan_in", "distribution": "uniform"}
    return layers.Dense(
        num_classes,
        kernel_initializer=keras.initializers.VarianceScaling(
            **uniform, seed=parts.seed()
        ),
        dtype="float32",
        name="logits",
    )(x)


def _basic_block(x, filters, *, stride, parts, name):
    shortcut = _shortcut(x, filters, stride=stride, parts=parts, name=name)
    x = parts.convolution(x, filters, 3, stride=stride, name=f"{name}_conv1")
    x = layers.ReLU(name=f"{name}_relu1")(parts.normalization(x, name=f"{name}_norm1"))
    x = parts.convolution(x, filters, 3, name=f"{name}_conv2")
    x = parts.normalization(x, name=f"{name}_norm2")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu2")(x)


def _bottleneck_block(x, filters, *, stride, parts, name):
    outputs = filters * _BOTTLENECK_EXPANSION
    shortcut = _shortcut(x, outputs, stride=stride, parts=parts, name=name)
    x = parts.convolution(x, filters, 1, name=f"{name}_conv1")
    x = layers.ReLU(name=f"{name}_relu1")(parts.normalization(x, name=f"{name}_norm1"))
    # v1.5: the stride sits in the 3x3 convolution.
    x = parts.convolution(x, filters, 3, stride=stride, name=f"{name}_conv2")
    x = layers.ReLU(name=f"{name}_relu2")(parts.normalization(x, name=f"{name}_norm2"))
    x = parts.convolution(x, outputs, 1, name=f"{name}_conv3")
    x = parts.normalization(x, name=f"{name}_norm3")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu3")(x)


def _shortcut(x, filters, *, stride, parts, name):
    if stride == 1 and x.shape[-1] == filters:
        return x
    x = parts.convolution(x, filters, 1, stride=stride, name=f"{name}_shortcut_conv")
    return parts.normalization(x, name=f"{name}_shortcut_norm")
