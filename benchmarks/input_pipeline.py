"""Shows how much of a training step is spent waiting for images.

    python3 -m venv xprof-env && xprof-env/bin/pip install xprof
    python benchmarks/input_pipeline.py --dataset=path/to/tiny-imagenet-200 \
        --xprof=xprof-env/bin/python

Times the input pipeline alone, training on one batch that is always there, and
training on the pipeline. While it trains, the time that each step waits for its batch
is taken from the iterator itself and, with `--xprof`, from TensorFlow's profiler.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from v1keras import command_line
from v1keras.data import load_dataset, training_batches
from v1keras.models import build_classifier
from v1keras.training.optimizer import L2SGD

_STEP_SPLIT = Path(__file__).parent / "workers" / "step_split.py"


@dataclasses.dataclass(frozen=True)
class InputConfig:
    """The flags of the benchmark."""

    dataset: str = command_line.option("shapes:2000:100", "See v1keras.train.")
    arch: str = command_line.option("resnet18", "ResNet behind the front-end.")
    width: int = command_line.option(64, "Channels of its first stage.")
    stride: int = command_line.option(2, "Stride of the front-end, in pixels.")
    batch_size: int = command_line.option(128, "Images in a batch.")
    steps: int = command_line.option(20, "Timed steps.")
    xprof: str | None = command_line.option(
        None, "Python that has xprof, for the profiler's step-time split."
    )


def main(config: InputConfig) -> None:
    """Prints images a second and the share of time spent waiting."""
    dataset = load_dataset(config.dataset)
    split = dataset.split("train")
    batches = training_batches(split, batch_size=config.batch_size, augment="paper")
    model = build_classifier(
        config.arch,
        "standard",
        num_classes=len(dataset.class_names),
        input_shape=(split.image_size, split.image_size, 3),
        width=config.width,
        stride=config.stride,
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(L2SGD(0.1, momentum=0.9), loss)

    alone, _ = _time(config, iter(batches), lambda batch: None)
    first = next(iter(batches))
    constant, _ = _time(
        config, iter(lambda: first, None), lambda batch: model.train_on_batch(*batch)
    )
    real, waiting = _time(
        config, iter(batches), lambda batch: model.train_on_batch(*batch)
    )
    images = config.steps * config.batch_size
    cores = len(os.sched_getaffinity(0))
    print(f"{config.arch}, width {config.width}, stride {config.stride}; {cores} cores")
    print(f"pipeline alone: {images / alone:.0f} images/s")
    print(f"training on one batch: {images / constant:.0f} images/s")
    print(f"training on the pipeline: {images / real:.0f} images/s")
    print(f"waiting for a batch: {100 * waiting / real:.1f} % of the time")
    if config.xprof:
        split = _profile(config, iter(batches), model)
        parts = ", ".join(f"{name} {ms:.1f} ms" for name, ms in split.items())
        print(f"step-time split by the profiler: {parts}")


def _time(config: InputConfig, batches, step) -> tuple[float, float]:
    """Seconds of all steps, and of waiting for their batches."""
    for _ in range(3):
        step(next(batches))
    waits = []
    begin = time.perf_counter()
    for _ in range(config.steps):
        asked = time.perf_counter()
        batch = next(batches)
        waits.append(time.perf_counter() - asked)
        step(batch)
    return time.perf_counter() - begin, float(np.sum(waits))


def _profile(config: InputConfig, batches, model) -> dict[str, float]:
    """Milliseconds of a training step by what they are spent on."""
    profiler = tf.profiler.experimental
    with tempfile.TemporaryDirectory() as folder:
        model.train_on_batch(*next(batches))
        with profiler.Profile(folder):
            for step in range(config.steps):
                with profiler.Trace("train", step_num=step, _r=1):
                    model.train_on_batch(*next(batches))
        finished = subprocess.run(
            [config.xprof, _STEP_SPLIT, folder],
            capture_output=True,
            text=True,
            check=False,
        )
    if finished.returncode:
        raise ChildProcessError(
            f"{_STEP_SPLIT.name} failed with {config.xprof}: {finished.stderr[-500:]}"
        )
    return json.loads(finished.stdout.splitlines()[-1])


if __name__ == "__main__":
    sys.exit(
        command_line.run(
            main,
            InputConfig,
            prog="benchmarks/input_pipeline.py",
            description="Shows how much of a training step waits for images.",
        )
    )
