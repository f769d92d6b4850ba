"""Prints the profiler's step-time split of a trace; needs the package xprof."""

import json
import sys
from pathlib import Path

from xprof.convert import raw_to_tool_data

# The profiler's names of what a step on a CPU is made of.
_PARTS = {"input": "infeed_time_ms_avg", "compute": "host_compute_time_ms_avg"}


def main(folder: str) -> None:
    """Prints the mean milliseconds of each part of a step as JSON.

    Args:
        folder: str. The one that `tf.profiler.experimental` wrote a trace into.
    """
    traces = [str(path) for path in Path(folder).rglob("*.xplane.pb")]
    data, _ = raw_to_tool_data.xspace_to_tool_data(
        traces, "input_pipeline_analyzer", {}
    )
    tables = [table.get("p", {}) for table in json.loads(data)]
    averages = next(table for table in tables if _PARTS["input"] in table)
    print(json.dumps({part: float(averages[name]) for part, name in _PARTS.items()}))


if __name__ == "__main__":
    main(sys.argv[1])
