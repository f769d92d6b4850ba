import os
import signal
import subprocess
import sys
import time

import pytest

from v1keras.endings import ends_in_order

# A command that waits in the midst of a write. Signals it was started to ignore: argv.
COMMAND = """
import dataclasses, signal, sys, time
from pathlib import Path
# The tests may run under nohup themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
for name in sys.argv[2:]:
    signal.signal(getattr(signal, name), signal.SIG_IGN)
from v1keras import command_line
from v1keras.files import atomic_write
from v1keras.locks import locks_out

@dataclasses.dataclass(frozen=True)
class Config:
    out: str = command_line.option(required=True, help="Folder.")

@locks_out("writes")
def main(config):
    with atomic_write(Path(config.out, "file")) as temporary:
        temporary.write_text("half")
        print("began", flush=True)
        time.sleep(60)

sys.exit(command_line.run(
    main, Config, sys.argv[1:2], prog="tool", description="", tensorflow=False
))
"""


def start(*arguments, program=(COMMAND,)):
    process = subprocess.Popen(
        [sys.executable, "-c", *program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout.readline() == "began\n"
    return process


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_a_command_ends_in_order(tmp_path, number, code):
    out = tmp_path / "out"
    process = start(f"--out={out}")
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == code
    assert error == "tool: error: interrupted; the same command resumes.\n"
    assert not out.exists()


PARENT = """
import sys
from v1keras.endings import Ended, ends_in_order, run_to_its_end
with ends_in_order():
    try:
        run_to_its_end([sys.executable, "-c", *sys.argv[1:]])
    except Ended as ending:
        sys.exit(ending.number)
"""


def test_the_process_of_a_process_ends_in_order(tmp_path):
    out = tmp_path / "out"
    process = start(f"--out={out}", program=(PARENT, COMMAND))
    process.terminate()
    _, error = process.communicate(timeout=30)
    assert process.returncode == signal.SIGTERM
    assert error == "tool: error: interrupted; the same command resumes.\n"
    assert not out.exists()


def test_signals_that_were_ignored_stay_so(tmp_path):
    process = start(f"--out={tmp_path}", "SIGHUP")  # as by nohup
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143


def test_handlers_are_given_back():
    before = signal.getsignal(signal.SIGTERM)
    with ends_in_order():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
