import json
import math

import numpy as np
import pytest

from v1keras.files import atomic_write, claim, write_json


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
    with pytest.raises(FileExistsError, match=r"which has 3 images$"):
        claim(tmp_path, expected={"a": 1}, changes=changes[0], **common)
    with pytest.raises(FileExistsError, match=r"which has a=1 instead of a=2$"):
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
