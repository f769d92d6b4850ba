"""The stages in their order: from runs to a new version in a served folder."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from export.agreement import Agreement
from export.config import ExportConfig, ExportResult
from v1keras.files import write_json

METADATA_FILE = "metadata.json"
INFRA_BLESSED_FILE = "INFRA_BLESSED"
BLESSED_FILE = "BLESSED"
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
        FileNotFoundError: if a run or a data set is not there.
        ValueError: if something does not fit together, or the exported files do not
            answer like the Keras model; the message says where they differ.

    Example:

    >>> result = export_run(ExportConfig(run=("runs/student",), out="serving/student"))
    >>> result.litert.name
    'model.tflite'
    """
    # Imported here so that wrong flags are answered before TensorFlow has loaded.
    import tensorflow as tf

    from export import push, warmup
    from export.source import open_dataset, open_source, spread
    from export.validate import judge, keras_logits, replay

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
            _require("the files do not answer like the Keras model", agreements)
            evaluation = _evaluate(config, source, answers, expected, images, truth)
            _require("it is not good enough", [evaluation])
            _bless(folder, agreements, evaluation)
            result = _result(folder, agreements, evaluation, answers)
            write_json(folder / METADATA_FILE, _metadata(config, source, result))
            path = push.publish(folder, config.out)
    except tf.errors.OpError as error:
        raise OSError(f"the export could not be written: {error.message}") from error
    if config.keep is not None:
        push.keep(config.out, config.keep)
    return _result(path, agreements, evaluation, answers)


def _check_replacement(config: ExportConfig) -> None:
    """A server that loads SavedModels stumbles over a newer version without one."""
    from export.push import versions

    found = versions(config.out)
    if not found or "savedmodel" in config.formats:
        return
    newest = Path(config.out) / str(found[-1])
    if (newest / "saved_model.pb").exists():
        raise ValueError(
            f"{newest} holds a SavedModel, so a newer version must hold one too. "
            f"Received: formats={','.join(config.formats)}, out={config.out}"
        )


def _write(config: ExportConfig, source: Any, dataset: Any, folder: Path) -> None:
    from export.convert import convert_to_litert
    from export.replay import LITERT_FILE
    from export.sign import LABELS_FILE, write_labels, write_saved_model
    from export.source import spread

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


def _evaluate(
    config: ExportConfig,
    source: Any,
    answers: dict[str, Any],
    expected: Any,
    images: Any,
    truth: Any,
) -> Any:
    from export import evaluate

    logits = {evaluate.KERAS: expected, **evaluate.exported_logits(answers)}
    if config.baseline is not None:
        logits[evaluate.BASELINE] = evaluate.baseline_logits(
            config.baseline, images, source.labels, batch_size=config.batch_size
        )
    thresholds = evaluate.Thresholds(config.min_accuracy, config.max_loss)
    return evaluate.evaluate(logits, truth, source.labels, thresholds)


def _require(failure: str, judgements: Iterable[Any]) -> None:
    """Ends the export if a judgement has reasons against it."""
    reasons = [
        f"{judgement.source}: {reason}" if hasattr(judgement, "source") else reason
        for judgement in judgements
        for reason in judgement.reasons
    ]
    if reasons:
        raise ValueError(
            f"nothing was exported, because {failure}: {'; '.join(reasons)}"
        )


def _bless(folder: Path, agreements: Sequence[Agreement], evaluation: Any) -> None:
    """Writes the markers of TFX's infra validator and evaluator, with the figures."""
    write_json(
        folder / INFRA_BLESSED_FILE, [dataclasses.asdict(item) for item in agreements]
    )
    write_json(folder / BLESSED_FILE, dataclasses.asdict(evaluation))


def _result(
    path: Path, agreements: tuple[Agreement, ...], evaluation: Any, answers: dict
) -> ExportResult:
    from export.replay import LITERT_FILE

    litert = path / LITERT_FILE
    has_saved_model = (path / "saved_model.pb").exists()
    sizes = {}
    if has_saved_model:
        parts = [path / "saved_model.pb", *(path / "variables").iterdir()]
        sizes["savedmodel"] = sum(part.stat().st_size for part in parts)
    if litert.exists():
        sizes["tflite"] = litert.stat().st_size
    return ExportResult(
        path=path,
        version=int(path.name) if path.name.isdecimal() else 0,
        saved_model=path if has_saved_model else None,
        litert=litert if litert.exists() else None,
        agreements=agreements,
        accuracy=evaluation.accuracy,
        milliseconds={
            key.split("/")[0]: float(value)
            for key, value in answers.items()
            if key.endswith("/milliseconds")
        },
        bytes=sizes,
    )


def _metadata(config: ExportConfig, source: Any, result: ExportResult) -> dict:
    """What a user of the files must know, and where they come from."""
    from export.sign import LABELS_FILE
    from v1keras.training import versions

    size = source.image_size
    return {
        "input": {
            "name": "images",
            "dtype": "float32",
            "shape": [None, size, size, 3],
            "colors": "RGB",
            "range": [0, 255],
            "resize": "shorter side to the input's size (average over the area when "
            "shrinking, bilinear when enlarging), then the central square",
        },
        "outputs": {
            "logits": ["float32", [None, len(source.labels)]],
            "probabilities": ["float32", [None, len(source.labels)]],
        },
        "labels": LABELS_FILE,
        "class_names": list(source.class_names),
        "formats": list(config.formats),
        "quantize": config.quantize,
        "noise": {"mode": config.noise, "seed": config.noise_seed},
        "runs": [run.config for run in source.runs],
        "accuracy": result.accuracy,
        "milliseconds": result.milliseconds,
        "bytes": result.bytes,
        "versions": versions(),
    }
