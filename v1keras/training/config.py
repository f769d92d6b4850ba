"""Configurations of `train`, `distill` and `convert`: one frozen dataclass each."""

import dataclasses
import functools
from pathlib import Path
from typing import Any, Self

from v1keras.command_line import (
    check_values,
    option,
    require,
    require_seeds,
    require_utf8,
)
from v1keras.data import VALIDATION_SOURCES
from v1keras.models import ARCHITECTURES, NORMALIZATIONS, PIXEL_SCALINGS
from v1keras.v1 import NAMED_VARIANTS, GaborParameters, Variant, get_variant
from v1keras.v1.distributions import SF_EDGES
from v1keras.v1.variants import DISTRIBUTIONS, DIVISIVE_POOLS, SUBCORTICAL_STAGES

# Options under the headings of `--help`.
_data = functools.partial(option, group="data")
_v1 = functools.partial(option, group="V1")
_model = functools.partial(option, group="model")
_training = functools.partial(option, group="training")
_distillation = functools.partial(option, group="distillation")

SCHEDULES = ("plateau", "cosine", "step", "constant")
COMPUTE_DTYPES = ("bfloat16", "float16")
STRATEGIES = ("auto", "none", "mirrored", "multi_worker", "tpu")
DISTILLATION_LOSSES = ("scaled", "paper")

_VARIANT_OVERRIDES = (
    "sf_min",
    "sf_max",
    "sf_corr",
    "simple_channels",
    "complex_channels",
    "noise_gain",
    "gabor_seed",
    "distribution",
    "gabors",
    "balanced",
    "push_pull",
    "divisive_normalization",
    "divisive_sigma",
    "divisive_semisaturation",
    "lgn_to_v2",
    "fano_factor",
)
# The plain CNN can stand behind these stages, too.
_STAGE_OVERRIDES = (
    "light_adaptation",
    "subcortical",
    "subcortical_noise_gain",
    "contrast_normalization",
    "contrast_sigma",
    "contrast_epsilon",
)
_KERNEL_SIZE = 25
# What a run directory has from its beginning.
_RECORD = "config.json"
_WHOLE_BINS = (
    f"only whole bins count, with edges {' '.join(f'{e:g}' for e in SF_EDGES)}."
)
# Where a run is kept and how it is computed do not change what it is. The crop fraction
# is compared by the value that is in force, with the data.
_NOT_PART_OF_A_RUN = ("out", "data_dir", "strategy", "teacher_cache", "crop_fraction")


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """Data, model and training, apart from the variant. Every field is a flag."""

    out: str = option(required=True, help="Folder to write.")
    dataset: str = _data(
        "shapes",
        "shapes, a folder of images, or a name of TensorFlow Datasets.",
    )
    arch: str = _model("resnet50", "Backbone.", choices=tuple(ARCHITECTURES))
    epochs: int = _training(60, "Passes over the training images.")
    batch_size: int = _training(128, "Images in a batch, over all replicas.")
    seed: int = _training(0, "Seed of weights, noise, order and augmentation.")
    width: int = _model(64, "Channels of the first stage of the backbone.")
    normalization: str = _model(
        "batch",
        "Normalisation in the backbone: by batch, or by groups of channels.",
        choices=NORMALIZATIONS,
    )
    pixel_scaling: str | None = _model(
        None,
        "Pixels in [-1, 1], the default, or by mean and deviation over ImageNet.",
        choices=tuple(PIXEL_SCALINGS),
    )
    image_size: int | None = _data(
        None, "Height and width in pixels; by default those of the data set."
    )
    crop_fraction: float | None = _data(
        None,
        "Share of the shorter side that images show, once it is scaled; by default "
        "0.875 for ImageNet, else 1.",
    )
    stride: int | None = _v1(
        None, "Stride of the front-end in pixels; by default the setting's."
    )
    visual_degrees: float | None = _v1(
        None, "Visual angle of the image's height; by default the setting's."
    )
    kernel_size: int | None = _v1(
        None,
        "Size of the Gabor kernels in pixels, odd; by default the variant's, or 25.",
    )
    k_exc: float | None = _v1(
        None, "Gain of the cells; by default the variant's or the setting's."
    )
    noise_scale: float | None = _v1(
        None, "From responses to spikes; by default the setting's."
    )
    noise_level: float | None = _v1(
        None, "Spontaneous activity; by default the setting's."
    )
    rectify_noise: bool = _v1(False, "Set negative noisy responses to 0.")
    sf_min: float | None = _v1(
        None,
        "Lowest spatial frequency (cycles/degree) instead of the variant's; "
        f"{_WHOLE_BINS}",
    )
    sf_max: float | None = _v1(
        None,
        "Highest spatial frequency (cycles/degree) instead of the variant's; "
        f"{_WHOLE_BINS}",
    )
    sf_corr: float | None = _v1(
        None, "Correlation of frequency and size instead of the variant's."
    )
    simple_channels: int | None = _v1(
        None, "Number of simple cells instead of the variant's."
    )
    complex_channels: int | None = _v1(
        None, "Number of complex cells instead of the variant's."
    )
    noise_gain: float | None = _v1(
        None, "Factor on the noise instead of the variant's; 0 for none."
    )
    gabor_seed: int | None = _v1(
        None, "Seed of the Gabor parameters instead of the variant's."
    )
    distribution: str | None = _v1(
        None,
        "Distribution of the Gabor parameters instead of the variant's.",
        choices=DISTRIBUTIONS,
    )
    gabors: str | None = _v1(
        None,
        "An .npz file of receptive fields, simple cells first, instead of the variant's: "
        "arrays sf, theta, phase, nx, ny and channel_q0.",
    )
    light_adaptation: bool | None = _v1(
        None, "Whether V1 sees the contrast with the image's mean light."
    )
    subcortical: str | None = _v1(
        None,
        "Cells of retina and LGN before V1 instead of the variant's.",
        choices=SUBCORTICAL_STAGES,
    )
    subcortical_noise_gain: float | None = _v1(
        None, "Factor on their noise; 0 for none."
    )
    lgn_to_v2: bool | None = _v1(
        None, "Whether their responses also bypass V1, pooled."
    )
    contrast_normalization: bool | None = _v1(
        None, "Whether local contrast is normalised before V1."
    )
    contrast_sigma: float | None = _v1(None, "Its neighbourhood in degrees.")
    contrast_epsilon: float | None = _v1(
        None, "Contrast below which it no longer amplifies."
    )
    balanced: bool | None = _v1(
        None, "Whether Gabor kernels sum to 0 and do not answer to uniform light."
    )
    push_pull: float | None = _v1(
        None, "Inhibition of simple cells by their opposite phase; 0 for none."
    )
    divisive_normalization: str | None = _v1(
        None,
        "Cells whose neighbouring responses divide those of a cell.",
        choices=DIVISIVE_POOLS,
    )
    divisive_sigma: float | None = _v1(None, "Its neighbourhood in degrees.")
    divisive_semisaturation: float | None = _v1(
        None, "Pooled response that halves a response."
    )
    fano_factor: float | None = _v1(
        None, "Variance of the noise over the mean, instead of scale and level."
    )
    learning_rate: float = _training(0.1, "Initial learning rate of SGD.")
    momentum: float = _training(0.9, "Momentum of SGD.")
    weight_decay: float = _training(5e-4, "L2 decay, added to the gradient.")
    schedule: str = _training(
        "plateau",
        "plateau: / 10 when the validation loss stalls; step: / 10 every "
        "--step_epochs; cosine: with a linear warm-up.",
        choices=SCHEDULES,
    )
    patience: int = _training(5, "Epochs without improvement before plateau acts.")
    step_epochs: int = _training(20, "Epochs between the steps of step.")
    warmup_epochs: float = _training(1.0, "Epochs of warm-up of cosine.")
    noise_warmup_epochs: float = _training(
        0.0, "Epochs over which the neuronal noise grows from none to its full size."
    )
    augmentation: str = _data(
        "paper",
        "paper: random affine and flip; prime and augmix: random mixtures of other "
        "transformations after it.",
        choices=("paper", "prime", "augmix", "none"),
    )
    mixup: float = _data(
        0.0,
        "Blend pairs of training images and their labels, by shares from Beta(a, a).",
    )
    cutmix: float = _data(
        0.0,
        "Paste boxes of one training image into another, of areas from Beta(a, a); "
        "with --mixup, each image gets one of the two.",
    )
    validation_fraction: float = _data(
        0.05, "Share of the training images on which the best epoch is chosen."
    )
    validation_source: str = _data(
        "fold",
        "Choose on a fold of the training images, or on the test images as the "
        "paper did; the report then says so.",
        choices=VALIDATION_SOURCES,
    )
    split_seed: int = _data(0, "Seed of that fold.")
    data_dir: str | None = _data(None, "Where TensorFlow Datasets keeps its data.")
    strategy: str = _training(
        "auto",
        "mirrored trains on all GPUs, multi_worker on those of all processes in TF_CONFIG "
        "or a step of Slurm; auto chooses.",
        choices=STRATEGIES,
    )
    mixed_precision: bool = _training(
        False, "Compute in --compute_dtype, keep weights in float32."
    )
    compute_dtype: str = _training(
        "bfloat16",
        "With --mixed_precision: float16, for GPUs without bfloat16, has a smaller range, "
        "so that the loss is scaled.",
        choices=COMPUTE_DTYPES,
    )
    class_weight: str | None = _training(
        None,
        "balanced: classes count alike in the loss of the labels, however many images "
        "they have, and the best epoch is that of the best balanced accuracy.",
        choices=("balanced",),
    )
    label_smoothing: float = _training(
        0.0, "Share of each label that is spread evenly over all classes."
    )
    clip_norm: float | None = _training(
        None, "Largest norm of the gradient of all weights together."
    )
    weight_ema: float = _training(
        0.0,
        "Validate and save the exponential moving average of the weights, with this "
        "momentum, such as 0.999; 0 for the weights themselves.",
    )

    def __post_init__(self):
        check_values(self)
        require_utf8(self, "out")
        for name in ("epochs", "batch_size", "width", "patience", "step_epochs"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in (
            "image_size", "stride", "visual_degrees", "kernel_size", "k_exc",
            "noise_scale", "clip_norm",
        ):  # fmt: skip
            value = getattr(self, name)
            require(self, name, value is None or value > 0, "positive")
        odd = self.kernel_size is None or self.kernel_size % 2 == 1
        require(self, "kernel_size", odd, "odd")
        level = self.noise_level is None or self.noise_level >= 0
        require(self, "noise_level", level, "at least 0")
        require_seeds(self, "seed", "split_seed", "gabor_seed")
        for name in (
            "weight_decay", "warmup_epochs", "noise_warmup_epochs", "mixup", "cutmix",
        ):  # fmt: skip
            require(self, name, getattr(self, name) >= 0, "at least 0")
        crop = self.crop_fraction
        inside = crop is None or 0 < crop <= 1
        require(self, "crop_fraction", inside, "above 0 and at most 1")
        require(self, "learning_rate", self.learning_rate > 0, "positive")
        for name in ("momentum", "label_smoothing", "weight_ema"):
            require(self, name, 0 <= getattr(self, name) < 1, "in [0, 1)")
        mixes = self.mixed_precision or self.compute_dtype == COMPUTE_DTYPES[0]
        require(self, "compute_dtype", mixes, "left out without --mixed_precision")
        inside = 0 < self.validation_fraction < 1
        require(self, "validation_fraction", inside, "between 0 and 1")

    def variant_overrides(self) -> dict[str, Any]:
        """What was given instead of the variant's own."""
        return {
            name: getattr(self, name)
            for name in _VARIANT_OVERRIDES + _STAGE_OVERRIDES
            if getattr(self, name) is not None
        }


@dataclasses.dataclass(frozen=True)
class TrainConfig(TrainingSettings):
    """What makes a run. Every field is a flag."""

    variant: str = _v1("standard", f"V1 variant: {', '.join(NAMED_VARIANTS)}.")
    init: str | None = _training(
        None,
        "Run, .keras file or published checkpoint whose weights training begins with, "
        "where they fit.",
    )
    freeze: str | None = _training(
        None,
        "What of --init is not trained: backbone leaves the head, and the bottleneck "
        "behind V1.",
        choices=("backbone",),
    )

    def __post_init__(self):
        super().__post_init__()
        require(self, "freeze", self.init or not self.freeze, "left out without --init")
        variant = self.resolve_variant()
        # Runs note it since there was only one default.
        sizes = (self.kernel_size, variant.kernel_size, _KERNEL_SIZE)
        size = next(size for size in sizes if size is not None)
        object.__setattr__(self, "kernel_size", size)
        # Runs that were begun before this was refused are resumed and go on.
        if not Path(self.out, _RECORD).is_file():
            self._check_beginning(variant)

    def _check_beginning(self, variant: Variant) -> None:
        """Refuses settings that would have no effect, or only half of it."""
        mixes = self.mixup or self.cutmix
        some = self.batch_size >= 2 or not mixes
        what = "at least 2 with --mixup or --cutmix, which mix images of a batch"
        require(self, "batch_size", some, what)
        ends = self.schedule != "cosine" or self.warmup_epochs <= self.epochs
        what = f"at most the {self.epochs} of --epochs"
        require(self, "warmup_epochs", ends, what)
        ends = not variant.is_noisy or self.noise_warmup_epochs <= self.epochs
        require(self, "noise_warmup_epochs", ends, what)

    def resolve_variant(self) -> Variant:
        """The named variant with the overrides of this configuration."""
        variant = get_variant(self.variant)
        given = self.variant_overrides()
        if not given:
            return variant
        of_v1 = [f"{k}={v}" for k, v in given.items() if k in _VARIANT_OVERRIDES]
        if of_v1 and not variant.v1:
            raise ValueError(
                f"`variant` {variant.name!r} has no V1 front-end to change. "
                f"Received: {', '.join(of_v1)}"
            )
        if self.gabors is not None:
            given["gabors"] = GaborParameters.load(self.gabors)
        return dataclasses.replace(variant, name=f"{variant.name}_custom", **given)

    def identity(self) -> dict[str, Any]:
        """The settings that two runs share if one can resume the other."""
        settings = dataclasses.asdict(self)
        return {k: v for k, v in settings.items() if k not in _NOT_PART_OF_A_RUN}


@dataclasses.dataclass(frozen=True)
class TeachingSettings:
    """How a student is taught. Every field is a flag."""

    distillation_loss: str = _distillation(
        "scaled",
        "scaled: soft targets at --temperature with the factor T^2; paper: T = 5 on "
        "the members' summed logits without that factor.",
        choices=DISTILLATION_LOSSES,
    )
    temperature: float = _distillation(4.0, "Temperature of the scaled soft targets.")
    alpha: float = _distillation(
        0.5, "Weight of the soft targets; labels get the rest. 0 asks no teacher."
    )
    teacher_draws: int = _distillation(
        1, "The teacher's answer is the mean over this many draws of its noise."
    )
    teacher_views: int = _distillation(
        0,
        "Augmented views of each image; the teacher answers each once, and epoch e "
        "shows view e mod k. 0: a new view in each epoch, and the teacher beside.",
    )
    feature_layer: str | None = _distillation(
        None, "Layer of the student that learns to predict the teacher's."
    )
    teacher_layers: tuple[str, ...] = _distillation(
        (), "Layers of the teacher's members; by default --feature_layer."
    )
    feature_weight: float = _distillation(
        0.0, "Weight of the loss between these layers."
    )
    disagreement: float = _distillation(
        0.0,
        "The teacher answers images moved so far to where members disagree, in pixels of "
        "[0, 255] (published: 1); 0 for the images as they are.",
    )

    def check_teaching(self) -> None:
        """Refuses values that make no distillation."""
        require(self, "temperature", self.temperature > 0, "positive")
        require(self, "alpha", 0 <= self.alpha <= 1, "in [0, 1]")
        require(self, "teacher_draws", self.teacher_draws >= 1, "at least 1")
        require(self, "teacher_views", self.teacher_views >= 0, "at least 0")
        matches = self.feature_layer is not None
        sense = self.feature_weight > 0 if matches else self.feature_weight == 0
        what = "positive with --feature_layer, 0 without it"
        require(self, "feature_weight", sense, what)
        require(self, "disagreement", self.disagreement >= 0, "at least 0")
        asked = self.asks_teacher or not self.disagreement
        require(self, "disagreement", asked, "0 with --alpha=0")
        for name, given in (
            ("feature_layer", matches),
            ("disagreement", self.disagreement),
        ):
            online = not (given and self.teacher_views)
            require(self, "teacher_views", online, f"0 with --{name}")

    @property
    def asks_teacher(self) -> bool:
        """Whether the student learns anything from the teacher."""
        return self.alpha > 0 or self.feature_layer is not None

    def untaught(self) -> Self:
        """The same student if it learns nothing from the teacher."""
        return dataclasses.replace(
            self, alpha=0.0, feature_layer=None, feature_weight=0.0, disagreement=0.0
        )


@dataclasses.dataclass(frozen=True)
class DistillConfig(TeachingSettings, TrainConfig):
    """A student's run: `TrainConfig` and how it is taught."""

    variant: str = _v1("no_noise", f"V1 variant: {', '.join(NAMED_VARIANTS)}.")
    members: tuple[str, ...] = option(
        required=True, help="Folders of the runs whose ensemble is the teacher."
    )
    teacher_cache: str | None = _distillation(
        None,
        "Folder of the teacher's logits for --teacher_views, for students that share "
        "them; by default teacher/ in --out.",
    )

    def __post_init__(self):
        super().__post_init__()
        self.check_teaching()

    def identity(self) -> dict[str, Any]:
        """As of `TrainConfig`; what members are is told by their weights."""
        return {k: v for k, v in super().identity().items() if k != "members"}


@dataclasses.dataclass(frozen=True)
class ConvertConfig:
    """What becomes a run, and where. Every field is a flag."""

    from_: str = option(
        required=True,
        help="Checkpoint of a VOneNet, an EVNet, or a ResNet18 or ResNet50 of "
        "torchvision or timm.",
    )
    out: str = option(required=True, help="Folder to write.")
    dataset: str = option(
        "imagenet2012",
        "Whose classes the logits are, in order: a name of TensorFlow Datasets, which "
        "is not downloaded, or a folder of images.",
    )
