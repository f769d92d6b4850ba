"""Times exported files in the runtimes that serve them, side by side.

    python3 -m venv openvino-env && openvino-env/bin/pip install openvino
    python benchmarks/serving.py --openvino=openvino-env/bin/python
    python benchmarks/serving.py --compare=FOLDER

A model is built and exported. Every runtime answers in processes of its own, on the
same cores; all take turns, round after round. The last row is what comes before the
model when a request holds a photograph: decoding and resizing.

`--keep=FOLDER` leaves the files there. `--compare=FOLDER` times those that another version of
this package left, too, beside the new ones and in the same turns.
"""

import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from v1keras import command_line

_WORKER = Path(__file__).parent / "workers" / "served.py"
_BATCH_SIZES = (1, 16)
_FILES = {
    "SavedModel": "saved_model",
    "LiteRT float32": "float32.tflite",
    "LiteRT int8": "int8.tflite",
}
_OPENVINO = ("OpenVINO float32", "OpenVINO, its default")
_CASES = (
    "SavedModel",
    "LiteRT float32",
    "LiteRT int8",
    *_OPENVINO,
    "Keras predict",
    "12-megapixel JPEG",
)


@dataclasses.dataclass(frozen=True)
class ServingConfig:
    """The flags of the benchmark."""

    openvino: str | None = command_line.option(
        None, "Python that has openvino. None leaves it out."
    )
    keep: str | None = command_line.option(
        None, "Folder to leave the exported files in, for --compare."
    )
    compare: str | None = command_line.option(
        None, "Folder of files of the same model that another version has left."
    )
    only: str = command_line.option(
        "", "Leave out the rows whose names do not hold this."
    )
    variant: str = command_line.option("standard", "See v1keras.train.", group="model")
    arch: str = command_line.option("resnet18", "See v1keras.train.", group="model")
    width: int = command_line.option(64, "See v1keras.train.", group="model")
    stride: int = command_line.option(2, "See v1keras.train.", group="model")
    image_size: int = command_line.option(64, "Pixels.", group="model")
    threads: int = command_line.option(2, "Cores of every process.")
    rounds: int = command_line.option(2, "How often each process is started.")
    repeats: int = command_line.option(
        100, "Timed calls with one image in each process; a quarter with 16."
    )


def main(config: ServingConfig) -> None:
    """Prints a table."""
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    print(f"{config.variant}, {config.arch}, width {config.width}, stride "
          f"{config.stride}, {config.image_size} px; {config.threads} threads")  # fmt: skip
    compared = Path(config.compare) if config.compare else None
    if compared and not any((compared / file).exists() for file in _FILES.values()):
        raise ValueError(
            f"`compare` must hold {', '.join(_FILES.values())}, or one of them. "
            f"Received: compare={compared}"
        )
    cases = [
        case
        for case in _CASES
        if config.only in case and (config.openvino or case not in _OPENVINO)
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(config.keep or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        _export(config, folder)
        rows = {}
        for case in cases:
            rows[case] = case, folder
            if compared and case in _FILES and (compared / _FILES[case]).exists():
                rows[f"{case} of {compared.name}"] = case, compared
        seconds = {}
        for _ in range(config.rounds):
            for row, (case, where) in rows.items():
                for size in _BATCH_SIZES:
                    times = seconds.setdefault((row, size), [])
                    times.extend(_time(config, where, case, size))
    print("| | batch 1: p50, ms | p99, ms | images/s | batch 16: p50, ms | p99, ms "
          "| images/s |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        cells = [row]
        for batch_size in _BATCH_SIZES:
            times = seconds[row, batch_size]
            cells += [
                f"{1000 * statistics.median(times):.1f}",
                f"{1000 * np.percentile(times, 99):.1f}",
                f"{batch_size / statistics.mean(times):.1f}",
            ]
        print(f"| {' | '.join(cells)} |")


def _export(config: ServingConfig, folder: Path) -> None:
    """Writes the files that the workers read; speed needs no training."""
    from export.litert import convert_to_litert
    from export.saved_model import write_saved_model
    from v1keras import set_noise
    from v1keras.data import load_dataset
    from v1keras.models import build_classifier

    dataset = load_dataset("shapes:64:24", image_size=config.image_size)
    model = build_classifier(
        config.arch,
        config.variant,
        num_classes=len(dataset.class_names),
        input_shape=(config.image_size, config.image_size, 3),
        width=config.width,
        stride=config.stride,
    )
    set_noise(model, "off")
    model.save(folder / "model.keras")
    write_saved_model(model, dataset.class_names, folder / "saved_model")
    images = np.asarray(dataset.split("train").images)
    for name, quantize in (("float32", "none"), ("int8", "int8")):
        (folder / f"{name}.tflite").write_bytes(
            convert_to_litert(model, quantize=quantize, calibration_images=images)
        )


def _time(
    config: ServingConfig, folder: Path, case: str, batch_size: int
) -> list[float]:
    python = config.openvino if case in _OPENVINO else sys.executable
    repeats = config.repeats if batch_size == 1 else max(1, config.repeats // 4)
    command = [
        str(Path(python).absolute()),
        _WORKER,
        f"--case={case}",
        f"--batch_size={batch_size}",
        f"--image_size={config.image_size}",
        f"--repeats={repeats}",
        f"--threads={config.threads}",
    ]
    root = str(Path(__file__).resolve().parents[1])
    finished = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise ChildProcessError(f"{case} failed: {finished.stderr[-500:]}")
    return json.loads(finished.stdout.splitlines()[-1])["seconds"]


if __name__ == "__main__":
    sys.exit(
        command_line.run(
            main,
            ServingConfig,
            prog="benchmarks/serving.py",
            description="Times exported files in the runtimes that serve them.",
        )
    )
