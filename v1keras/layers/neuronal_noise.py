"""Neuronal noise: variance proportional to the mean, as in cortex."""

import contextlib
from collections.abc import Iterator

import keras
import numpy as np
from keras import ops

from v1keras.hardware import in_compiled_step, is_tensorflow_on_cpu, outside_of_graphs
from v1keras.layers.choices import NOISE_MODES
from v1keras.layers.deviation import EPSILON, deviation
from v1keras.layers.saved_by_0_1_0 import with_seed_in_range
from v1keras.scalars import as_seed

# Odd constants: seeds of replicas, layers of one model, and streams lie far apart.
_REPLICA_STRIDE = 0x9E3779B1
_LAYER_STRIDE = 1_000_003
_STREAM_STRIDE = 0x2545F491

# The state of seed generators is whole numbers.
_SHARE_STEPS = 2**16


class ReplicaSeedGenerator(keras.random.SeedGenerator):
    """A seed generator whose draws differ between replicas of a TF strategy.

    Keras gives each replica a copy of the same state, so that all of them would
    draw the same noise.

    Args:
        seed: int. From 0 to 2**32 - 1. Defaults to `0`.
        name: str or None. The name of the generator.
    """

    def __init__(self, seed: int = 0, name: str | None = None):
        super().__init__(0, name=name)
        _set_state(self, as_seed(seed), 0)

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


class _Drawn(keras.random.SeedGenerator):
    """A seed that was drawn before; it has no state of its own."""

    def __init__(self, seed):
        self._seed = seed

    def next(self, ordered=True):
        return self._seed


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
        seed: int. Seed of the noise, from 0 to 2**32 - 1. Defaults to `0`.
        **kwargs: the arguments of every `keras.layers.Layer`.

    Call arguments:
        responses: tensor of any shape; the first axis is the batch.
        stream: int. Calls of different streams draw different noise from one seed: the
            members of an ensemble do. Defaults to `0`.

    Output shape:
        That of the input.

    Raises:
        ValueError: if `noise` is unknown, the scale not positive, another value
            negative, or `seed` out of range.

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
        if not (min(noise_gain, noise_level, epsilon) >= 0 and noise_scale > 0):
            raise ValueError(
                "`noise_gain`, `noise_level` and `epsilon` must be at least 0 and "
                f"`noise_scale` positive. Received: noise_gain={noise_gain}, "
                f"noise_level={noise_level}, epsilon={epsilon}, "
                f"noise_scale={noise_scale}"
            )
        self.noise_gain = noise_gain
        self.noise_scale = noise_scale
        self.noise_level = noise_level
        self.epsilon = epsilon
        self.signed = signed
        self.rectify = rectify
        # Names of their own: SavedModel takes none that begins with an underscore.
        self.seed_generator = ReplicaSeedGenerator(seed, name="noise_seed")
        # Mode and seed as compiled functions read them. Only the state of a seed
        # generator is handed to them and yet no weight, which files would hold.
        self.noise_mode = keras.random.SeedGenerator(0, name="noise_mode")
        self.set_mode(noise, seed)
        self.noise_share = keras.random.SeedGenerator(0, name="noise_share")
        self.set_share(1.0)
        # A function from responses to standard normal numbers, for those who need
        # another source of them; the export does.
        self.source = None
        # Left to itself, Keras would compile the whole model with XLA, whose
        # convolutions are slower on a CPU; `jit_compile=True` still works.
        self.supports_jit = not is_tensorflow_on_cpu()

    @property
    def is_stochastic(self) -> bool:
        """Whether two calls with the same input differ."""
        return self.noise == "stochastic" and self.noise_gain > 0

    def set_mode(self, noise: str, seed: int = 0) -> None:
        """Switches the noise and seeds it anew.

        Args:
            noise: str. `"stochastic"`, `"off"` or `"fixed"`.
            seed: int. Seed of the following draws, from 0 to 2**32 - 1.

        Raises:
            ValueError: if `noise` is unknown or `seed` out of range.
        """
        if noise not in NOISE_MODES:
            raise ValueError(
                f"`noise` must be one of {', '.join(NOISE_MODES)}. "
                f"Received: noise={noise!r}"
            )
        self.seed = as_seed(seed)
        self.noise = noise
        _set_state(self.seed_generator, self.seed, 0)
        _set_state(self.noise_mode, NOISE_MODES.index(noise), self.seed)

    def set_share(self, share: float) -> None:
        """Weakens the noise, for functions that are compiled already too.

        Args:
            share: float. In [0, 1]. The standard deviation becomes this share of what
                the layer's constants say. It is not kept in files.

        Raises:
            ValueError: if `share` is out of range.
        """
        if not 0 <= share <= 1:
            raise ValueError(
                f"`share` must be between 0 and 1. Received: share={share}"
            )
        self.share = share
        _set_state(self.noise_share, round(share * _SHARE_STEPS), 0)

    def call(self, responses, stream: int = 0):
        if self.noise_gain > 0:
            responses = self._noisy(responses, stream)
        return ops.relu(responses) if self.rectify else responses

    def _noisy(self, responses, stream: int):
        if self.source is not None:
            if self.noise == "off":
                return responses
            return self._add(responses, self.source(responses))
        if in_compiled_step(responses):
            # Drawn before: a branch must not change the state.
            seed, pattern_seed = self._draw_seed(stream), self._pattern_seed(stream)
            share = ops.cast(self.noise_share.state[0], "float32") / _SHARE_STEPS
            modes = {
                "stochastic": lambda: self._add_stochastic(responses, seed, share),
                "off": lambda: responses,
                "fixed": lambda: self._add_fixed(responses, pattern_seed, share),
            }
            mode = ops.cast(self.noise_mode.state[0], "int32")
            return ops.switch(mode, [modes[name] for name in NOISE_MODES])
        if self.noise == "off":
            return responses
        if self.noise == "stochastic":
            return self._add_stochastic(responses, self._draw_seed(stream))
        if None in responses.shape[1:]:
            return self._add_fixed(responses, self._pattern_seed(stream))
        # A constant of what is exported: LiteRT cannot draw it, servers need not.
        with outside_of_graphs():
            pattern = _pattern(
                (1, *responses.shape[1:]), responses.dtype, self._pattern_seed(stream)
            )
        pattern = ops.convert_to_tensor(
            ops.convert_to_numpy(pattern), dtype=responses.dtype
        )
        return self._add(responses, pattern)

    def _draw_seed(self, stream: int):
        return _of_stream(self.seed_generator.next(), stream)

    def _pattern_seed(self, stream: int):
        seed = ops.convert_to_tensor(self.noise_mode.state)[1]
        return _of_stream(ops.stack([seed, ops.zeros_like(seed)]), stream)

    def _add_stochastic(self, responses, seed, share=None):
        if is_tensorflow_on_cpu():  # GPUs draw fast by themselves
            from v1keras.layers import fused_noise

            return fused_noise.add_noise(responses, seed, **self._constants(share))
        normal = keras.random.normal(
            ops.shape(responses), dtype=responses.dtype, seed=_Drawn(seed)
        )
        return self._add(responses, normal, share)

    def _add_fixed(self, responses, seed, share=None):
        # One pattern for all images: independent of the size of the batch.
        shape = (1, *ops.shape(responses)[1:])
        return self._add(responses, _pattern(shape, responses.dtype, seed), share)

    def _add(self, responses, normal, share=None):
        return responses + normal * deviation(responses, **self._constants(share))

    def _constants(self, share=None) -> dict:
        return {
            "noise_scale": self.noise_scale,
            "noise_level": self.noise_level,
            "noise_gain": self.noise_gain * (self.share if share is None else share),
            "epsilon": self.epsilon,
            "signed": self.signed,
        }

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

    @classmethod
    def from_config(cls, config):
        return super().from_config(with_seed_in_range(config))


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
    other. It holds for `fit`, `evaluate` and `predict` of every model that the
    front-ends are in, compiled or not. A `tf.function` of your own and a model that is
    exported keep the noise that they were traced with.

    The mode is kept in `.keras` files of functional models and of layers. A subclassed
    model makes its layers anew when it is loaded: set its noise again.

    Args:
        model: Keras model or layer.
        noise: str. `"stochastic"` (as in training and in the paper), `"off"`, or
            `"fixed"` (the same pattern for each image: deterministic).
        seed: int. Seed of the noise, from 0 to 2**32 - 1. Defaults to `0`.

    Raises:
        ValueError: if `noise` is unknown or `seed` out of range.

    Example:

    >>> model = v1keras.models.build_classifier("resnet18", num_classes=10, width=16)
    >>> v1keras.set_noise(model, "off")
    """
    seed = as_seed(seed)
    # The lower half of the seeds draws what it always drew, the upper half other noise.
    half = seed & 2**31
    for index, layer in enumerate(noise_layers(model)):
        layer.set_mode(noise, half + (seed + index * _LAYER_STRIDE) % 2**31)


def set_noise_share(model: keras.layers.Layer, share: float) -> None:
    """Weakens the neuronal noise of every V1 front-end in a model.

    Functions that Keras has compiled follow, so that noise can grow while `fit` trains;
    `v1keras.training.NoiseWarmup` does that.

    Args:
        model: Keras model or layer.
        share: float. In [0, 1]. The standard deviation becomes this share of what it
            is otherwise; 1 is the full noise again. It is not kept in files.

    Raises:
        ValueError: if `share` is out of range.

    Example:

    >>> model = v1keras.models.build_classifier("resnet18", num_classes=10, width=16)
    >>> v1keras.layers.set_noise_share(model, 0.5)
    """
    for layer in noise_layers(model):
        layer.set_share(share)


@contextlib.contextmanager
def noise(model: keras.layers.Layer, noise: str, seed: int = 0) -> Iterator[None]:
    """Switches the neuronal noise of a model for a while; see `set_noise`.

    Args:
        model: Keras model or layer. Afterwards modes, seeds and the place in the
            sequence of draws are what they were.
        noise: str. `"stochastic"`, `"off"` or `"fixed"`.
        seed: int. Seed of the noise, from 0 to 2**32 - 1. Defaults to `0`.

    Raises:
        ValueError: if `noise` is unknown or `seed` out of range.

    Example:

    >>> model = v1keras.models.build_classifier("resnet18", num_classes=10, width=16)
    >>> with v1keras.noise(model, "off"):
    ...     logits = model(np.zeros((1, 64, 64, 3)))
    >>> v1keras.layers.is_stochastic(model)
    True
    """
    before = [
        (
            layer,
            layer.noise,
            layer.seed,
            ops.convert_to_numpy(layer.seed_generator.state),
        )
        for layer in noise_layers(model)
    ]
    try:
        set_noise(model, noise, seed)
        yield
    finally:
        for layer, mode, own_seed, state in before:
            layer.set_mode(mode, own_seed)
            layer.seed_generator.state.assign(state)


def _set_state(generator: keras.random.SeedGenerator, *numbers: int) -> None:
    """Sets the two numbers of a seed generator, each of 32 bits."""
    # PyTorch's have a sign; Keras reads the same bits.
    signed = keras.backend.backend() == "torch"
    bits = np.array(numbers, np.uint32).view(np.int32)
    generator.state.assign(bits if signed else numbers)


def _pattern(shape, dtype, seed):
    """Standard normal numbers that are the same wherever they are drawn."""
    if keras.backend.backend() != "tensorflow":
        return keras.random.normal(shape, dtype=dtype, seed=_Drawn(seed))
    # XLA draws other numbers than TensorFlow; these are ours, under both.
    from v1keras.layers import fused_noise

    return ops.cast(fused_noise.pattern(ops.stack(shape), seed), dtype)


def _of_stream(seed, stream: int):
    """A seed of two numbers, moved away from those of other streams."""
    if stream == 0:
        return seed
    offset = stream * _STREAM_STRIDE % 2**31
    return seed + ops.convert_to_tensor([offset, 0], dtype=seed.dtype)
