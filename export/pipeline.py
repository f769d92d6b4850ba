"""The stages in their order: from runs to a new version in a served folder."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from export import evaluate, markers, push, warmup
from export.agreement import Agreement, tolerance_of
from export.card import write_card
from export.checks import CLEAN, CheckImages, select_images
from export.config import ExportConfig, ExportResult
from export.convert import LITERT_FILE, convert_to_litert
from export.metadata import attach_metadata, write_metadata
from export.models_config import refresh
from export.quantize import require_quantizer
from export.robustness import read_robustness
from export.samples import INPUT_NAMES
from export.sign import LABELS_FILE, write_labels, write_saved_model
from export.source import Source, open_dataset, open_source, spread
from export.validate import judge, keras_logits, replay
from v1keras.data import ImageDataset
from v1keras.files import write_json
from v1keras.layers import is_stochastic

_SAVED_MODEL_FILE = "saved_model.pb"
_WARMUP_IMAGES = 4


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
        FileNotFoundError: if a run or a baseline is not there.
        OSError: if the files cannot be written.
        ValueError: if something does not fit together.
        RejectedError: if the exported files do not answer like the Keras model or not
            well enough; it is a `ValueError`, and its message says where.

    Example:

    >>> result = export_run(
    ...     ExportConfig(run=("runs/student",), out="serving/student", min_accuracy=0.5)
    ... )
    >>> result.litert.name
    'model.tflite'
    """
    source = open_source(config.run, noise=config.noise, noise_seed=config.noise_seed)
    dataset = open_dataset(source, config.dataset, config.data_dir)
    _check_replacement(config)
    baseline = evaluate.find_baseline(config.baseline, config.out, source.labels)
    robustness = read_robustness(source.runs, config.evaluation)
    if config.quantize == "int8":
        require_quantizer()
    images = select_images(
        source,
        dataset,
        count=config.images,
        corruptions=config.corruptions,
        severity=config.severity,
    )
    passed: dict[str, Any] = {}
    try:
        with push.staging(config.out) as folder:
            answers, expected, agreements = _validate(
                config, source, dataset, images, folder
            )
            milliseconds, sizes = _milliseconds(answers), _sizes(folder)
            passed[markers.INFRA_BLESSED] = _bless_infrastructure(
                agreements, milliseconds, sizes
            )
            evaluation = _evaluate(config, source, images, answers, expected, baseline)
            passed[markers.BLESSED] = _bless(evaluation)
            for name, content in passed.items():
                write_json(folder / name, content)
            figures = {
                "accuracy": evaluation.accuracy,
                "milliseconds": milliseconds,
                "sizes": sizes,
            }
            metadata = write_metadata(
                folder,
                config,
                source,
                split=images.split,
                images=len(images.truth),
                **figures,
            )
            write_card(folder, Path(config.out).name, metadata, robustness)
            path = push.publish(folder, config.out)
    except markers.RejectedError as error:
        error.folder = markers.write_rejection(
            config.out, {**passed, error.marker: error.content}
        )
        raise
    except tf.errors.OpError as error:
        raise OSError(f"the export could not be written: {error.message}") from error
    if config.keep is not None:
        push.keep(config.out, config.keep)
    refresh(config.out)
    return ExportResult(
        path=path,
        version=int(path.name),
        saved_model=path if "savedmodel" in config.formats else None,
        litert=path / LITERT_FILE if "tflite" in config.formats else None,
        split=images.split,
        agreements=agreements,
        **figures,
    )


def _check_replacement(config: ExportConfig) -> None:
    """A server that loads SavedModels stumbles over a newer version without one."""
    found = push.versions(config.out)
    if not found or "savedmodel" in config.formats:
        return
    newest = Path(config.out) / str(found[-1])
    if (newest / _SAVED_MODEL_FILE).exists():
        raise ValueError(
            f"{newest} holds a SavedModel, so a newer version must hold one too. "
            f"Received: formats={','.join(config.formats)}, out={config.out}"
        )


def _write(
    config: ExportConfig, source: Source, dataset: ImageDataset, folder: Path
) -> None:
    if "savedmodel" in config.formats:
        write_saved_model(source.model, source.labels, folder)
    else:
        write_labels(source.labels, folder / LABELS_FILE)
    if "tflite" in config.formats:
        calibration = None
        if config.quantize == "int8":
            train = dataset.split("train")
            calibration, _ = spread(train, config.calibration_images)
        flatbuffer = convert_to_litert(
            source.model, quantize=config.quantize, calibration_images=calibration
        )
        (folder / LITERT_FILE).write_bytes(flatbuffer)
        attach_metadata(folder / LITERT_FILE, config, source)


def _validate(
    config: ExportConfig,
    source: Source,
    dataset: ImageDataset,
    images: CheckImages,
    folder: Path,
) -> tuple[dict[str, np.ndarray], np.ndarray, tuple[Agreement, ...]]:
    """Makes the files, asks them in a fresh process and compares their answers."""
    stacked, clean = images.stacked(), images.slices[CLEAN]
    try:
        _write(config, source, dataset, folder)
        if "savedmodel" in config.formats and warmup.is_available():
            warmup.write_warmup(
                folder, clean[:_WARMUP_IMAGES], model_name=Path(config.out).name
            )
        expected = keras_logits(
            source.model,
            stacked,
            batch_size=config.batch_size,
            is_noisy=is_stochastic(source.model),
        )
        answers = replay(folder, stacked, batch_size=config.batch_size)
        agreements = judge(
            answers,
            images.divide(expected)[CLEAN],
            source.labels,
            sources=_sources(config),
            quantize=config.quantize,
        )
    except ValueError as error:
        raise markers.RejectedError(
            markers.INFRA_NOT_BLESSED, [" ".join(str(error).split())]
        ) from error
    return answers, expected, agreements


def _sources(config: ExportConfig) -> tuple[str, ...]:
    """What the exported files must answer to."""
    parts = {"savedmodel": tuple(INPUT_NAMES), "tflite": ("litert",)}
    return tuple(name for each in config.formats for name in parts[each])


def _bless_infrastructure(
    agreements: tuple[Agreement, ...],
    milliseconds: dict[str, float],
    sizes: dict[str, int],
) -> dict[str, Any]:
    """The content of the marker of TFX's infra validator, or a rejection."""
    figures = {
        "agreements": [dataclasses.asdict(item) for item in agreements],
        "milliseconds": milliseconds,
        "bytes": sizes,
    }
    reasons = [
        f"{item.source}: {reason}" for item in agreements for reason in item.reasons
    ]
    if reasons:
        raise markers.RejectedError(markers.INFRA_NOT_BLESSED, reasons, figures)
    return {"reasons": [], **figures}


def _evaluate(
    config: ExportConfig,
    source: Source,
    images: CheckImages,
    answers: dict[str, np.ndarray],
    expected: np.ndarray,
    baseline: Path | None,
) -> evaluate.Evaluation:
    exported = evaluate.exported_logits(answers)
    logits = {evaluate.KERAS: expected, **exported}
    if baseline is not None:
        try:
            logits[evaluate.BASELINE] = evaluate.baseline_logits(
                baseline, images.stacked(), batch_size=config.batch_size
            )
        except ValueError as error:
            raise markers.RejectedError(markers.NOT_BLESSED, [str(error)]) from error
    thresholds = evaluate.Thresholds(
        config.min_accuracy,
        config.max_loss,
        {
            name: tolerance_of(
                name,
                quantize=config.quantize,
                is_stochastic=is_stochastic(source.model),
            ).accuracy
            for name in exported
        },
    )
    return evaluate.evaluate(logits, images, source.labels, thresholds)


def _bless(evaluation: evaluate.Evaluation) -> dict[str, Any]:
    """The content of the marker of TFX's evaluator, or a rejection."""
    content = dataclasses.asdict(evaluation)
    if evaluation.reasons:
        raise markers.RejectedError(markers.NOT_BLESSED, evaluation.reasons, content)
    return content


def _milliseconds(answers: dict[str, np.ndarray]) -> dict[str, float]:
    return {
        key.split("/")[0]: float(value)
        for key, value in answers.items()
        if key.endswith("/milliseconds")
    }


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of each format; labels and metadata do not count."""
    parts = {
        "savedmodel": [folder / _SAVED_MODEL_FILE, *folder.glob("variables/*")],
        "tflite": [folder / LITERT_FILE],
    }
    return {
        name: sum(path.stat().st_size for path in paths)
        for name, paths in parts.items()
        if paths[0].exists()
    }
