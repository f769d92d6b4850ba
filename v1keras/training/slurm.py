"""The tasks of a step of Slurm, for back-ends that have no resolver of their own."""

import os
import re

# Jobs of one Slurm cluster get different ports on the machines that they share.
_FIRST_PORT, _PORTS = 15000, 10000


def count_tasks() -> int:
    """How many tasks the step has that this process belongs to; 1 outside of Slurm."""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))


def first_port() -> int:
    """The port of the first task on each machine, by the number of the job."""
    return _FIRST_PORT + int(os.environ.get("SLURM_JOB_ID", 0)) % _PORTS


def addresses() -> list[str]:
    """The addresses of all tasks of the step, `"host:port"`, in their order."""
    counts = []
    for tasks, _, times in re.findall(
        r"(\d+)(\(x(\d+)\))?", os.environ["SLURM_STEP_TASKS_PER_NODE"]
    ):
        counts += [int(tasks)] * int(times or 1)
    hosts = _host_names(os.environ["SLURM_STEP_NODELIST"])
    return [
        f"{host}:{first_port() + task}"
        for host, count in zip(hosts, counts, strict=True)
        for task in range(count)
    ]


def _host_names(text: str) -> list[str]:
    """The machines of a list such as `"gpu[08-10,12],login"`."""
    names = []
    for before, ranges, after in re.findall(
        r"([^,\[]+)(?:\[([^\]]*)\])?([^,\[]*),?", text
    ):
        names += [f"{before}{number}{after}" for number in _numbers(ranges)]
    return names


def _numbers(ranges: str) -> list[str]:
    """What `"08-10,12"` stands for; one empty text for none."""
    numbers = []
    for each in ranges.split(","):
        first, dash, last = each.partition("-")
        if dash:
            through = range(int(first), int(last) + 1)
            numbers += [f"{number:0{len(first)}}" for number in through]
        else:
            numbers.append(first)
    return numbers
