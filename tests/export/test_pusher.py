import inspect
import os
import time
from pathlib import Path

import pytest

from export import pusher
from export.rollback import list_hidden, roll_back
from v1keras.locks import lock_folder


def make_version(out, content="model"):
    with pusher.staging(out) as folder:
        (folder / "variables").mkdir()
        (folder / "saved_model.pb").write_text(content)
        return pusher.publish(folder, out)


def test_a_version_appears_whole(tmp_path):
    out = tmp_path / "served" / "model"
    before = int(time.time())
    with pusher.staging(out) as folder:
        (folder / "saved_model.pb").write_text("model")
        assert pusher.list_versions(out) == ()
        path = pusher.publish(folder, out)
    assert path.parent == out
    assert before <= int(path.name) <= time.time()
    assert (path / "saved_model.pb").read_text() == "model"
    assert [entry.name for entry in out.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o755


def test_versions_in_one_second_get_different_numbers(tmp_path):
    paths = [make_version(tmp_path, str(index)) for index in range(4)]
    assert pusher.list_versions(tmp_path) == tuple(int(path.name) for path in paths)
    assert [(path / "saved_model.pb").read_text() for path in paths] == list("0123")


def test_a_newer_number_than_now_is_not_undercut(tmp_path):
    future = int(time.time()) + 1000
    (tmp_path / str(future)).mkdir()
    assert make_version(tmp_path).name == str(future + 1)


def test_a_failure_leaves_nothing(tmp_path):
    out = tmp_path / "model"
    with pytest.raises(RuntimeError), pusher.staging(out) as folder:
        (folder / "saved_model.pb").write_text("half")
        raise RuntimeError
    assert not out.exists()


def test_a_failure_leaves_earlier_versions(tmp_path):
    path = make_version(tmp_path)
    with pytest.raises(RuntimeError), pusher.staging(tmp_path) as folder:
        (folder / "saved_model.pb").write_text("half")
        raise RuntimeError
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert (path / "saved_model.pb").read_text() == "model"


def test_out_must_not_be_a_file_or_lead_nowhere(tmp_path):
    (tmp_path / "file").write_text("a file")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with (
            pytest.raises(
                FileExistsError, match=f"must be a folder. Received: .*{name}"
            ),
            pusher.staging(tmp_path / name),
        ):
            pass
    assert (tmp_path / "file").read_text() == "a file"
    assert (tmp_path / "link").is_symlink() and not (tmp_path / "nowhere").exists()
    # A link to a folder is one.
    (tmp_path / "folder").mkdir()
    (tmp_path / "other").symlink_to(tmp_path / "folder")
    assert (tmp_path / "folder" / make_version(tmp_path / "other").name).is_dir()


def test_a_version_is_told_the_number_that_it_gets(tmp_path):
    told = []

    def finish(number):
        told.append(number)
        (folder / "number").write_text(str(number))
        if len(told) == 1:  # Another exporter is faster.
            make_version(tmp_path, "faster").rename(tmp_path / str(number))

    with pusher.staging(tmp_path) as folder:
        path = pusher.publish(folder, tmp_path, finish)
    assert told == [int(path.name) - 1, int(path.name)]
    assert (path / "number").read_text() == path.name


def _stage_and_die(out):
    with pusher.staging(out) as folder:
        (folder / "saved_model.pb").write_text("half")
        os._exit(1)


def test_what_a_killed_exporter_left_is_removed(tmp_path, in_processes):
    in_processes(_stage_and_die, tmp_path, count=1, exit_code=1)
    assert len(list(tmp_path.glob("*/saved_model.pb"))) == 1
    path = make_version(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_two_exporters_do_not_disturb_each_other(tmp_path):
    with pusher.staging(tmp_path) as first:
        (first / "saved_model.pb").write_text("first")
        second_path = make_version(tmp_path, "second")
        first_path = pusher.publish(first, tmp_path)
    assert (first_path / "saved_model.pb").read_text() == "first"
    assert (second_path / "saved_model.pb").read_text() == "second"


def _make_versions(out, count):
    for _ in range(count):
        make_version(out)


def test_many_processes_make_as_many_versions(tmp_path, in_processes):
    in_processes(_make_versions, tmp_path, 10)
    assert len(pusher.list_versions(tmp_path)) == 40
    assert len(list(tmp_path.iterdir())) == 40


def _make_versions_and_keep(out, count):
    for _ in range(count):
        make_version(out)
        pusher.keep(out, 1)


def test_many_processes_keep_one_version(tmp_path, in_processes):
    in_processes(_make_versions_and_keep, tmp_path, 20)
    assert len(pusher.list_versions(tmp_path)) == 1


def _keep_and_die(out, monkeypatch):
    monkeypatch.setattr(pusher.shutil, "rmtree", lambda *_, **__: os._exit(1))
    pusher.keep(out, 2)


def test_killed_while_a_version_goes(tmp_path, monkeypatch, in_processes):
    numbers = [int(make_version(tmp_path).name) for _ in range(3)]
    in_processes(_keep_and_die, tmp_path, monkeypatch, count=1, exit_code=1)
    # It is gone for servers, and its files go with the next export.
    assert pusher.list_versions(tmp_path) == tuple(numbers[1:])
    assert len(list(tmp_path.iterdir())) == 3
    make_version(tmp_path)
    assert len(list(tmp_path.iterdir())) == len(pusher.list_versions(tmp_path)) == 3


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux")
def test_a_version_is_on_the_disk_before_it_appears(tmp_path, monkeypatch):
    out = tmp_path / "model"
    events = []
    fsync, rename = os.fsync, pusher.Path.rename

    def record_fsync(descriptor):
        events.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def record_rename(path, target):
        events.append("renamed")
        return rename(path, target)

    monkeypatch.setattr(pusher.os, "fsync", record_fsync)
    monkeypatch.setattr(pusher.Path, "rename", record_rename)
    with pusher.staging(out) as folder:
        (folder / "variables").mkdir()
        (folder / "variables" / "data").write_text("weights")
        (folder / "saved_model.pb").write_text("model")
        pusher.publish(folder, out)
    *before, last = events
    assert last == "model" and before.pop() == "renamed"
    assert set(before) == {"data", "variables", "saved_model.pb", folder.name}


def test_keep_removes_the_oldest(tmp_path):
    paths = [make_version(tmp_path) for _ in range(4)]
    removed = pusher.keep(tmp_path, 2)
    assert removed == tuple(int(path.name) for path in paths[:2])
    assert pusher.list_versions(tmp_path) == tuple(int(path.name) for path in paths[2:])
    assert pusher.keep(tmp_path, 5) == ()
    with pytest.raises(ValueError, match="count=0"):
        pusher.keep(tmp_path, 0)


def test_keep_spares_what_it_is_told_to_and_forgets_older_rollbacks(tmp_path):
    numbers = [int(make_version(tmp_path).name) for _ in range(5)]
    roll_back(tmp_path, numbers[0])
    roll_back(tmp_path, numbers[3])
    assert list_hidden(tmp_path) == (numbers[1], numbers[2], numbers[4])
    assert pusher.list_versions(tmp_path) == (numbers[0], numbers[3])
    assert pusher.keep(tmp_path, 1, spare={numbers[0]}) == ()
    assert pusher.list_versions(tmp_path) == (numbers[0], numbers[3])
    assert pusher.keep(tmp_path, 1) == (numbers[0],)
    assert list_hidden(tmp_path) == (numbers[4],)


def test_public_names_are_functions_even_where_a_command_was_imported():
    import export.server

    for name in ("export_run", "keep", "roll_back", "undo", "list_versions"):
        assert inspect.isfunction(getattr(export, name))


def test_the_lock_is_given_back(tmp_path):
    path = make_version(tmp_path)
    with lock_folder(tmp_path, "tests"):
        pass
    assert list(tmp_path.iterdir()) == [path]
