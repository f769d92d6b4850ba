"""The size of neuronal noise, which every way of drawing it shares."""

from keras import ops

# Keeps the derivative of the square root finite; the published models have it too.
_EPSILON = 1e-4


def deviation(responses, *, noise_scale: float, noise_level: float, noise_gain: float):
    """Standard deviation of the noise, in the units of `responses`.

    Args:
        responses: tensor of any shape, noiseless.
        noise_scale: float. From responses to spikes.
        noise_level: float. Spontaneous activity, in spikes.
        noise_gain: float. Factor on the standard deviation.

    Returns:
        Tensor of that shape.
    """
    spikes = ops.relu(responses * noise_scale + noise_level)
    return ops.sqrt(spikes + _EPSILON) * (noise_gain / noise_scale)
