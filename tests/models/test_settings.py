"""What a front-end may be built with."""

import pytest

from v1keras.models import build_classifier, resolve_setting


def test_a_stride_larger_than_the_images_is_refused():
    assert resolve_setting("standard", 64, stride=64)[1].stride == 64
    message = "at most the height of the images.*stride=100 for images of 64 pixels"
    for variant in ("standard", "base"):
        with pytest.raises(ValueError, match=message):
            build_classifier("resnet18", variant, num_classes=3, width=4, stride=100)
