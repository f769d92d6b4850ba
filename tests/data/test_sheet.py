import numpy as np
import pytest

from v1keras.data import load_dataset, sample_sheet


def test_the_sheet_shows_the_first_images_of_each_class():
    dataset = load_dataset("shapes:24:36", image_size=32)
    test = dataset.split("test")
    sheet = sample_sheet(test, dataset.display_names, per_class=3)
    assert sheet.dtype == np.uint8
    # Two classes down, the second image: 12 classes are drawn one after the other.
    top, left = 4 + 2 * 36, 120 + 36 + 4
    np.testing.assert_array_equal(
        sheet[top : top + 32, left : left + 32], test.images[2 + 12]
    )
    # Each row has its name in front of it.
    for label in range(dataset.num_classes):
        assert sheet[4 + 36 * label : 36 + 36 * label, :120].min() < 120
    with pytest.raises(ValueError, match="which are 3 for 'circle'"):
        sample_sheet(test, dataset.display_names, per_class=4)
