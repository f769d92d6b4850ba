"""Times the V1 front-end and what is built on it against the PyTorch VOneNet.

    git clone https://github.com/dicarlolab/vonenet
    python3 -m venv torch-env && torch-env/bin/pip install torch scipy requests
    python benchmarks/front_end.py --reference=vonenet --python=torch-env/bin/python

Each figure comes from a process of its own. Two that are compared take turns, round
after round, on the same cores with the same number of threads; the ratio is the median
over rounds of the ratio of their medians. `--scaling` times ours alone, over image
size, batch, channels, members and cores, and draws the plot of docs/notes/performance.md.
"""

import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

from v1keras import command_line

_WORKERS = Path(__file__).parent / "workers"


@dataclasses.dataclass(frozen=True)
class FrontEndConfig:
    """The flags of the benchmark."""

    reference: str | None = command_line.option(
        None, "Checkout of github.com/dicarlolab/vonenet. None leaves it out."
    )
    python: str = command_line.option(
        sys.executable, "Python that has PyTorch, for the reference."
    )
    threads: int = command_line.option(2, "Threads, and cores, of every process.")
    rounds: int = command_line.option(3, "How often each process is started.")
    repeats: int = command_line.option(5, "Timed calls in each process.")
    only: str = command_line.option(
        "", "Leave out the comparisons whose names do not hold this."
    )
    scaling: str | None = command_line.option(
        None, "Instead: time ours over sizes and write this plot."
    )


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing that is timed: a worker, its case, batch and image size."""

    worker: str
    name: str
    batch_size: int
    image_size: int

    def run(self, config: FrontEndConfig, threads: int | None = None) -> dict:
        """Seconds and memory, from a new process."""
        is_reference = self.worker == "reference"
        python = config.python if is_reference else sys.executable
        path = str(Path(config.reference).resolve()) if is_reference else ""
        command = [
            python,
            _WORKERS / f"{self.worker}.py",
            f"--case={self.name}",
            f"--batch_size={self.batch_size}",
            f"--image_size={self.image_size}",
            f"--repeats={config.repeats}",
            f"--threads={threads or config.threads}",
        ]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        if path:
            environment["PYTHONPATH"] = path
        finished = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
        if finished.returncode:
            raise ChildProcessError(
                f"{self.worker}, case {self.name}, failed: {finished.stderr[-500:]}"
            )
        return json.loads(finished.stdout.splitlines()[-1])


def _reference(name: str, batch_size: int, image_size: int) -> Case:
    return Case("reference", name, batch_size, image_size)


def _ours(name: str, batch_size: int, image_size: int) -> Case:
    return Case("ours", name, batch_size, image_size)


# What is compared: label, yardstick, ours.
COMPARISONS = (
    ("VOneBlock, 224 px, batch 16, noise on", _reference("block", 16, 224),
     _ours("block", 16, 224)),
    ("the same, noise off", _reference("block_quiet", 16, 224),
     _ours("block_quiet", 16, 224)),
    ("VOneResNet50, 224 px, batch 16", _reference("resnet50", 16, 224),
     _ours("resnet50", 16, 224)),
    ("training step, VOneResNet18, 64 px, batch 32", _reference("training", 32, 64),
     _ours("training", 32, 64)),
    ("plain ResNet50 / VOneResNet50, ours", _ours("resnet50_base", 16, 224),
     _ours("resnet50", 16, 224)),
    ("training step without / with all stages that normalise, ours",
     _ours("training_no_noise", 32, 64), _ours("training_stages", 32, 64)),
    ("ResNet50 without / with all stages that normalise, ours",
     _ours("resnet50_no_noise", 16, 224), _ours("resnet50_stages", 16, 224)),
    ("small ResNet18 without / with all stages that normalise, ours",
     _ours("small_no_noise", 32, 64), _ours("small_stages", 32, 64)),
    ("eight members one by one / as one ensemble, ours", _ours("members", 32, 64),
     _ours("ensemble", 32, 64)),
    ("float32 / bfloat16 VOneBlock, noise on, ours", _ours("block", 16, 224),
     _ours("block_half", 16, 224)),
    ("float32 / bfloat16 VOneBlock, noise off, ours", _ours("block_quiet", 16, 224),
     _ours("block_quiet_half", 16, 224)),
    ("float32 / bfloat16 training step, ours", _ours("training", 32, 64),
     _ours("training_half", 32, 64)),
    ("both phases of all cells over RGB / block with noise off, ours",
     _ours("whole_bank", 16, 224), _ours("block_quiet", 16, 224)),
    ("noise by Keras / in one pass, 224 px, batch 16", _ours("noise_keras", 16, 224),
     _ours("noise", 16, 224)),
    ("order of channels as sampled / by colour, ours",
     _ours("block_sampled_order", 16, 224), _ours("block", 16, 224)),
)  # fmt: skip


def compare(config: FrontEndConfig) -> None:
    """Prints the table of ratios."""
    print(_machine(config))
    print("| what | yardstick, s | v1keras, s | times faster (range) |")
    print("|---|---|---|---|")
    for label, yardstick, ours in COMPARISONS:
        if yardstick.worker == "reference" and config.reference is None:
            continue
        if config.only not in label:
            continue
        pairs = [
            (yardstick.run(config), ours.run(config)) for _ in range(config.rounds)
        ]
        times = [
            [statistics.median(side["seconds"]) for side in pair] for pair in pairs
        ]
        ratios = sorted(theirs / mine for theirs, mine in times)
        theirs, mine = (statistics.median(side) for side in zip(*times, strict=True))
        print(
            f"| {label} | {theirs:.3f} | {mine:.3f} | {statistics.median(ratios):.2f} "
            f"({ratios[0]:.2f}-{ratios[-1]:.2f}) |",
            flush=True,
        )
        if yardstick.name == "training" and yardstick.worker == "reference":
            _print_memory(pairs)


def _print_memory(pairs) -> None:
    """Peak memory of the training step: the whole process, and what the steps add."""
    sides = [list(side) for side in zip(*pairs, strict=True)]
    whole = [statistics.median(each["peak"] for each in side) for side in sides]
    added = [
        statistics.median(each["peak"] - each["held"] for each in side)
        for side in sides
    ]
    _print_mebibytes("its peak memory, whole process", *whole)
    _print_mebibytes("its peak memory, what the steps add", *added)


def _print_mebibytes(label: str, theirs: float, mine: float) -> None:
    print(
        f"| {label} | {theirs:.0f} MiB | {mine:.0f} MiB | {mine / theirs:.2f} of it |"
    )


def scaling(config: FrontEndConfig) -> None:
    """Prints how the cost grows and draws it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    print(_machine(config))
    figure, axes = plt.subplots(1, 5, figsize=(15, 3.2), layout="constrained")
    series = (
        ("image size, px", [(s, _ours("block", 16, s)) for s in (32, 64, 96, 128, 224)]),
        ("batch", [(b, _ours("block", b, 64)) for b in (1, 4, 16, 64)]),
        (
            "channels",
            [
                (128, _ours("block_128", 16, 64)),
                (256, _ours("block_256", 16, 64)),
                (512, _ours("block", 16, 64)),
                (1024, _ours("block_1024", 16, 64)),
            ],
        ),
        (
            "members",
            [
                (2, _ours("ensemble_2", 16, 64)),
                (4, _ours("ensemble_4", 16, 64)),
                (8, _ours("ensemble", 16, 64)),
            ],
        ),
        (
            "cores",
            [(n, _ours("block", 16, 64)) for n in range(1, config.threads + 1)],
        ),
    )  # fmt: skip
    for axis, (label, cases) in zip(axes, series, strict=True):
        milliseconds = []
        for value, case in cases:
            threads = value if label == "cores" else None
            seconds = case.run(config, threads)["seconds"]
            milliseconds.append(1000 * statistics.median(seconds) / case.batch_size)
            print(f"{label} {value}: {milliseconds[-1]:.2f} ms an image", flush=True)
        axis.plot([value for value, _ in cases], milliseconds, "o-", color="#2a6f97")
        axis.set_xlabel(label)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("ms an image")
    axes[0].set_title("VOneBlock, batch 16")
    for axis in (axes[1], axes[2], axes[4]):
        axis.set_title("VOneBlock, 64 px")
    axes[3].set_title("ensemble, ResNet18, 64 px")
    figure.savefig(config.scaling, dpi=110)
    print(f"{config.scaling}: plotted")


def _machine(config: FrontEndConfig) -> str:
    name = platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        lines = information.read_text(encoding="utf-8").splitlines()
        name = next(
            (line.partition(":")[2].strip() for line in lines if "model name" in line),
            name,
        )
    return f"{name}, {config.threads} cores; Python {platform.python_version()}"


def main(config: FrontEndConfig) -> None:
    """Runs one of the two."""
    if config.reference is not None and not Path(config.reference).is_dir():
        raise FileNotFoundError(
            "reference must be a checkout of github.com/dicarlolab/vonenet. "
            f"Received: reference={config.reference}"
        )
    if config.scaling is not None and not Path(config.scaling).parent.is_dir():
        raise FileNotFoundError(
            "scaling must name a picture in a folder that exists. "
            f"Received: scaling={config.scaling}"
        )
    if config.scaling is None:
        compare(config)
    else:
        scaling(config)


if __name__ == "__main__":
    sys.exit(
        command_line.run(
            main,
            FrontEndConfig,
            prog="benchmarks/front_end.py",
            description="Times the V1 front-end against the PyTorch VOneNet.",
        )
    )
