"""The networks behind the front-end: a table without Keras, for command lines."""

# Blocks per stage, and whether they are bottleneck blocks (He et al. 2016).
ARCHITECTURES = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet50": ((3, 4, 6, 3), True),
}

NORMALIZATIONS = ("batch", "group")
"""How a backbone may normalise."""
