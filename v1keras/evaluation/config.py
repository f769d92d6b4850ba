"""The configuration of an evaluation."""

import dataclasses
import functools

from v1keras.command_line import check_values, option, require
from v1keras.corruptions import SEVERITIES, canonical_name
from v1keras.corruptions.severities import check_severities
from v1keras.layers import AVERAGES
from v1keras.training.config import STRATEGIES

# Options under the headings of `--help`.
_models = functools.partial(option, group="models")
_data = functools.partial(option, group="data")
_corruptions = functools.partial(option, group="corruptions")
_measurement = functools.partial(option, group="measurement")
_output = functools.partial(option, group="output")

# Where corrupted images come from, if not from a stored set.
ONLINE = "online"
CLEAN_ONLY = "none"
# What stands for a training seed in the path of a run.
SEED = "{seed}"


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """Which test images are shown, and how often. Every field is a flag."""

    corrupted: str = _corruptions(
        ONLINE,
        "online corrupts the test images here; none shows clean ones only; else the "
        "path or name of a stored corrupted set, such as ImageNet-C.",
    )
    max_images: int | None = _data(
        None, "Show a random subset of up to N test images per cell."
    )
    noise_samples: int = _measurement(1, "Noise draws of stochastic models.")

    def __post_init__(self):
        check_values(self)
        for name in ("max_images", "noise_samples"):
            value = getattr(self, name)
            require(self, name, value is None or value >= 1, "at least 1")


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(EvaluationSettings):
    """What to evaluate on what. Every field is a flag."""

    out: str = option(required=True, help="Folder of the evaluation.")
    models: tuple[str, ...] = option(
        required=True,
        help="Run directories to compare; {seed} in one stands for each of --seeds.",
    )
    seeds: tuple[int, ...] = _models(
        (),
        "Training seeds, put in place of {seed}: --models=runs/base-{seed} "
        "--seeds=0,1,2.",
    )
    baseline: str | None = _models(
        None, "Name of the model that gains are relative to; by default variant base."
    )
    ensemble: bool = _models(False, "Evaluate the ensemble of the members too.")
    ensemble_members: tuple[str, ...] = _models(
        (), "Names of its members; by default all models but baseline and students."
    )
    average: str = _models("logits", "What the ensemble averages.", choices=AVERAGES)
    dataset: str = _data(
        "shapes",
        "shapes, a folder of images, or a name of TensorFlow Datasets; its test images "
        "are shown.",
    )
    data_dir: str | None = _data(None, "Where TensorFlow Datasets keeps its data.")
    corruptions: tuple[str, ...] = _corruptions(
        (), "Corruptions to measure; by default the 15 of the benchmark."
    )
    severities: tuple[int, ...] = _corruptions(SEVERITIES, "Severities to measure.")
    jpeg: bool = _corruptions(
        False,
        "Compress images that are corrupted online as JPEG of quality 85, as the "
        "published sets were when they were stored.",
    )
    allow_partial: bool = _corruptions(
        False, "Continue when the corrupted set lacks some of the cells."
    )
    batch_size: int = _measurement(128, "Images in a batch, over all replicas.")
    seed: int = _measurement(0, "Seed of corruptions, noise, subset and bootstrap.")
    noise_draws: int = _measurement(
        1,
        "Report apart what the mean of k noise draws gives, at k times the cost; "
        "--noise_samples must be a multiple of k.",
    )
    adapted_batch: int = _measurement(
        0,
        "Report apart what batch normalisation by the statistics of N test images "
        "gives; 0 for none.",
    )
    bootstrap: int = _measurement(1000, "Bootstrap replicates behind the intervals.")
    strategy: str = _measurement(
        "auto",
        "mirrored computes on all GPUs; under multi_worker the processes in TF_CONFIG or "
        "a step of Slurm divide the cells; auto chooses.",
        choices=STRATEGIES,
    )
    logits_dtype: str = _output(
        "float32",
        "Number type of the cached logits; float16 halves the files.",
        choices=("float32", "float16"),
    )
    compare: str | None = _output(
        None,
        "Folder of another evaluation of these models, to set beside this one: whether "
        "accuracies per corruption agree.",
    )

    def __post_init__(self):
        super().__post_init__()
        for name in ("batch_size", "bootstrap"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "seed", self.seed >= 0, "at least 0")
        divides = self.noise_draws >= 1 and self.noise_samples % self.noise_draws == 0
        require(
            self,
            "noise_draws",
            divides,
            f"at least 1 and divide --noise_samples={self.noise_samples}",
        )
        batch = self.adapted_batch
        require(self, "adapted_batch", batch == 0 or batch >= 2, "0 or at least 2")
        require(self, "seeds", all(seed >= 0 for seed in self.seeds), "at least 0")
        check_severities(self.severities)
        for name in self.corruptions:
            canonical_name(name)
        online = self.corrupted == ONLINE
        require(
            self, "jpeg", online or not self.jpeg, "False unless --corrupted=online"
        )
        if bool(self.seeds) != any(SEED in path for path in self.models):
            raise ValueError(
                f"`seeds` and a {SEED} in `models` need each other. Received: "
                f"models={','.join(self.models)}, seeds={self.seeds}"
            )

    def run_paths(self) -> tuple[str, ...]:
        """The run directories, with every seed in place of `{seed}`."""
        return tuple(
            path.replace(SEED, str(seed))
            for path in self.models
            for seed in (self.seeds if SEED in path else ("",))
        )
