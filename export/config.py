"""Settings of an export."""

import dataclasses
import functools
from pathlib import Path

from v1keras.command_line import check_values, option, require, require_utf8
from v1keras.corruptions import canonical_name, check_severities
from v1keras.layers import NOISE_MODES

FORMATS = ("savedmodel", "tflite")
OUTPUTS = ("logits", "probabilities")
"""What a classifier answers."""
LEAST_DIAGNOSIS_IMAGES = 16
QUANTIZATIONS = ("none", "dynamic", "float16", "int8")

# Options under the headings of `--help`.
_files = functools.partial(option, group="files")
_noise = functools.partial(option, group="V1")
_checks = functools.partial(option, group="checks")
_card = functools.partial(option, group="model card")


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
    formats: tuple[str, ...] = _files(
        FORMATS, "What to write: savedmodel, tflite or both."
    )
    quantize: str = _files(
        "none", "Smaller numbers in the TFLite file.", choices=QUANTIZATIONS
    )
    litert_outputs: tuple[str, ...] = _files(
        OUTPUTS,
        "What the TFLite file answers: logits, probabilities or both. MediaPipe Tasks "
        "and the Task library take probabilities alone.",
    )
    diagnose: bool = _files(
        False,
        "Add the signature `diagnose` to the SavedModel: calibrated confidence, "
        "disagreement, and what has corrupted the image. The LiteRT file has none.",
    )
    diagnosis_images: int = _files(
        400, "How many validation images --diagnose is fitted and measured on."
    )
    keep: int | None = _files(
        None, "How many versions stay in --out. Default: all of them."
    )
    sign: str | None = _files(
        None,
        "PEM file with the Ed25519 private key that signs the checksums of all files. "
        "Default: they are not signed.",
    )
    noise: str = _noise(
        "off",
        "Neuronal noise of the served model. `fixed` adds the same pattern to every "
        "image; with `stochastic`, answers to one image differ.",
        choices=NOISE_MODES,
    )
    noise_seed: int = _noise(0, "Seed of `--noise=fixed` and `stochastic`.")
    baseline: str | None = _checks(
        None,
        "What is served now: a folder as --out, or one of its versions, or none. A new "
        "version that is worse is not exported. Default: the newest version in --out.",
    )
    max_loss: float = _checks(
        0.02, "How far the accuracy may lie below that of --baseline."
    )
    dataset: str | None = _checks(
        None, "Data set with the images of the checks. Default: that of the run."
    )
    data_dir: str | None = _checks(None, "Where TensorFlow Datasets keeps its files.")
    images: int = _checks(256, "How many images the checks compare.")
    corruptions: tuple[str, ...] = _checks(
        ("gaussian_noise", "defocus_blur", "contrast"),
        "Corruptions under which the accuracy is checked too.",
    )
    severity: int = _checks(3, "Severity of these corruptions, 1 to 5.")
    batch_size: int = _checks(32, "Images in one request of the checks.")
    calibration_images: int = _checks(
        256, "How many training images `--quantize=int8` takes its ranges from."
    )
    evaluation: str | None = _card(
        None,
        "Folder of v1keras.evaluate whose figures the model card shows. Default: the "
        "robustness.csv in the folder of a single run, if there is one.",
    )
    license: str | None = _card(
        None, "Licence of the weights, for the model card, such as CC-BY-4.0."
    )

    @property
    def model_name(self) -> str:
        """What the model is served as: the name of the folder, which "." has too."""
        return Path(self.out).resolve().name

    def __post_init__(self) -> None:
        for name, values in (("formats", FORMATS), ("litert_outputs", OUTPUTS)):
            given = getattr(self, name)
            known = bool(given) and not set(given) - set(values)
            require(self, name, known, f"some of {', '.join(values)}")
        check_values(self)
        require_utf8(self, "out")
        enough = self.diagnosis_images >= LEAST_DIAGNOSIS_IMAGES
        least = f"at least {LEAST_DIAGNOSIS_IMAGES}"
        require(self, "diagnosis_images", enough, least)
        can_diagnose = not self.diagnose or "savedmodel" in self.formats
        require(self, "formats", can_diagnose, "with savedmodel for --diagnose")
        for name in ("images", "calibration_images", "batch_size", "keep"):
            value = getattr(self, name)
            require(self, name, value is None or value >= 1, "at least 1")
        share = 0 < self.min_accuracy <= 1
        require(self, "min_accuracy", share, "above 0 and at most 1")
        require(self, "max_loss", 0 <= self.max_loss <= 1, "between 0 and 1")
        for name in self.corruptions:
            canonical_name(name)
        check_severities([self.severity], "severity")
        is_whole = self.quantize == "none" or "tflite" in self.formats
        require(self, "quantize", is_whole, "none unless `formats` holds tflite")
        can_draw = self.noise != "stochastic" or "tflite" not in self.formats
        require(self, "formats", can_draw, "savedmodel when noise=stochastic")


@dataclasses.dataclass(frozen=True)
class VersionsConfig:
    """Settings of `python -m export list` and `undo`."""

    out: str = option(required=True, help="The served folder.")


@dataclasses.dataclass(frozen=True)
class RollbackConfig:
    """Settings of `python -m export rollback`."""

    out: str = option(required=True, help="The served folder.")
    to: int = option(
        required=True,
        help="The version to be served, which an earlier rollback may have hidden.",
    )


@dataclasses.dataclass(frozen=True)
class DiffConfig:
    """Settings of `python -m export diff`."""

    out: str = option(required=True, help="The served folder.")
    old: int | None = option(
        None,
        "The version to compare with. Default: the one before --new.",
        group="version",
    )
    new: int | None = option(
        None, "The version to compare. Default: the newest.", group="version"
    )


@dataclasses.dataclass(frozen=True)
class VerifyConfig:
    """Settings of `python -m export verify`."""

    out: str = option(
        required=True, help="A served folder, or the folder of a version."
    )
    public_key: str | None = option(
        None,
        "PEM file of the Ed25519 key whose signature every version must have. Default: "
        "only checksums are compared.",
        group="signature",
    )
