"""Settings of an export."""

import dataclasses

from v1keras.command_line import option
from v1keras.corruptions import SEVERITIES, canonical_name

FORMATS = ("savedmodel", "tflite")
QUANTIZATIONS = ("none", "dynamic", "float16", "int8")
NOISE_MODES = ("off", "fixed", "stochastic")


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Settings of `python -m export`; see `--help` for the meaning of each."""

    run: tuple[str, ...] = option(
        required=True, help="Run directory. Several are averaged as an ensemble."
    )
    out: str = option(
        required=True,
        help="Folder to be served; the export becomes a new version in it.",
    )
    min_accuracy: float = option(
        required=True,
        help="Accuracy on clean images, above 0 and up to 1, that every exported file "
        "must reach.",
    )
    formats: tuple[str, ...] = option(
        FORMATS, "What to write: savedmodel, tflite or both."
    )
    quantize: str = option(
        "none", "Smaller numbers in the TFLite file.", choices=QUANTIZATIONS
    )
    noise: str = option(
        "off",
        "Neuronal noise of the served model. `fixed` adds the same pattern to every "
        "image; with `stochastic`, answers to one image differ.",
        choices=NOISE_MODES,
    )
    noise_seed: int = option(0, "Seed of `--noise=fixed` and `stochastic`.")
    dataset: str | None = option(
        None, "Data set with the images of the checks. Default: that of the run."
    )
    data_dir: str | None = option(None, "Where TensorFlow Datasets keeps its files.")
    images: int = option(256, "How many images the checks compare.")
    corruptions: tuple[str, ...] = option(
        ("gaussian_noise", "defocus_blur", "contrast"),
        "Corruptions under which the accuracy is checked too.",
    )
    severity: int = option(3, "Severity of these corruptions, 1 to 5.")
    calibration_images: int = option(
        256, "How many training images `--quantize=int8` takes its ranges from."
    )
    baseline: str | None = option(
        None,
        "What is served now: a folder as --out, or one of its versions, or none. A new "
        "version that is worse is not exported. Default: the newest version in --out.",
    )
    max_loss: float = option(
        0.02, "How far the accuracy may lie below that of --baseline."
    )
    batch_size: int = option(32, "Images in one request of the checks.")
    evaluation: str | None = option(
        None,
        "Folder of v1keras.evaluate whose figures the model card shows. Default: the "
        "robustness.csv in the folder of a single run, if there is one.",
    )
    license: str | None = option(
        None, "Licence of the weights, for the model card, such as CC-BY-4.0."
    )
    keep: int | None = option(
        None, "How many versions stay in --out. Default: all of them."
    )

    def __post_init__(self) -> None:
        if not self.formats or set(self.formats) - set(FORMATS):
            raise ValueError(
                f"formats must be some of {', '.join(FORMATS)}. "
                f"Received: formats={','.join(self.formats)}"
            )
        for name, known in (("quantize", QUANTIZATIONS), ("noise", NOISE_MODES)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}. "
                    f"Received: {name}={getattr(self, name)}"
                )
        for name in ("images", "calibration_images", "batch_size", "keep"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1. Received: {name}={value}")
        if not 0 < self.min_accuracy <= 1:
            raise ValueError(
                "min_accuracy must be above 0 and at most 1. "
                f"Received: min_accuracy={self.min_accuracy}"
            )
        if not 0 <= self.max_loss <= 1:
            raise ValueError(
                f"max_loss must lie between 0 and 1. Received: max_loss={self.max_loss}"
            )
        for name in self.corruptions:
            canonical_name(name)
        if self.severity not in SEVERITIES:
            raise ValueError(
                f"severity must be one of 1..5. Received: severity={self.severity}"
            )
        if self.quantize != "none" and "tflite" not in self.formats:
            raise ValueError(
                "quantize is for the format tflite. Received: "
                f"quantize={self.quantize}, formats={','.join(self.formats)}"
            )
        if self.noise == "stochastic" and "tflite" in self.formats:
            raise ValueError(
                "stochastic noise is for formats=savedmodel only. "
                f"Received: formats={','.join(self.formats)}"
            )


@dataclasses.dataclass(frozen=True)
class RollbackConfig:
    """Settings of `python -m export --rollback`."""

    out: str = option(required=True, help="The served folder.")
