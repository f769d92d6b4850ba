"""Cases of v1keras."""

import keras
import numpy as np
import tensorflow as tf
import timing

import v1keras
from v1keras.layers import fused_noise
from v1keras.layers.deviation import deviation
from v1keras.models import build_classifier, build_ensemble
from v1keras.training.optimizer import L2SGD
from v1keras.v1 import V1_VARIANTS, Variant

# No noise: what remains is the stages.
_ALL_STAGES = Variant(
    name="all_stages",
    noise_gain=0.0,
    subcortical="standard",
    subcortical_noise_gain=0.0,
    contrast_normalization=True,
    balanced=True,
    push_pull=0.8,
    divisive_normalization="similar",
)


def _limit_threads(threads: int) -> None:
    # PyTorch runs one operation at a time, on all threads; so does this.
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _images(batch_size: int, image_size: int) -> tf.Tensor:
    shape = (batch_size, image_size, image_size, 3)
    return tf.random.stateless_uniform(shape, (0, 0), 0.0, 255.0)


def _inference(models: list, images: tf.Tensor):
    # One compiled function for each; a single number is fetched, so that nothing
    # large is copied.
    functions = [
        tf.function(lambda x, m=model: tf.reduce_max(m(x, training=False)))
        for model in models
    ]
    return lambda: [function(images).numpy() for function in functions]


def _block(
    noise: str = "stochastic",
    dtype: str = "float32",
    channel_order: str = "color",
    **settings,
):
    def prepare(batch_size: int, image_size: int):
        setting = v1keras.models.setting_for(image_size)
        block = v1keras.layers.VOneBlock(
            image_size=image_size,
            visual_degrees=setting.visual_degrees,
            stride=setting.stride,
            noise=noise,
            dtype=dtype,
            channel_order=channel_order,
            **settings,
        )
        return _inference(
            [lambda x, training: block(x)], _images(batch_size, image_size)
        )

    return prepare


def _whole_bank(batch_size: int, image_size: int):
    # As published: every cell has both phases, every kernel three colours.
    setting = v1keras.models.setting_for(image_size)
    kernels = tf.random.stateless_normal((25, 25, 3, 1024), (0, 0))
    pads = [[0, 0], [12, 12], [12, 12], [0, 0]]
    return _inference(
        [lambda x, training: tf.nn.conv2d(x, kernels, setting.stride, pads)],
        _images(batch_size, image_size),
    )


def _noise(add):
    def prepare(batch_size: int, image_size: int):
        setting = v1keras.models.setting_for(image_size)
        steps = image_size // setting.stride
        responses = tf.random.stateless_uniform((batch_size, steps, steps, 512), (0, 0))
        constants = {
            "noise_scale": setting.noise_scale,
            "noise_level": setting.noise_level,
            "noise_gain": 1.0,
        }
        return _inference([lambda x, training: add(x, constants)], responses)

    return prepare


def _add_by_keras(responses, constants):
    noise = keras.random.normal(tf.shape(responses), seed=1)
    return responses + noise * deviation(responses, **constants)


def _add_compiled(responses, constants):
    return fused_noise.add_noise(responses, tf.constant([0, 1]), **constants)


def _classifier(arch: str, variant: str | Variant, image_size: int, **settings):
    return build_classifier(
        arch,
        variant,
        num_classes=1000 if image_size >= 128 else 200,
        input_shape=(image_size, image_size, 3),
        **settings,
    )


def _forward(arch: str, variant: str | Variant, **settings):
    def prepare(batch_size: int, image_size: int):
        model = _classifier(arch, variant, image_size, **settings)
        return _inference([model], _images(batch_size, image_size))

    return prepare


def _members(shared: bool, count: int = len(V1_VARIANTS)):
    def prepare(batch_size: int, image_size: int):
        members = [
            _classifier("resnet18", variant, image_size)
            for variant in V1_VARIANTS[:count]
        ]
        models = [build_ensemble(members)] if shared else members
        return _inference(models, _images(batch_size, image_size))

    return prepare


def _training(variant: str | Variant, dtype: str = "float32"):
    def prepare(batch_size: int, image_size: int):
        keras.config.set_dtype_policy(dtype)
        model = _classifier("resnet18", variant, image_size)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(L2SGD(0.1, momentum=0.9, l2=5e-4), loss)
        images = _images(batch_size, image_size)
        labels = np.arange(batch_size) % 200
        return lambda: model.train_on_batch(images, labels)

    return prepare


timing.main(
    {
        "block": _block(),
        "block_quiet": _block("off"),
        "block_sampled_order": _block(channel_order="sampled"),
        "block_half": _block(dtype="mixed_bfloat16"),
        "block_quiet_half": _block("off", dtype="mixed_bfloat16"),
        "block_128": _block(simple_channels=64, complex_channels=64),
        "block_256": _block(simple_channels=128, complex_channels=128),
        "block_1024": _block(simple_channels=512, complex_channels=512),
        "resnet50": _forward("resnet50", "standard"),
        "resnet50_base": _forward("resnet50", "base"),
        "members": _members(shared=False),
        "ensemble": _members(shared=True),
        "ensemble_2": _members(shared=True, count=2),
        "ensemble_4": _members(shared=True, count=4),
        "training": _training("standard"),
        "training_half": _training("standard", "mixed_bfloat16"),
        "training_base": _training("base"),
        "training_no_noise": _training("no_noise"),
        "training_stages": _training(_ALL_STAGES),
        "resnet50_no_noise": _forward("resnet50", "no_noise"),
        "resnet50_stages": _forward("resnet50", _ALL_STAGES),
        "small_no_noise": _forward("resnet18", "no_noise", width=32, stride=4),
        "small_stages": _forward("resnet18", _ALL_STAGES, width=32, stride=4),
        "whole_bank": _whole_bank,
        "noise_keras": _noise(_add_by_keras),
        "noise": _noise(_add_compiled),
    },
    _limit_threads,
)
