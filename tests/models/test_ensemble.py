import dataclasses

import keras
import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp, softmax

import v1keras
from v1keras.layers import (
    MeanLogits,
    SharedVOneBlocks,
    VOneBlock,
    is_stochastic,
    noise_layers,
)
from v1keras.models import build_classifier, build_ensemble
from v1keras.v1 import get_variant

IMAGES = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype("float32")


def member(variant, seed=0, **settings):
    settings = {"num_classes": 5, "input_shape": (32, 32, 3), "width": 16, **settings}
    return build_classifier("resnet18", variant, stride=4, seed=seed, **settings)


def test_averages_logits_and_gives_mean_probabilities():
    members = [member("sf_low"), member("no_noise"), member("base")]
    both = build_ensemble(members, probabilities=True)
    v1keras.set_noise(both, "off")
    logits = np.stack([each(IMAGES) for each in members])
    outputs = both(IMAGES)
    np.testing.assert_allclose(outputs["logits"], logits.mean(axis=0), atol=1e-5)
    expected = softmax(logits, axis=-1).mean(axis=0)
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-5)


def test_probability_averaging_gives_usable_logits():
    logits = np.random.default_rng(1).normal(0, 30, (3, 6, 5))
    outputs = np.asarray(MeanLogits("probabilities")(list(logits)))
    expected = logsumexp(log_softmax(logits, axis=-1), axis=0) - np.log(3)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4)
    np.testing.assert_allclose(np.exp(outputs).sum(axis=-1), 1.0, rtol=1e-5)


def test_weighted_averages_by_formula():
    logits = np.random.default_rng(1).normal(0, 3, (3, 6, 5))
    weights = np.array([2.0, 0.0, 6.0])
    shares = (weights / 8)[:, None, None]
    mean = np.asarray(MeanLogits(weights=weights)(list(logits)))
    np.testing.assert_allclose(mean, (shares * logits).sum(0), rtol=1e-4, atol=1e-5)
    log_mean = np.asarray(MeanLogits("probabilities", [2, 0, 6])(list(logits)))
    expected = np.log((shares * softmax(logits, axis=-1)).sum(0))
    np.testing.assert_allclose(log_mean, expected, rtol=1e-4, atol=1e-5)


def test_members_of_all_kinds_and_their_outputs_in_one_file(tmp_path):
    members = [
        member("no_noise"),
        member("no_noise", 1),
        member("base", width=32),
        build_classifier("resnet50", "sf_low", num_classes=5, input_shape=(32, 32, 3),
                         width=16, stride=4, name="logits"),
    ]  # fmt: skip
    ensemble = build_ensemble(
        members, average="probabilities", weights=[1, 2, 3, 4], member_outputs=True
    )
    v1keras.set_noise(ensemble, "off")
    outputs = ensemble(IMAGES)
    assert list(outputs) == [
        "logits", "no_noise_resnet18", "no_noise_resnet18_2", "base_resnet18",
        "logits_2",
    ]  # fmt: skip
    for model, name in zip(members, list(outputs)[1:], strict=True):
        np.testing.assert_allclose(outputs[name], model(IMAGES), rtol=1e-4, atol=1e-3)
    probabilities = softmax([each(IMAGES) for each in members], axis=-1)
    mean = np.average(probabilities, axis=0, weights=[1, 2, 3, 4])
    np.testing.assert_allclose(np.exp(outputs["logits"]), mean, rtol=1e-3)
    ensemble.save(tmp_path / "ensemble.keras")
    loaded = keras.models.load_model(tmp_path / "ensemble.keras")
    v1keras.set_noise(loaded, "off")
    for name, value in loaded(IMAGES).items():
        np.testing.assert_allclose(value, outputs[name], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "variants", [("standard", "standard"), ("sf_low", "sf_high", "sf_low")]
)
@pytest.mark.parametrize("mode", ["stochastic", "fixed"])
def test_equal_members_draw_different_noise_and_stay_as_they_are(variants, mode):
    members = [member(variant, noise=mode) for variant in variants]
    before = [layer.get_config() for one in members for layer in noise_layers(one)]
    answers = [np.asarray(one(IMAGES)) for one in members]
    ensemble = build_ensemble(members, member_outputs=True)
    after = [layer.get_config() for one in members for layer in noise_layers(one)]
    assert after == before
    if mode == "fixed":
        np.testing.assert_array_equal([one(IMAGES) for one in members], answers)
    answers = ensemble(IMAGES)
    first, *_, last = (value for name, value in answers.items() if name != "logits")
    assert np.abs(first - last).max() > 1e-3


def test_an_ensemble_of_ensembles_and_of_sequential_models():
    inner = build_ensemble([member("standard"), member("sf_low")], name="inner")
    inputs = keras.Input((32, 32, 3))
    sequential = keras.Sequential([inputs, member("standard")])
    ensemble = build_ensemble([member("standard"), inner, sequential])
    v1keras.set_noise(ensemble, "off")
    expected = np.mean([np.asarray(one(IMAGES)) for one in (inner, sequential)], 0) * 2
    expected = (expected + np.asarray(sequential(IMAGES))) / 3
    np.testing.assert_allclose(ensemble(IMAGES), expected, atol=1e-4)


def test_noise_of_members_reaches_a_compiled_ensemble():
    members = [member("standard"), member("only_simple"), member("sf_low")]
    ensemble = build_ensemble(members)
    ensemble.predict(IMAGES, verbose=0)
    for one in members:
        assert is_stochastic(ensemble)
        v1keras.set_noise(one, "off")
    assert not is_stochastic(ensemble)
    first, second = (ensemble.predict(IMAGES, verbose=0) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    expected = np.mean([one(IMAGES) for one in members], axis=0)
    np.testing.assert_allclose(first, expected, rtol=1e-4, atol=1e-4)


def test_a_saved_ensemble_keeps_its_noise(tmp_path):
    members = [member("standard", seed) for seed in (0, 1)]
    assert len({one.name for one in members}) == 1
    ensemble = build_ensemble(members)
    v1keras.set_noise(ensemble, "fixed", seed=7)
    ensemble.save(tmp_path / "ensemble.keras")
    loaded = keras.models.load_model(tmp_path / "ensemble.keras")
    np.testing.assert_allclose(loaded(IMAGES), ensemble(IMAGES), atol=1e-6)


def heads(trunk, how):
    """Two classifiers on one trunk: a model that they call, or that they continue."""
    inputs = keras.Input((32, 32, 3)) if how == "nested" else trunk.input
    features = trunk(inputs) if how == "nested" else trunk.output
    flat = keras.layers.Flatten()(features)
    return [keras.Model(inputs, keras.layers.Dense(5)(flat)) for _ in range(2)]


def trunk(variant, layer):
    model = member(variant)
    return keras.Model(model.input, model.get_layer(layer).output)


def saved_and_loaded(ensemble, folder):
    ensemble.save(folder / "ensemble.keras")
    return keras.models.load_model(folder / "ensemble.keras")


@pytest.mark.parametrize("how", ["nested", "continued"])
@pytest.mark.parametrize("variant", ["base", "standard", "evnet"])
def test_members_that_share_weights_are_refused_and_copies_are_not(
    variant, how, tmp_path
):
    members = heads(trunk(variant, "pool"), how)
    names = rf"members\[0\] \({members[0].name}\) and members\[1\] \(.*clone_model"
    with pytest.raises(ValueError, match=names):
        build_ensemble(members)
    copy = keras.models.clone_model(members[1])
    copy.set_weights(members[1].get_weights())
    ensemble = build_ensemble([members[0], copy])
    v1keras.set_noise(ensemble, "off")
    loaded = saved_and_loaded(ensemble, tmp_path)
    np.testing.assert_allclose(loaded(IMAGES), ensemble(IMAGES), atol=1e-5)


def test_one_member_twice_is_refused():
    one = member("sf_low")
    renamed = keras.Model(one.input, one.output, name="renamed")
    inner = build_ensemble([one, member("base")], name="inner")
    inside = keras.Sequential([keras.Input((32, 32, 3)), one])
    for other in (one, renamed, inner, inside):
        with pytest.raises(ValueError, match=r"members\[2\] .* share "):
            build_ensemble([one, member("standard"), other])


@pytest.mark.parametrize("variant", ["standard", "subcortical"])
def test_heads_on_one_v1_are_saved(variant, tmp_path):
    ensemble = build_ensemble(heads(trunk(variant, "vone_block"), "continued"))
    v1keras.set_noise(ensemble, "off")
    loaded = saved_and_loaded(ensemble, tmp_path)
    np.testing.assert_allclose(loaded(IMAGES), ensemble(IMAGES), atol=1e-5)


def test_layers_without_weights_may_be_shared(tmp_path):
    members = heads(trunk("standard", "preprocessing"), "nested")
    ensemble = build_ensemble(members)
    loaded = saved_and_loaded(ensemble, tmp_path)
    np.testing.assert_allclose(loaded(IMAGES), ensemble(IMAGES), atol=1e-5)


class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.flatten = keras.layers.Flatten()
        self.dense = keras.layers.Dense(5)

    def call(self, images):
        return self.dense(self.flatten(images))


def test_members_without_known_inputs_are_refused_and_may_be_wrapped():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.Dense(5)]
    called = Subclassed()
    called(IMAGES)
    for unknown in (Subclassed(), called, keras.Sequential(layers)):
        kind = rf"members\[1\] \({unknown.name}\), a {type(unknown).__name__} with 0 in"
        for members in ([member("base"), unknown], [unknown, unknown]):
            with pytest.raises(ValueError, match=rf"{kind}|members\[0\]"):
                build_ensemble(members)
        images = keras.Input((32, 32, 3))
        members = [member("base"), keras.Model(images, unknown(images))]
        expected = np.mean([one(IMAGES) for one in members], axis=0)
        np.testing.assert_allclose(
            build_ensemble(members)(IMAGES), expected, rtol=1e-4, atol=1e-3
        )


def test_several_outputs_are_refused_and_one_may_have_a_name():
    several = build_ensemble([member("base")], probabilities=True)
    with pytest.raises(ValueError, match=r"\(ensemble\), .* with 1 inputs and 2 out"):
        build_ensemble([several])
    images = keras.Input((32, 32, 3))
    only = keras.Model(images, several(images)["logits"])
    named = keras.Model(only.input, {"logits": only.output})
    for one in (only, named):
        answer = build_ensemble([one])(IMAGES)
        np.testing.assert_allclose(answer, only(IMAGES), atol=1e-5)


@pytest.mark.parametrize(
    "members", [[], member("base"), [member("base"), "standard"], {"a": 1}, None]
)
def test_no_list_of_models(members):
    with pytest.raises(ValueError, match=r"list of at least one model\. Received: m"):
        build_ensemble(members)


def test_refusals():
    with pytest.raises(ValueError, match="average='sum'"):
        build_ensemble([member("base")], average="sum")
    with pytest.raises(ValueError, match=r"base_resnet18 with .*sf_low_resnet18 with"):
        build_ensemble([member("base"), member("sf_low", num_classes=6)])
    with pytest.raises(ValueError, match=r"each of the 1 classifiers.*2 weights"):
        build_ensemble([member("base")], weights=[1, 2])
    for weights in ([0.0], [-1.0], [np.nan]):
        with pytest.raises(ValueError, match=r"Received: weights=\["):
            build_ensemble([member("base")], weights=weights)
    with pytest.raises(ValueError, match="input shape"):
        build_ensemble([member("base"), member("base", input_shape=(64, 64, 3))])


def test_members_with_common_filters_share_them():
    variants = ("standard", "base", "only_simple", "sf_low", "only_complex")
    members = [member(variant, seed) for seed, variant in enumerate(variants)]
    members += [member("standard", seed=9, visual_degrees=4.0)]
    ensemble = build_ensemble(members)
    shared = [each for each in ensemble.layers if isinstance(each, SharedVOneBlocks)]
    # `sf_low` and the member of another visual angle have filters of their own.
    assert [len(each.noises) for each in shared] == [3]
    v1keras.set_noise(ensemble, "off")
    logits = np.stack([each(IMAGES) for each in members])
    np.testing.assert_allclose(
        ensemble(IMAGES), logits.mean(axis=0), rtol=1e-5, atol=1e-4
    )


def test_members_behind_equal_stages_share_filters():
    adapted = get_variant("balanced_light_adapted")
    simple = dataclasses.replace(
        adapted, name="simple", simple_channels=512, complex_channels=0
    )
    members = [member(v) for v in (adapted, "no_noise", simple, "only_simple")]
    # Each differs from the first in one thing that keeps it from sharing.
    members += [
        member(dataclasses.replace(adapted, name=f"other_{index}", **change))
        for index, change in enumerate(
            (
                {"light_adaptation": False},
                {"balanced": False},
                {"contrast_normalization": True},
                {"push_pull": 0.5},
                {"divisive_normalization": "all"},
                {"light_adaptation": False, "subcortical": "standard"},
            )
        )
    ]
    ensemble = build_ensemble(members)
    v1keras.set_noise(ensemble, "off")
    shared = [each for each in ensemble.layers if isinstance(each, SharedVOneBlocks)]
    assert [len(each.noises) for each in shared] == [2, 2]
    expected = np.mean([one(IMAGES) for one in members], axis=0)
    np.testing.assert_allclose(ensemble(IMAGES), expected, rtol=1e-4, atol=1e-4)


def test_noisy_stages_are_not_shared():
    quiet, noisy = (
        dataclasses.replace(get_variant("subcortical"), subcortical_noise_gain=gain)
        for gain in (0.0, 1.0)
    )
    for variant, count in ((quiet, 1), (noisy, 0)):
        ensemble = build_ensemble([member(variant), member(variant, seed=1)])
        layers = [type(layer) for layer in ensemble.layers]
        assert layers.count(SharedVOneBlocks) == count


def test_a_bypassed_v1_is_not_shared():
    variant = dataclasses.replace(
        get_variant("evnet_lgn_v2"), noise_gain=0.0, subcortical_noise_gain=0.0
    )
    members = [member(variant, seed=seed) for seed in (0, 1)]
    expected = np.mean([one(IMAGES) for one in members], axis=0)
    ensemble = build_ensemble(members)
    np.testing.assert_allclose(ensemble(IMAGES), expected, rtol=1e-4, atol=1e-4)


def own(change=None, skip=False):
    """A model that begins like those of `build_classifier` and may then differ."""
    images = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(images)
    x = x if change is None else change(x)
    x = VOneBlock(image_size=32, stride=8, kernel_size=7, noise="off")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    if skip:
        means = keras.layers.GlobalAveragePooling2D()(images)
        x = keras.layers.Concatenate()([x, means])
    return keras.Model(images, keras.layers.Dense(5)(x))


@pytest.mark.parametrize(
    ("build", "count"),
    [
        (lambda: [own(), own()], 1),
        # An operation that is no layer stands between the stages and V1.
        (lambda: [own(), own(lambda x: keras.ops.flip(x, axis=-1))], 0),
        (lambda: [own(skip=True), own(skip=True)], 0),
    ],
)
def test_front_ends_with_more_in_or_beside_them_are_not_shared(build, count):
    keras.utils.set_random_seed(0)
    members = build()
    ensemble = build_ensemble(members)
    assert sum(isinstance(each, SharedVOneBlocks) for each in ensemble.layers) == count
    expected = np.mean([one(IMAGES) for one in members], axis=0)
    np.testing.assert_allclose(ensemble(IMAGES), expected, rtol=1e-4, atol=1e-4)


def test_sequential_models_with_stages_are_averaged():
    keras.utils.set_random_seed(0)
    members = [
        keras.Sequential(
            [
                keras.Input((32, 32, 3)),
                keras.layers.Rescaling(scale),
                keras.layers.Rescaling(2, -1),
                VOneBlock(image_size=32, stride=8, kernel_size=7, noise="off"),
                keras.layers.GlobalAveragePooling2D(),
                keras.layers.Dense(5),
            ]
        )
        for scale in (1 / 255, 1 / 510)
    ]
    expected = np.mean([one(IMAGES) for one in members], axis=0)
    ensemble = build_ensemble(members)
    np.testing.assert_allclose(ensemble(IMAGES), expected, rtol=1e-4, atol=1e-4)


def test_sharing_keeps_the_members_weights():
    members = [member("standard"), member("no_noise", seed=1)]
    ensemble = build_ensemble(members)
    members[0].get_layer("logits").bias.assign(np.full(5, 7.0))
    v1keras.set_noise(ensemble, "off")
    logits = np.stack([each(IMAGES) for each in members])
    np.testing.assert_allclose(
        ensemble(IMAGES), logits.mean(axis=0), rtol=1e-5, atol=1e-4
    )
    # Training the ensemble would train its members.
    assert len(ensemble.trainable_weights) == sum(
        len(each.trainable_weights) for each in members
    )
