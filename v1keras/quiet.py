"""Keeping messages that help nobody away from users, and out of their files."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

# What TensorFlow's libraries print about themselves while they are loaded, before any
# logging level holds, about GPUs that a machine does not have, and about defaults of
# the converter to LiteRT.
_CHATTER = re.compile(
    rb"^(WARNING: All log messages before absl::InitializeLog"
    rb"|[IWE]\d{4} \d\d:\d\d:\d+\.\d+ +\d+ "
    rb"(port|cudart_stub|cpu_feature_guard|cuda_platform|cuda_diagnostics|gpu_device"
    rb"|tf_tfl_flatbuffer_helpers)\.cc"
    rb"|To enable the following instructions:)"
)


@contextlib.contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Drops TensorFlow's known start-up messages from standard error within.

    Everything else that is written meanwhile comes out at the end. A logging level
    that the user has set is kept.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    try:
        descriptor = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # no stderr that libraries write to
        yield
        return
    sys.stderr.flush()
    kept = os.dup(descriptor)
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), descriptor)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, descriptor)
            os.close(kept)
            captured.seek(0)
            for line in captured:
                if not _CHATTER.match(line):
                    os.write(descriptor, line)


def verbosity() -> int:
    """What Keras takes as `verbose`: 1 on a terminal, 2 in a file.

    A bar that redraws itself is for terminals; left to itself, Keras fills files with
    its control characters.
    """
    return 1 if sys.stdout.isatty() else 2
