"""The stages in their order: from runs to a new version in a served folder."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf

from export import evaluate, push, warmup
from export.agreement import Agreement
from export.config import ExportConfig, ExportResult
from export.convert import convert_to_litert
from export.metadata import write_metadata
from export.replay import LITERT_FILE
from export.sign import LABELS_FILE, write_labels, write_saved_model
from export.source import Source, open_dataset, open_source, spread
from export.validate import judge, keras_logits, replay
from v1keras.data import ImageDataset
from v1keras.files import write_json

INFRA_BLESSED_FILE = "INFRA_BLESSED"
BLESSED_FILE = "BLESSED"
_SAVED_MODEL_FILE = "saved_model.pb"
_WARMUP_IMAGES = 4


def export_run(config: ExportConfig) -> ExportResult:
    """Exports a run, or an ensemble of runs, as a new version.

    The files are made in a hidden folder, loaded in a fresh process and compared
    there with the Keras model on test images. Only then they appear, all at once, as
    `<out>/<Unix seconds>/`. If anything fails, `out` is as it was.

    Args:
        config: `ExportConfig`.

    Returns:
        An `ExportResult`.

    Raises:
        FileNotFoundError: if a run or a baseline is not there.
        OSError: if the files cannot be written.
        ValueError: if something does not fit together, or the exported files do not
            answer like the Keras model or not well enough; the message says where.

    Example:

    >>> result = export_run(ExportConfig(run=("runs/student",), out="serving/student"))
    >>> result.litert.name
    'model.tflite'
    """
    source = open_source(config.run, noise=config.noise, noise_seed=config.noise_seed)
    dataset = open_dataset(source, config.dataset, config.data_dir)
    _check_replacement(config)
    images, truth = spread(dataset.split("test"), config.images)
    try:
        with push.staging(config.out) as folder:
            _write(config, source, dataset, folder)
            if "savedmodel" in config.formats and warmup.is_available():
                warmup.write_warmup(
                    folder, images[:_WARMUP_IMAGES], model_name=Path(config.out).name
                )
            expected = keras_logits(
                source.model,
                images,
                batch_size=config.batch_size,
                is_noisy=config.noise == "stochastic",
            )
            answers = replay(folder, images, batch_size=config.batch_size)
            agreements = judge(answers, expected, source.labels, config.quantize)
            _bless_infrastructure(folder, agreements)
            evaluation = _evaluate(config, source, answers, expected, images, truth)
            _bless(folder, evaluation)
            figures = {
                "accuracy": evaluation.accuracy,
                "milliseconds": _milliseconds(answers),
                "sizes": _sizes(folder),
            }
            write_metadata(folder, config, source, **figures)
            path = push.publish(folder, config.out)
    except tf.errors.OpError as error:
        raise OSError(f"the export could not be written: {error.message}") from error
    if config.keep is not None:
        push.keep(config.out, config.keep)
    return ExportResult(
        path=path,
        version=int(path.name),
        saved_model=path if "savedmodel" in config.formats else None,
        litert=path / LITERT_FILE if "tflite" in config.formats else None,
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


def _bless_infrastructure(folder: Path, agreements: tuple[Agreement, ...]) -> None:
    """Writes the marker of TFX's infra validator, with the figures, or fails."""
    _require(
        "the files do not answer like the Keras model",
        (f"{item.source}: {reason}" for item in agreements for reason in item.reasons),
    )
    write_json(
        folder / INFRA_BLESSED_FILE, [dataclasses.asdict(item) for item in agreements]
    )


def _evaluate(
    config: ExportConfig,
    source: Source,
    answers: dict[str, np.ndarray],
    expected: np.ndarray,
    images: np.ndarray,
    truth: np.ndarray,
) -> evaluate.Evaluation:
    logits = {evaluate.KERAS: expected, **evaluate.exported_logits(answers)}
    if config.baseline is not None:
        logits[evaluate.BASELINE] = evaluate.baseline_logits(
            config.baseline, images, source.labels, batch_size=config.batch_size
        )
    thresholds = evaluate.Thresholds(config.min_accuracy, config.max_loss)
    return evaluate.evaluate(logits, truth, source.labels, thresholds)


def _bless(folder: Path, evaluation: evaluate.Evaluation) -> None:
    """Writes the marker of TFX's evaluator, with the figures, or fails."""
    _require("it is not good enough", evaluation.reasons)
    write_json(folder / BLESSED_FILE, dataclasses.asdict(evaluation))


def _require(failure: str, reasons: Iterable[str]) -> None:
    if found := "; ".join(reasons):
        raise ValueError(f"nothing was exported, because {failure}: {found}")


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
