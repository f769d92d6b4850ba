"""An ensemble: one functional model that averages its members."""

from collections.abc import Sequence

import keras
from keras import ops

from v1keras.layers.neuronal_noise import member_seed, noise_layers
from v1keras.models.sharing import share_front_ends

AVERAGES = ("logits", "probabilities")


@keras.saving.register_keras_serializable(package="v1keras")
class MeanLogits(keras.layers.Layer):
    """Averages the logits of several classifiers.

    Args:
        average: str. `"logits"` gives their mean; `"probabilities"` gives the
            logarithm of the mean of their softmax, which is a valid set of logits:
            its softmax is the mean probability. Defaults to `"logits"`.
        **kwargs: the arguments of every `keras.layers.Layer`.

    Input shape:
        A list of (batch, classes).

    Output shape:
        (batch, classes), float32.

    Raises:
        ValueError: if `average` is unknown.

    Example:

    >>> layer = v1keras.models.MeanLogits()
    >>> layer([np.array([[0.0, 2.0]]), np.array([[4.0, 0.0]])]).numpy()
    array([[2., 1.]], dtype=float32)
    """

    def __init__(self, average: str = "logits", **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        if average not in AVERAGES:
            raise ValueError(
                f"`average` must be one of {', '.join(AVERAGES)}. "
                f"Received: average={average!r}"
            )
        self.average = average

    def call(self, logits):
        logits = ops.stack(logits, axis=0)
        if self.average == "logits":
            return ops.mean(logits, axis=0)
        log_probabilities = ops.log_softmax(logits, axis=-1)
        total = ops.logsumexp(log_probabilities, axis=0)
        return total - ops.log(ops.cast(ops.shape(logits)[0], total.dtype))

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {**super().get_config(), "average": self.average}


def build_ensemble(
    members: Sequence[keras.Model],
    *,
    average: str = "logits",
    probabilities: bool = False,
    name: str = "ensemble",
) -> keras.Model:
    """Builds one functional model that averages its members.

    Members keep their own V1 noise: the noise layers are seeded anew, so that no two
    members draw the same. V1 filters that members have in common are computed once.
    The members' own layers and weights are used, not copied.

    Args:
        members: sequence of `keras.Model`. Classifiers with one image input and one
            output of logits, of equal shapes.
        average: str. `"logits"` or `"probabilities"`; see `MeanLogits`. Defaults to
            `"logits"`.
        probabilities: bool. Whether to give, instead of logits, a dictionary of
            `logits` and the mean of the members' `probabilities`. Defaults to
            `False`.
        name: str. The name of the model. Defaults to `"ensemble"`.

    Returns:
        `keras.Model`.

    Raises:
        ValueError: if there is no member, or two of them differ in input or number
            of classes; the message names the two.

    Example:

    >>> members = [
    ...     v1keras.models.build_classifier("resnet18", v, num_classes=10, width=16)
    ...     for v in ("sf_low", "sf_high")
    ... ]
    >>> ensemble = v1keras.models.build_ensemble(members)
    >>> ensemble.output_shape
    (None, 10)
    """
    members = list(members)
    if not members:
        raise ValueError("`members` must hold at least one model. Received: members=[]")
    first = members[0]
    for member in members[1:]:
        for what in ("input_shape", "output_shape"):
            if getattr(member, what) != getattr(first, what):
                raise ValueError(
                    f"All members must have the same {what.replace('_', ' ')}. "
                    f"Received: {first.name} with {getattr(first, what)}, "
                    f"{member.name} with {getattr(member, what)}"
                )

    inputs = keras.Input(first.input_shape[1:], name="images")
    logits = share_front_ends(_uniquely_named(members), inputs)
    outputs = MeanLogits(average, name="logits")(logits)
    if probabilities:
        mean = MeanLogits("probabilities", name="log_probabilities")(logits)
        softmax = keras.layers.Softmax(dtype="float32", name="probabilities")
        outputs = {"logits": outputs, "probabilities": softmax(mean)}
    ensemble = keras.Model(inputs, outputs, name=name)
    for index, layer in enumerate(noise_layers(ensemble)):
        layer.set_mode(layer.noise, member_seed(layer.seed, index))
    return ensemble


def _uniquely_named(members: list[keras.Model]) -> list[keras.Model]:
    """Members as they are, or within a model of another name where names clash."""
    taken: set[str] = set()
    unique = []
    for member in members:
        name, count = member.name, 1
        while name in taken:
            count += 1
            name = f"{member.name}_{count}"
        taken.add(name)
        if name != member.name:
            # The same layers in a model of another name.
            member = keras.Model(member.inputs, member.outputs[0], name=name)
        unique.append(member)
    return unique
