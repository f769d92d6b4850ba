"""What the workers of both frameworks share: repeat, time, report."""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def main(cases: Mapping[str, Callable], limit_threads: Callable[[int], None]) -> None:
    """Runs one case and prints its seconds and this process's memory as JSON.

    Memory is in MiB: `held` before the first step, with framework, model and data
    loaded, and `peak` after all steps.

    Args:
        cases: dict from name to a function of the batch and image size that returns a
            function to be timed.
        limit_threads: function that is given the number of threads to use.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--case", required=True, choices=cases)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--batch_size", type=int, required=True)
    parser.add_argument("--image_size", type=int, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    limit_threads(arguments.threads)
    step = cases[arguments.case](arguments.batch_size, arguments.image_size)
    held = _resident_mebibytes()
    # The first two calls compile, choose algorithms and fill pools.
    seconds = [_time(step) for _ in range(arguments.repeats + 2)][2:]
    print(json.dumps({"seconds": seconds, "held": held, "peak": _peak_mebibytes()}))


def _time(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def _resident_mebibytes() -> float:
    status = Path("/proc/self/status")
    if not status.is_file():  # not Linux; nothing has been freed yet, or little
        return _peak_mebibytes()
    lines = status.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if "VmRSS" in line) / 1024


def _peak_mebibytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
