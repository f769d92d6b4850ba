"""Times our corruptions against the original functions, side by side.

    pip install scikit-image Wand              # and ImageMagick's libmagickwand
    git clone https://github.com/hendrycks/robustness
    python benchmarks/corruptions.py --original=robustness

Both get the same images, one after the other in one process, so that they share the
same cores and libraries; the original takes them one by one, as published, and ours
in one batch. Nothing is written to files. The original's sources are read, not
changed; the few names that newer NumPy, SciPy and scikit-image dropped are replaced
in memory, and each function's frost photographs are found in the checkout.
"""

import dataclasses
import os
import platform
import sys
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from v1keras import command_line
from v1keras.corruptions import BENCHMARK, SEVERITIES, corrupt

_FILES = {"tiny": "make_tinyimagenet_c.py", "imagenet": "make_imagenet_c.py"}
_SIZES = {"tiny": 64, "imagenet": 224}
# The distortions stand between these two lines; the rest is about folders and torch.
_BEGIN = "# /////////////// Distortion Helpers"
_END = "# /////////////// End Distortions"
_RENAMED = (
    ("scipy.ndimage.interpolation", "scipy.ndimage"),
    ("np.float_)", "np.float64)"),
    ("np.fromstring", "np.frombuffer"),
    ("multichannel=True", "channel_axis=-1"),
    ("import skimage as sk", "import skimage as sk, skimage.util, skimage.color"),
)


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """The flags of the benchmark."""

    original: str = command_line.option(
        required=True, help="Checkout of github.com/hendrycks/robustness."
    )
    scale: str = command_line.option(
        "tiny", "64 px (tiny) or 224 px (imagenet).", choices=tuple(_SIZES)
    )
    images: int = command_line.option(8, "How many images.")
    repeats: int = command_line.option(2, "Repeats, of which the fastest counts.")


def load_original(checkout: Path, scale: str) -> types.ModuleType:
    """The functions of the original benchmark, as a module."""
    folder = checkout / "ImageNet-C" / "create_c"
    if not (folder / _FILES[scale]).is_file():
        raise FileNotFoundError(
            "original must be a checkout of github.com/hendrycks/robustness. "
            f"Received: original={checkout}"
        )
    source = (folder / _FILES[scale]).read_text(encoding="utf-8")
    source = source[source.index(_BEGIN) : source.index(_END)]
    for old, new in _RENAMED:
        source = source.replace(old, new)
    source = source.replace("'./frost", f"{str(folder)!r} + '/frost")
    module = types.ModuleType("original")
    module.np = np
    exec(compile(source, str(folder / _FILES[scale]), "exec"), vars(module))
    return module


def photographs(count: int, size: int) -> np.ndarray:
    """Smooth random images with detail, uint8 (count, size, size, 3)."""
    generator = np.random.default_rng(0)
    images = []
    for _ in range(count):
        coarse = generator.integers(0, 256, (7, 7, 3)).astype(np.float32)
        image = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
        image += generator.normal(0, 10, image.shape)
        images.append(np.clip(image, 0, 255).astype(np.uint8))
    return np.stack(images)


def fastest(function: Callable[[], object], repeats: int) -> float:
    """Seconds of CPU time of the fastest repeat.

    CPU time over all threads, not wall time: other programs on the same machine and
    idle cores change neither side's share.
    """
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return min(seconds)


def machine() -> str:
    """The processor's name and how many cores this process may use."""
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else "?"
    return (
        f"{name}, {cores} cores; Python {platform.python_version()}, "
        f"NumPy {np.__version__}, OpenCV {cv2.__version__}"
    )


def main(config: BenchmarkConfig) -> None:
    """Prints milliseconds an image (mean over severities) and their ratios."""
    from PIL import Image

    warnings.simplefilter("ignore")
    original = load_original(Path(config.original), config.scale)
    images = photographs(config.images, _SIZES[config.scale])
    pictures = [Image.fromarray(image) for image in images]
    print(f"{machine()}; {config.images} images of {_SIZES[config.scale]} px")
    print("| corruption | original, ms | ours, ms | ratio |")
    print("|---|---|---|---|")
    totals = np.zeros(2)
    for name in BENCHMARK:
        function = getattr(original, name)
        times = np.zeros(2)
        for severity in SEVERITIES:
            # The first call of each side builds tables and loads libraries.
            function(pictures[0], severity)
            corrupt(images[:1], name, severity, seed=0, scale=config.scale)
            times += (
                fastest(
                    lambda f=function, s=severity: [
                        np.uint8(f(picture, s)) for picture in pictures
                    ],
                    config.repeats,
                ),
                fastest(
                    lambda n=name, s=severity: corrupt(
                        images, n, s, seed=0, scale=config.scale
                    ),
                    config.repeats,
                ),
            )
        totals += times
        _print_row(name, times / len(SEVERITIES) / config.images)
    _print_row("all 15 x 5", totals / config.images)


def _print_row(name: str, seconds: np.ndarray) -> None:
    theirs, ours = seconds * 1000
    print(f"| {name} | {theirs:.2f} | {ours:.2f} | {theirs / ours:.1f} |", flush=True)


if __name__ == "__main__":
    sys.exit(
        command_line.run(
            main,
            BenchmarkConfig,
            prog="benchmarks/corruptions.py",
            description="Times v1keras.corruptions against the original functions.",
        )
    )
