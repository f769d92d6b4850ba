"""Signals that end a command as Ctrl+C does: in order, with what was begun removed."""

import contextlib
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

# Clusters announce the end of a job by the first, terminals that are closed by the
# second, which Windows lacks.
_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Ended(KeyboardInterrupt):
    """A process was asked to end by a signal other than Ctrl+C's.

    Args:
        number: int. The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_code(ending: KeyboardInterrupt) -> int:
    """128 and the number of the signal: 130 for Ctrl+C, 143 for SIGTERM."""
    number = ending.number if isinstance(ending, Ended) else signal.SIGINT
    return 128 + number


@contextlib.contextmanager
def ends_in_order() -> Iterator[None]:
    """Raises `Ended` where SIGTERM or SIGHUP reaches the body.

    Signals that the process was started to ignore, as `nohup` does, stay ignored.
    Only the main thread can be reached; elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        for number, handler in before.items():
            if handler != signal.SIG_IGN:
                signal.signal(number, _end)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_to_its_end(command: Sequence[str]) -> int:
    """Runs another process, which ends in order, too, where this one is ended.

    Args:
        command: sequence of str.

    Returns:
        int. Its exit code.
    """
    with subprocess.Popen(command) as process:
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise


def _end(number: int, frame: FrameType | None) -> None:
    raise Ended(number)
