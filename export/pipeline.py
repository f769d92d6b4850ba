"""The stages in their order: from runs to a new version in a served folder."""

import dataclasses
from pathlib import Path

import numpy as np
import tensorflow as tf

from export import blessing, evaluator, infra_validator, integrity, pusher
from export.card import read_robustness, write_card
from export.check_images import (
    CLEAN,
    CheckImages,
    open_check_dataset,
    select_images,
)
from export.config import ExportConfig
from export.diagnosis import (
    Diagnoser,
    Diagnosis,
    fit_diagnosis,
    require_held_out,
)
from export.infra_validator import Parity
from export.litert import convert_to_litert
from export.metadata import describe_litert, write_metadata
from export.models_config import list_versions, require_refreshable
from export.quantize import require_quantizer
from export.requests import (
    INPUT_NAMES,
    OPTIONAL_INPUT_NAMES,
    can_write_warmup,
    write_warmup,
)
from export.runtimes import LITERT, LITERT_FILE, SAVED_MODEL_FILE, Answers, ask_apart
from export.saved_model import LABELS_FILE, write_labels, write_saved_model
from export.source import Source, open_source
from v1keras.data import ImageDataset
from v1keras.layers import is_stochastic


@dataclasses.dataclass(frozen=True)
class ExportResult:
    """What an export has made.

    Args:
        path: Path. The new version's folder, `<out>/<version>`.
        version: int. Its number, in Unix seconds.
        saved_model: Path or None. The folder of the SavedModel (the same).
        litert: Path or None. The LiteRT file.
        split: str. Where the images of the checks come from: `"validation"` or
            `"test"`.
        parity: tuple of `Parity`. The measured differences from Keras, one for each
            endpoint: a signature of the SavedModel or `"litert"`.
        accuracy: dict from model (`"keras"`, `"serving_default"`, `"litert"`,
            `"baseline"`) to a dict from slice (`"clean"`, `"contrast/3"`,
            `"corrupted"`) to the share of right answers.
        milliseconds: dict from endpoint to the median time of a request with one
            image.
        sizes: dict from format to the size of its files, in bytes.
        warnings: tuple of str. What the checks could not tell.
    """

    path: Path
    version: int
    saved_model: Path | None
    litert: Path | None
    split: str
    parity: tuple[Parity, ...]
    accuracy: dict[str, dict[str, float]]
    milliseconds: dict[str, float]
    sizes: dict[str, int]
    warnings: tuple[str, ...]


def export_run(config: ExportConfig) -> ExportResult:
    """Exports a run, or an ensemble of runs, as a new version.

    The files are made in a hidden folder, loaded in a fresh process and compared
    there with the Keras model on clean and corrupted images. Only then they appear, all
    at once, as `<out>/<Unix seconds>/`. If a check fails, only its markers are kept,
    in `<out>/.rejected/`; if anything else fails, `out` is as it was.

    Args:
        config: `ExportConfig`.

    Returns:
        An `ExportResult`.

    Raises:
        FileNotFoundError: if a run, a baseline or a key is not there.
        OSError: if the files cannot be written.
        ValueError: if something does not fit together, or the baseline is damaged.
        RejectedError: if the exported files do not answer like the Keras model or not
            well enough; it is a `ValueError`, and its message says where.

    Example:

    >>> result = export_run(
    ...     ExportConfig(
    ...         run=("runs/student",),
    ...         out="serving/student",
    ...         min_accuracy=0.01,
    ...         images=24,
    ...     )
    ... )
    >>> result.litert.name
    'model.tflite'
    """
    source = open_source(config.run, noise=config.noise, noise_seed=config.noise_seed)
    dataset = open_check_dataset(source, config.dataset, config.data_dir)
    _check_replacement(config)
    require_refreshable(config.out)
    baseline = evaluator.find_baseline(config.baseline, config.out, source.labels)
    key = integrity.read_private_key(config.sign) if config.sign else None
    robustness = read_robustness(source.runs, config.evaluation)
    if config.quantize == "int8":
        require_quantizer()
    if config.diagnose:
        require_held_out(source, dataset)
    images = select_images(
        source,
        dataset,
        count=config.images,
        corruptions=config.corruptions,
        severity=config.severity,
    )
    served = None
    if baseline is not None:
        served = evaluator.baseline_ranking(
            baseline, images.stacked(), batch_size=config.batch_size
        )
    diagnosis = None
    if config.diagnose:
        diagnosis = fit_diagnosis(source, dataset, config.diagnosis_images)
    passed = {}
    try:
        with pusher.staging(config.out) as folder:
            answers, expected, parity = _validate(
                config, source, dataset, images, folder, diagnosis
            )
            infra = infra_validator.bless(parity, answers, _sizes(folder))
            passed[blessing.INFRA_BLESSED] = infra
            evaluation = _evaluate(config, source, images, answers, expected, served)
            passed[blessing.BLESSED] = evaluator.bless(evaluation)
            blessing.write_markers(folder, passed)
            figures = {
                "accuracy": evaluation.accuracy,
                "milliseconds": infra["milliseconds"],
                "sizes": infra["bytes"],
            }

            def finish(version: int) -> None:
                metadata = write_metadata(
                    folder,
                    config,
                    source,
                    version=version,
                    split=images.split,
                    images=len(images.truth),
                    warnings=evaluation.warnings,
                    diagnosis=diagnosis.figures if diagnosis else None,
                    **figures,
                )
                write_card(folder, config.model_name, metadata, robustness)
                integrity.seal(folder, key)

            path = pusher.push(folder, config.out, finish, count=config.keep)
    except blessing.RejectedError as error:
        error.folder = blessing.write_rejection(
            config.out, {**passed, error.marker: error.content}
        )
        raise
    except tf.errors.OpError as error:
        raise OSError(f"the export could not be written: {error.message}") from error
    return ExportResult(
        path=path,
        version=int(path.name),
        saved_model=path if "savedmodel" in config.formats else None,
        litert=path / LITERT_FILE if "tflite" in config.formats else None,
        split=images.split,
        parity=parity,
        warnings=evaluation.warnings,
        **figures,
    )


def _check_replacement(config: ExportConfig) -> None:
    """A server that loads SavedModels would fail on a newer version without one."""
    found = list_versions(config.out)
    if not found or "savedmodel" in config.formats:
        return
    newest = Path(config.out) / str(found[-1])
    if (newest / SAVED_MODEL_FILE).exists():
        raise ValueError(
            f"`formats` must hold savedmodel, as {newest} does. "
            f"Received: formats={','.join(config.formats)}"
        )


def _write(
    config: ExportConfig,
    source: Source,
    dataset: ImageDataset,
    folder: Path,
    diagnosis: Diagnosis | None,
) -> None:
    if "savedmodel" in config.formats:
        write_saved_model(
            source.model,
            source.labels,
            folder,
            crop_fraction=source.crop_fraction,
            diagnoser=diagnosis and Diagnoser(source.members, diagnosis),
        )
    else:
        write_labels(source.labels, folder / LABELS_FILE)
    if "tflite" in config.formats:
        calibration = None
        if config.quantize == "int8":
            train = dataset.split("train")
            calibration = np.asarray(train.spread(config.calibration_images).images)
        flatbuffer = convert_to_litert(
            source.model,
            quantize=config.quantize,
            calibration_images=calibration,
            outputs=config.litert_outputs,
        )
        flatbuffer = describe_litert(flatbuffer, config, source)
        (folder / LITERT_FILE).write_bytes(flatbuffer)


def _validate(
    config: ExportConfig,
    source: Source,
    dataset: ImageDataset,
    images: CheckImages,
    folder: Path,
    diagnosis: Diagnosis | None,
) -> tuple[dict[str, Answers], np.ndarray, tuple[Parity, ...]]:
    """Makes the files, asks them in a fresh process and compares their answers."""
    stacked, clean = images.stacked(), images.slices[CLEAN]
    input_names = INPUT_NAMES | (OPTIONAL_INPUT_NAMES if diagnosis else {})
    endpoints = {"savedmodel": tuple(input_names), "tflite": (LITERT,)}
    try:
        _write(config, source, dataset, folder, diagnosis)
        if "savedmodel" in config.formats and can_write_warmup():
            write_warmup(
                folder,
                clean,
                model_name=config.model_name,
                input_names=input_names,
            )
        expected = infra_validator.keras_logits(
            source.model,
            stacked,
            batch_size=config.batch_size,
            is_noisy=is_stochastic(source.model),
        )
        answers = ask_apart(
            folder,
            stacked,
            batch_size=config.batch_size,
            crop_fraction=source.crop_fraction,
        )
        parity = infra_validator.validate(
            answers,
            images.divide(expected)[CLEAN],
            source.labels,
            endpoints=[name for each in config.formats for name in endpoints[each]],
            quantize=config.quantize,
        )
    except ValueError as error:
        raise blessing.RejectedError(
            blessing.INFRA_NOT_BLESSED, [" ".join(str(error).split())]
        ) from error
    return answers, expected, parity


def _evaluate(
    config: ExportConfig,
    source: Source,
    images: CheckImages,
    answers: dict[str, Answers],
    expected: np.ndarray,
    served: np.ndarray | None,
) -> evaluator.Evaluation:
    exported = evaluator.exported_rankings(answers)
    rankings = {evaluator.KERAS: expected, **exported}
    if served is not None:
        rankings[evaluator.BASELINE] = served
    thresholds = evaluator.Thresholds(
        config.min_accuracy,
        config.max_loss,
        {
            name: infra_validator.tolerance_of(
                name,
                quantize=config.quantize,
                is_stochastic=is_stochastic(source.model),
            ).accuracy
            for name in exported
        },
    )
    return evaluator.judge_accuracy(rankings, images, source.labels, thresholds)


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of each format; labels and metadata do not count."""
    parts = {
        "savedmodel": [folder / SAVED_MODEL_FILE, *folder.glob("variables/*")],
        "tflite": [folder / LITERT_FILE],
    }
    return {
        name: sum(path.stat().st_size for path in paths)
        for name, paths in parts.items()
        if paths[0].exists()
    }
