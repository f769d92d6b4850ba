"""The standard deviation of neuronal noise, for every way of drawing it."""

from keras import ops

# Keeps the derivative of the square root finite; the published models have it too.
EPSILON = 1e-4


def deviation(
    responses,
    *,
    noise_scale: float,
    noise_level: float,
    noise_gain: float,
    epsilon: float = EPSILON,
    signed: bool = False,
):
    """Standard deviation of the noise, in the units of `responses`.

    Args:
        responses: tensor of any shape, noiseless.
        noise_scale: float. From responses to spikes.
        noise_level: float. Spontaneous activity, in spikes.
        noise_gain: float or scalar tensor. Factor on the standard deviation.
        epsilon: float. Variance, in spikes, where there is no activity. Defaults to
            `1e-4`.
        signed: bool. Whether negative responses are activity too. Defaults to `False`.

    Returns:
        Tensor of that shape.
    """
    spikes = responses * noise_scale + noise_level
    spikes = ops.abs(spikes) if signed else ops.relu(spikes)
    factor = ops.cast(noise_gain / noise_scale, spikes.dtype)
    return ops.sqrt(spikes + epsilon) * factor
