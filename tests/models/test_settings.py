"""What a front-end may be built with."""

import pytest

from v1keras.models import build_classifier, resolve_setting, setting_for


def test_a_stride_larger_than_the_images_is_refused():
    assert resolve_setting("standard", 64, stride=64)[1].stride == 64
    message = "at most the height of the images.*stride=100 for images of 64 pixels"
    for variant in ("standard", "base"):
        with pytest.raises(ValueError, match=message):
            build_classifier("resnet18", variant, num_classes=3, width=4, stride=100)


@pytest.mark.parametrize("size", [None, "64", (64, 64)])
def test_a_size_of_images_that_is_no_integer_is_refused(size):
    for refuse in (setting_for, lambda size: resolve_setting("standard", size)):
        with pytest.raises(ValueError, match="`image_size` must be an integer"):
            refuse(size)
