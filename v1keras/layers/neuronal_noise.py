"""Neuronal noise: variance proportional to the mean, as in cortex."""

import keras
from keras import ops

from v1keras.hardware import is_tensorflow_on_cpu
from v1keras.layers.deviation import EPSILON, deviation

NOISE_MODES = ("stochastic", "off", "fixed")

# An odd constant: the seeds of the replicas lie far apart.
_REPLICA_STRIDE = 0x9E3779B1


class _ReplicaSeedGenerator(keras.random.SeedGenerator):
    """A seed generator whose draws differ between replicas of a TF strategy.

    Keras gives each replica a copy of the same state, so that all of them would
    draw the same noise.
    """

    def next(self, ordered=True):
        seed = super().next(ordered=ordered)
        if keras.backend.backend() != "tensorflow":
            return seed
        import tensorflow as tf

        replica = tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1:
            return seed
        offset = ops.cast(replica.replica_id_in_sync_group, seed.dtype)
        offset = offset * ops.cast(_REPLICA_STRIDE, seed.dtype)
        return ops.stack([seed[0] + offset, seed[1]])


@keras.saving.register_keras_serializable(package="v1keras")
class NeuronalNoise(keras.layers.Layer):
    """Adds Gaussian noise whose variance grows with the response.

    With `u = responses * noise_scale + noise_level`, the layer returns
    `(u + N(0, 1) * sqrt(relu(u) + 1e-4) * noise_gain - noise_level) / noise_scale`
    (Dapello, Marques et al. 2020; Softky and Koch 1993 for the variance). The noise
    is on at inference too: these models are stochastic. The Fano factor, variance over
    mean, of the responses is `noise_gain^2 / noise_scale`.

    Args:
        noise_gain: float. Factor on the standard deviation; 0 adds nothing.
            Defaults to `1.0`.
        noise_scale: float. From responses to spikes. Defaults to `0.286`.
        noise_level: float. Spontaneous activity, in spikes. Defaults to `0.071`.
        epsilon: float. Variance, in spikes, where there is no activity. Defaults to
            `1e-4`.
        signed: bool. Whether responses are signed, as before V1: the variance then
            grows with `abs(u)` instead of `relu(u)`. Defaults to `False`.
        noise: str. `"stochastic"` draws new noise in each call, `"off"` none,
            `"fixed"` adds one pattern, drawn from `seed`, to every image. See
            `v1keras.set_noise` to switch it in a model. Defaults to `"stochastic"`.
        rectify: bool. Whether negative noisy responses become 0. Defaults to
            `False`.
        seed: int. Seed of the noise. Defaults to `0`.
        **kwargs: the arguments of every `keras.layers.Layer`.

    Input shape:
        Any; the first axis is the batch.

    Output shape:
        That of the input.

    Raises:
        ValueError: if `noise` is unknown, the scale not positive or the gain
            negative.

    Example:

    >>> layer = v1keras.layers.NeuronalNoise(noise="fixed", seed=0)
    >>> responses = np.ones((2, 8, 8, 4), "float32")
    >>> bool(np.all(layer(responses)[0] == layer(responses)[1]))
    True
    """

    def __init__(
        self,
        noise_gain: float = 1.0,
        *,
        noise_scale: float = 0.286,
        noise_level: float = 0.071,
        epsilon: float = EPSILON,
        signed: bool = False,
        noise: str = "stochastic",
        rectify: bool = False,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if noise_gain < 0 or noise_scale <= 0:
            raise ValueError(
                "`noise_gain` must be at least 0 and `noise_scale` positive. "
                f"Received: noise_gain={noise_gain}, noise_scale={noise_scale}"
            )
        self.noise_gain = noise_gain
        self.noise_scale = noise_scale
        self.noise_level = noise_level
        self.epsilon = epsilon
        self.signed = signed
        self.rectify = rectify
        # A name of its own: SavedModel takes none that begins with an underscore.
        self.seed_generator = _ReplicaSeedGenerator(seed, name="noise_seed")
        self.set_mode(noise, seed)
        # A function from responses to standard normal numbers, for those who need
        # another source of them; the export does.
        self.source = None
        # Left to itself, Keras would compile the whole model with XLA, whose
        # convolutions are slower on a CPU; `jit_compile=True` still works.
        self.supports_jit = False

    @property
    def is_stochastic(self) -> bool:
        """Whether two calls with the same input differ."""
        return self.noise == "stochastic" and self.noise_gain > 0

    def set_mode(self, noise: str, seed: int = 0) -> None:
        """Switches the noise and seeds it anew.

        Args:
            noise: str. `"stochastic"`, `"off"` or `"fixed"`.
            seed: int. Seed of the following draws.

        Raises:
            ValueError: if `noise` is unknown.
        """
        if noise not in NOISE_MODES:
            raise ValueError(
                f"`noise` must be one of {', '.join(NOISE_MODES)}. "
                f"Received: noise={noise!r}"
            )
        self.noise = noise
        self.seed = seed
        self.seed_generator.state.assign([seed, 0])

    def call(self, responses):
        if self.noise != "off" and self.noise_gain > 0:
            responses = self._add_noise(responses)
        return ops.relu(responses) if self.rectify else responses

    def _add_noise(self, responses):
        constants = {
            "noise_scale": self.noise_scale,
            "noise_level": self.noise_level,
            "noise_gain": self.noise_gain,
            "epsilon": self.epsilon,
            "signed": self.signed,
        }
        if self.source is not None:
            normal = self.source(responses)
        elif self.noise == "fixed":
            # One pattern for all images: independent of the size of the batch.
            shape = (1, *ops.shape(responses)[1:])
            normal = keras.random.normal(shape, dtype=responses.dtype, seed=self.seed)
        elif is_tensorflow_on_cpu():  # GPUs draw fast by themselves
            from v1keras.layers import fused_noise

            seed = self.seed_generator.next()
            return fused_noise.add_noise(responses, seed, **constants)
        else:
            normal = keras.random.normal(
                ops.shape(responses), dtype=responses.dtype, seed=self.seed_generator
            )
        return responses + normal * deviation(responses, **constants)

    def save_own_variables(self, store):
        # Keras leaves the state of seed generators out of its files; a training that
        # is resumed would draw its first noise again.
        store["seed_state"] = ops.convert_to_numpy(self.seed_generator.state)

    def load_own_variables(self, store):
        if "seed_state" in store:  # weights that were converted have none
            self.seed_generator.state.assign(store["seed_state"][:])

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "noise_gain": self.noise_gain,
            "noise_scale": self.noise_scale,
            "noise_level": self.noise_level,
            "epsilon": self.epsilon,
            "signed": self.signed,
            "noise": self.noise,
            "rectify": self.rectify,
            "seed": self.seed,
        }


def noise_layers(layer: keras.layers.Layer) -> list[NeuronalNoise]:
    """All `NeuronalNoise` layers within a layer or model, nested ones too."""
    return [
        inner
        for inner in layer._flatten_layers(include_self=True, recursive=True)
        if isinstance(inner, NeuronalNoise)
    ]


def is_stochastic(model: keras.layers.Layer) -> bool:
    """Whether two calls of a layer or model with the same input differ.

    Args:
        model: Keras model or layer.

    Returns:
        bool, by the V1 noise within it.
    """
    return any(layer.is_stochastic for layer in noise_layers(model))


def set_noise(model: keras.layers.Layer, noise: str, seed: int = 0) -> None:
    """Switches the neuronal noise of every V1 front-end in a model.

    Several front-ends (the members of an ensemble) are seeded differently from each
    other. Functions that Keras has compiled for `predict`, `evaluate` and `fit` are
    made anew; a `tf.function` of your own that calls the model keeps the noise that
    it was traced with.

    Args:
        model: Keras model or layer.
        noise: str. `"stochastic"` (as in training and in the paper), `"off"`, or
            `"fixed"` (the same pattern for each image: deterministic).
        seed: int. Seed of the noise; 0 is a seed. Defaults to `0`.

    Raises:
        ValueError: if `noise` is unknown.

    Example:

    >>> model = v1keras.models.build_classifier("resnet18", num_classes=10, width=16)
    >>> v1keras.set_noise(model, "off")
    """
    for index, layer in enumerate(noise_layers(model)):
        layer.set_mode(noise, member_seed(seed, index))
    for inner in model._flatten_layers(include_self=True, recursive=True):
        if isinstance(inner, keras.Model):
            inner.train_function = None
            inner.test_function = None
            inner.predict_function = None


def member_seed(seed: int, index: int) -> int:
    """The seed of the `index`-th noise layer of a model; the first keeps `seed`."""
    return (seed + index * 1_000_003) % 2**31
