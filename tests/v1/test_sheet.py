import numpy as np

from v1keras.v1 import GaborParameters, Variant, filter_sheet


def test_filter_sheet_shows_kernels_in_their_colour():
    class One(Variant):
        def sample(self, n=None):
            return GaborParameters(
                sf=[4.0], theta=[0.0], phase=[0.0], nx=[0.5], ny=[0.5],
                channel_q0=[2], channel_q1=[2],
            )  # fmt: skip

    sheet = filter_sheet(
        One(name="one"), image_size=64, visual_degrees=2.0, kernel_size=25, scale=1
    )
    centre = sheet[2 + 12, 2 + 12]
    # The maximum of the kernel, on blue: full blue, the others weaker.
    assert centre[2] == 255 and 128 < centre[0] == centre[1] < 255
    assert np.all(sheet[0] == 255)
