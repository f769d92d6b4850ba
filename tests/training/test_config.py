import dataclasses

import pytest

from v1keras.training import DistillConfig, TrainConfig
from v1keras.v1 import VARIANTS, Variant


def test_the_papers_settings_are_the_defaults():
    config = TrainConfig(out="x")
    assert (config.learning_rate, config.momentum, config.weight_decay) == (
        0.1,
        0.9,
        5e-4,
    )
    assert (config.schedule, config.patience, config.batch_size) == ("plateau", 5, 128)
    assert (config.validation_fraction, config.validation_source) == (0.05, "fold")
    assert config.resolve_variant() == VARIANTS["standard"]
    assert DistillConfig(out="x", members=("a",)).variant == "no_noise"


def test_python_refuses_what_the_flags_refuse():
    with pytest.raises(ValueError, match=r"`schedule` must be one of.*'linear'"):
        TrainConfig(out="x", schedule="linear")


def test_flags_on_top_of_a_named_variant():
    variant = TrainConfig(
        out="x", variant="sf_low", sf_max=4.0, noise_gain=0.0, gabor_seed=0,
        distribution="uniform",
    ).resolve_variant()  # fmt: skip
    assert variant == dataclasses.replace(
        VARIANTS["sf_low"], name="sf_low_custom", sf_max=4.0, noise_gain=0.0,
        distribution="uniform",
    )  # fmt: skip


def test_stages_are_flags():
    variant = TrainConfig(
        out="x", variant="no_noise", subcortical="no_m_cells", balanced=True
    ).resolve_variant()
    assert variant == dataclasses.replace(
        VARIANTS["no_noise"], name="no_noise_custom", subcortical="no_m_cells",
        balanced=True,
    )  # fmt: skip
    # Every field of a variant is one, but those that are flags of the setting.
    fields = {field.name for field in dataclasses.fields(Variant)}
    flags = {field.name for field in dataclasses.fields(TrainConfig)}
    assert fields - flags == {"name", "v1"}


def test_plain_cnn_behind_a_stage():
    variant = TrainConfig(
        out="x", variant="base", light_adaptation=True
    ).resolve_variant()
    assert variant.light_adaptation and not variant.v1


@pytest.mark.parametrize(
    ("variant", "given", "size"),
    [("standard", None, 25), ("evnet", None, 31), ("evnet", 25, 25)],
)
def test_kernel_size_is_the_variants_unless_given(variant, given, size):
    config = TrainConfig(out="x", variant=variant, kernel_size=given)
    assert config.kernel_size == size


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": -1}, "batch_size=-1"),
        ({"image_size": 0}, "image_size=0"),
        ({"validation_fraction": 1.0}, "validation_fraction=1.0"),
        ({"kernel_size": 0}, "`kernel_size` must be positive.*kernel_size=0"),
        ({"kernel_size": 24}, "`kernel_size` must be odd.*kernel_size=24"),
        ({"k_exc": -1.0}, "`k_exc` must be positive.*k_exc=-1"),
        ({"noise_level": -0.1}, "`noise_level` must be at least 0.*noise_level=-0.1"),
        ({"cutmix": 1.0, "batch_size": 1}, "at least 2 with --mixup .*batch_size=1"),
        ({"mixup": 0.2, "batch_size": 1}, "at least 2 with --mixup .*batch_size=1"),
        (
            {"schedule": "cosine", "warmup_epochs": 4.0, "epochs": 3},
            "at most the 3 of --epochs.*: warmup_epochs=4.0",
        ),
        (
            {"noise_warmup_epochs": 4.0, "epochs": 3},
            "at most the 3 of --epochs.*: noise_warmup_epochs=4.0",
        ),
        (
            {"variant": "evnet_no_noise", "subcortical_noise_gain": 1.0, "epochs": 1}
            | {"noise_warmup_epochs": 1.5},
            "at most the 1 of --epochs.*: noise_warmup_epochs=1.5",
        ),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"variant": "v5"}, "variant='v5'"),
        ({"variant": "base", "sf_max": 2.0}, "no V1 front-end to change"),
        ({"variant": "base", "balanced": True}, "no V1 front-end to change"),
        ({"sf_min": 9.0, "sf_max": 9.5}, "at least one bin"),
        ({"seed": -1}, "from 0 to 4294967295.*seed=-1"),
        ({"seed": 2**32}, "from 0 to 4294967295.*seed=4294967296"),
        ({"split_seed": 2**63 - 1}, "`split_seed` must be from 0 to"),
        ({"gabor_seed": -1}, "`gabor_seed` must be from 0 to.*gabor_seed=-1"),
        ({"seed": 10**20}, "`seed` must be an integer of 64 bits"),
        ({"seed": True}, "`seed` must be an integer.*seed=True"),
        ({"weight_ema": 1.0}, "weight_ema=1.0"),
        ({"label_smoothing": -0.1}, "label_smoothing=-0.1"),
        ({"clip_norm": 0.0}, "clip_norm=0.0"),
        ({"compute_dtype": "float16"}, "without --mixed_precision.*=float16"),
        ({"class_weight": "inverse"}, "class_weight='inverse'"),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(out="x", **settings)


def test_a_warm_up_of_what_is_not_there_may_be_longer():
    # A study has the same for all of its members.
    for settings in ({"variant": "base"}, {"variant": "no_noise"}):
        TrainConfig(out="x", epochs=2, noise_warmup_epochs=5.0, **settings)
    TrainConfig(out="x", epochs=2, warmup_epochs=5.0)
    TrainConfig(out="x", epochs=2, warmup_epochs=2.0, schedule="cosine")


def test_runs_that_were_begun_with_less_of_a_check_go_on(tmp_path):
    settings = {"out": str(tmp_path), "epochs": 2, "noise_warmup_epochs": 5.0}
    with pytest.raises(ValueError, match="noise_warmup_epochs=5"):
        TrainConfig(**settings)
    (tmp_path / "config.json").write_text("{}")
    assert TrainConfig(**settings).noise_warmup_epochs == 5
