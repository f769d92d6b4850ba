import json

import pytest

from v1keras.files import atomic_write, write_json


def test_replaces_whole_files_only(tmp_path):
    file = tmp_path / "new" / "result.json"
    write_json(file, {"a": 1})
    with pytest.raises(KeyError), atomic_write(file) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert json.loads(file.read_text()) == {"a": 1}
    assert [path.name for path in file.parent.iterdir()] == ["result.json"]


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
