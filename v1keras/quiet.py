"""Keeps what libraries say to nobody away from users of the command lines."""

import contextlib
import importlib.util
import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator

# What TensorFlow's libraries print about themselves while they are loaded, before any
# logging level holds, and about GPUs that a machine does not have.
_CHATTER = re.compile(
    rb"(WARNING: All log messages before absl::InitializeLog"
    rb"|[IWE]\d{4} \d\d:\d\d:\d+\.\d+ +\d+ "
    rb"(port|cudart_stub|cpu_feature_guard|cuda_platform|cuda_diagnostics|gpu_device)"
    rb"\.cc"
    rb"|To enable the following instructions:)"
)


def start_backend() -> None:
    """Loads TensorFlow into the process of a command line, without its greetings.

    Errors still appear, and so does everything that a process which ends within has
    written. A logging level that the user has set is kept. Where another of Keras'
    back-ends computes, that one is loaded.

    Raises:
        ValueError: if the back-end is not installed.
    """
    if "tensorflow" in sys.modules:
        return
    # Of a worker that is lost, each part of TensorFlow or JAX tells in its own words.
    joined = {"TF_CONFIG", "SLURM_STEP_NUM_TASKS"} & set(os.environ)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3" if joined else "2")
    chosen = os.environ.get("KERAS_BACKEND", "tensorflow")
    if chosen != "tensorflow" or importlib.util.find_spec("tensorflow") is None:
        try:
            importlib.import_module("keras")
        except ModuleNotFoundError as error:
            raise ValueError(
                "KERAS_BACKEND must name a back-end that is installed: tensorflow, jax "
                f"or torch. Received: KERAS_BACKEND={chosen} ({error})"
            ) from error
        return
    with _filtered_stderr():
        import tensorflow as tf

        # Where there is no GPU, TensorFlow complains about that once: here. Logical
        # devices would be made by asking for them, too early for several workers.
        tf.config.list_physical_devices()


def silence_image_libraries() -> None:
    """Keeps remarks on damaged images away, which name no file; our messages do.

    libpng and libjpeg write theirs past Python and OpenCV; those remain.
    """
    import cv2

    # OpenCV 5 has the same function elsewhere; 0 is silence in both.
    has_moved = not hasattr(cv2, "setLogLevel")
    (cv2.utils.logging if has_moved else cv2).setLogLevel(0)
    warnings.filterwarnings("ignore", module=r"PIL\.")


@contextlib.contextmanager
def without_warnings_of_tensorflow() -> Iterator[None]:
    """Keeps away what TensorFlow says to other libraries, such as of deprecations."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _filtered_stderr() -> Iterator[None]:
    """Passes standard error through a process that leaves the known lines out.

    It is a process of its own so that it outlives one that crashes.
    """
    try:
        descriptor = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # no stderr that libraries write to
        yield
        return
    if not hasattr(os, "fork"):
        yield
        return
    sys.stderr.flush()
    kept = os.dup(descriptor)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            os.close(writer)
            _copy_lines(reader, kept)
        finally:
            os._exit(0)
    os.close(reader)
    os.dup2(writer, descriptor)
    os.close(writer)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, descriptor)
        os.close(kept)
        os.waitpid(child, 0)


def _copy_lines(reader: int, writer: int) -> None:
    with os.fdopen(reader, "rb") as lines:
        for line in lines:
            if not _CHATTER.match(line):
                os.write(writer, line)


def verbosity() -> int:
    """What Keras takes as `verbose`: 1 on a terminal, 2 in a file.

    A bar that redraws itself is for terminals; left to itself, Keras fills files with
    its control characters.
    """
    return 1 if sys.stdout.isatty() else 2
