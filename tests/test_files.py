import contextlib
import json
import math
import os
import resource
import signal
from pathlib import Path

import keras
import numpy as np
import pytest

from v1keras.files import atomic_write, claim, require_writable, write_json
from v1keras.training.tensorflow_engine import log_errors


def test_replaces_whole_files_only(tmp_path):
    file = tmp_path / "new" / "result.json"
    write_json(file, {"a": 1})
    with pytest.raises(KeyError), atomic_write(file) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert json.loads(file.read_text()) == {"a": 1}
    assert [path.name for path in file.parent.iterdir()] == ["result.json"]


@pytest.mark.parametrize(
    ("value", "entry"),
    [
        (math.nan, "=nan"),
        ({"a": {"b": [0.0, -math.inf]}}, r"a\.b\[1\]=-inf"),
        ({"a": ({"b": np.float64("inf")},)}, r"a\[0\]\.b=inf"),
    ],
)
def test_json_holds_finite_numbers_only(tmp_path, value, entry):
    file = tmp_path / "result.json"
    write_json(file, {"undefined": None, "large": 1e308})
    before = file.read_text()
    with pytest.raises(ValueError, match=f"{file} must hold finite .*{entry}"):
        write_json(file, value)
    assert file.read_text() == before


@contextlib.contextmanager
def files_of_at_most(size):
    """What a full disk does, in this process: files cannot grow beyond some bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


WRITERS = {
    "a.json": lambda path: path.write_text("x" * 200_000),
    "a.npy": lambda path: np.save(path, np.zeros(25_000)),
    "a.npz": lambda path: np.savez(path, a=np.zeros(25_000)),
    "a.keras": lambda path: keras.Sequential(
        [keras.Input((100,)), keras.layers.Dense(500)]
    ).save(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_named_with_the_file_and_loses_nothing(tmp_path, name):
    file = tmp_path / "folder" / name
    with atomic_write(file) as temporary:
        temporary.write_text("good")
    with (
        files_of_at_most(100_000),
        pytest.raises(OSError, match=rf"(disk full|too large).*folder/{name}"),
        atomic_write(file) as temporary,
    ):
        WRITERS[name](temporary)
    assert file.read_text() == "good"
    assert [path.name for path in file.parent.iterdir()] == [name]


# Too little for the head of a file of events, and for what follows.
@pytest.mark.parametrize("size", [10, 100])
def test_events_that_cannot_be_written_are_one_line(tmp_path, size):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with (
        files_of_at_most(size),
        pytest.raises(
            OSError, match=rf"{tmp_path}/logs cannot be written \(.*too large"
        ),
        log_errors(tmp_path / "logs"),
    ):
        model.fit(
            np.zeros((4, 2)),
            np.zeros((4, 1)),
            callbacks=[keras.callbacks.TensorBoard(tmp_path / "logs")],
            verbose=0,
        )


@pytest.mark.parametrize("is_folder", [False, True])
def test_what_replaces_the_only_copy_is_on_the_disk_before(
    tmp_path, monkeypatch, is_folder
):
    calls, flush = [], os.fsync
    target = tmp_path / "result"

    def note(descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        calls.append((os.path.relpath(path, tmp_path), target.exists()))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    with atomic_write(target) as temporary:
        if is_folder:
            temporary.mkdir()
            (temporary / "inner").write_text("x")
        else:
            temporary.write_text("x")
    own = [temporary.name, *([f"{temporary.name}/inner"] if is_folder else [])]
    assert sorted(calls) == sorted([(".", True), *((name, False) for name in own)])


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, read_only):
    require_writable(tmp_path / "new" / "inner")
    assert not (tmp_path / "new").exists()
    folder = read_only(tmp_path)
    for each in (folder, folder / "new"):
        with pytest.raises(OSError, match=rf"`csv` must be .*{each}"):
            require_writable(each, "csv")


def test_folders_too(tmp_path):
    with atomic_write(tmp_path / "folder") as temporary:
        temporary.mkdir()
        (temporary / "a").write_text("a")
        assert temporary.parent == tmp_path
    assert (tmp_path / "folder" / "a").read_text() == "a"
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "other") as temporary:
        temporary.mkdir()
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_new_or_empty_folder_can_be_claimed(tmp_path):
    assert claim(tmp_path / "new", "r.json", {"a": 1}, what="run") is None
    assert claim(tmp_path, "r.json", {"a": 1}, what="run") is None
    (tmp_path / ".DS_Store").write_text("")
    assert claim(tmp_path, "r.json", {"a": 1}, what="run") is None
    assert [path.name for path in tmp_path.iterdir()] == [".DS_Store"]


def test_the_same_work_can_be_resumed(tmp_path):
    record = {"kind": "run", "settings": {"epochs": 3, "members": ["a"]}, "result": 1}
    write_json(tmp_path / "r.json", record)
    settings = {"epochs": 3, "members": ("a",), "mixup": 0.0}
    expected = {"kind": "run", "settings": settings}
    defaults = {"settings": {"epochs": 60, "members": (), "mixup": 0.0}}
    found = claim(tmp_path, "r.json", expected, what="run", defaults=defaults)
    assert found == record


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"kind": "study"}, "kind='run' instead of kind='study'"),
        ({"settings": {"epochs": 4}}, "epochs=3 instead of epochs=4"),
        ({"settings": {"mixup": 0.2}}, "mixup=0.0 instead of mixup=0.2"),
        ({"data": {"fingerprint": "f"}}, "data=None instead of data={'fingerprint'"),
    ],
)
def test_another_folder_is_refused_by_what_differs(tmp_path, expected, message):
    write_json(tmp_path / "r.json", {"kind": "run", "settings": {"epochs": 3}})
    defaults = {"settings": {"mixup": 0.0}}
    with pytest.raises(FileExistsError, match=f"out={tmp_path}, .*{message}"):
        claim(tmp_path, "r.json", expected, what="study", defaults=defaults)


def test_what_else_differs_is_asked_for_last(tmp_path):
    write_json(tmp_path / "r.json", {"a": 1, "sizes": [3]})
    common = {"record": "r.json", "what": "run"}
    changes = [lambda record: [f"{record['sizes'][0]} images"], lambda record: []]
    with pytest.raises(FileExistsError, match=r"by its r\.json has 3 images$"):
        claim(tmp_path, expected={"a": 1}, changes=changes[0], **common)
    with pytest.raises(
        FileExistsError, match=r"by its r\.json has a=1 instead of a=2$"
    ):
        claim(tmp_path, expected={"a": 2}, changes=changes[0], **common)
    assert claim(tmp_path, expected={"a": 1}, changes=changes[1], **common)["a"] == 1


@pytest.mark.parametrize("content", [None, "{half", "[]"])
def test_a_folder_without_a_record_is_refused(tmp_path, content):
    (tmp_path / "thesis.tex").write_text("")
    if content is not None:
        (tmp_path / "r.json").write_text(content)
    for folder in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(FileExistsError, match=r"the same run.*no readable r\.json"):
            claim(folder, "r.json", {}, what="run")
