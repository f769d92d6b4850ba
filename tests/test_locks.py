import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from v1keras import locks
from v1keras.files import atomic_write, temporary_path
from v1keras.locks import lock_folder

# Holds a folder until its standard input ends.
HOLDER = """
import sys
from v1keras.locks import lock_folder
with lock_folder(sys.argv[1], "trains", shared=sys.argv[2] == "shared"):
    print("holds", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold():
    """Starts processes that hold a folder; they end with the test."""
    processes = []

    def start(folder, how="alone"):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, folder, how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        processes.append(process)
        assert process.stdout.readline() == b"holds\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_another_process_is_named(tmp_path, hold):
    out = tmp_path / "runs" / "a"
    process = hold(out)
    who = rf"\(pid {process.pid}, host {socket.gethostname()}\) trains there"
    with (
        pytest.raises(BlockingIOError, match=rf"{who}.*Received: out={out}"),
        lock_folder(out, "trains"),
    ):
        pass
    process.communicate(b"")
    # What stayed empty is gone, and so is what was made for it.
    assert process.returncode == 0 and not (tmp_path / "runs").exists()


def test_a_lock_ends_with_its_process_and_orphans_go(tmp_path, hold):
    process = hold(tmp_path)
    for name in ("model.keras", "checkpoint/epoch_0002"):
        folder = temporary_path(tmp_path / name)
        folder.mkdir(parents=True)
        (folder / "weights").write_text("half")
    kept = (".hidden", ".cafe.txt", ".0a1b2c3d.notes.txt", "checkpoint/epoch_0001")
    for name in kept:
        (tmp_path / name).write_text("")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / locks.LOCK_FILE).is_file()
    with lock_folder(tmp_path, "trains"):
        found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
        assert found == {*kept, "checkpoint", locks.LOCK_FILE}
    assert not (tmp_path / locks.LOCK_FILE).exists()


def test_what_another_process_writes_below_is_left_to_it(tmp_path, hold):
    hold(tmp_path / "runs" / "a")
    with atomic_write(tmp_path / "runs" / "a" / "model.keras") as temporary:
        temporary.write_text("")
        with lock_folder(tmp_path, "runs a study"):
            assert temporary.exists()


def test_a_folder_can_be_shared(tmp_path, hold):
    process = hold(tmp_path, "shared")
    orphan = temporary_path(tmp_path / "staging")
    orphan.mkdir()
    with lock_folder(tmp_path, "exports", shared=True):
        assert orphan.exists()
        with pytest.raises(BlockingIOError), lock_folder(tmp_path, "trains"):
            pass
    assert (tmp_path / locks.LOCK_FILE).exists()
    process.communicate(b"")
    with lock_folder(tmp_path, "exports", shared=True):
        assert not orphan.exists()
    assert not list(tmp_path.iterdir())


def test_a_process_can_wait(tmp_path, hold, capsys):
    process = hold(tmp_path)
    code = (
        "import time, sys; time.sleep(1); open(sys.argv[1] + '/done', 'w');"
        f"import os, signal; os.kill({process.pid}, signal.SIGKILL)"
    )
    with (
        subprocess.Popen([sys.executable, "-c", code, tmp_path]),
        lock_folder(tmp_path, "trains", wait=True),
    ):
        assert (tmp_path / "done").exists()
    line = f"{tmp_path}: waits, as another process (pid {process.pid}, "
    assert capsys.readouterr().out.startswith(line)


@pytest.mark.parametrize(
    ("record", "is_held"),
    [
        ({"pid": 1, "host": "elsewhere"}, True),
        ({"pid": os.getppid(), "host": socket.gethostname()}, True),
        ({"pid": 2**22 + 1, "host": socket.gethostname()}, False),
        ({"pid": os.getpid(), "host": socket.gethostname()}, False),
        (None, False),
    ],
)
def test_records_decide_where_the_file_system_has_no_locks(
    tmp_path, monkeypatch, record, is_held
):
    def flock(*_):
        raise OSError(locks.errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    (tmp_path / locks.LOCK_FILE).write_text(json.dumps(record))
    if is_held:
        with (
            pytest.raises(BlockingIOError, match=f"pid {record['pid']}, host"),
            lock_folder(tmp_path, "trains"),
        ):
            pass
    else:
        with lock_folder(tmp_path, "trains"):
            pass
        assert not list(tmp_path.iterdir())


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "a").write_text("")
    (tmp_path / "b").symlink_to("nothing")
    for name in "ab":
        with (
            pytest.raises(FileExistsError, match=r"`out` must be a folder"),
            lock_folder(tmp_path / name, "trains"),
        ):
            pass
