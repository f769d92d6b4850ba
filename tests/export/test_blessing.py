import json

from export.blessing import NOT_BLESSED, RejectedError, write_rejection


def _reject(out, count):
    for index in range(count):
        write_rejection(out, {NOT_BLESSED: {"reasons": [str(index)]}})


def test_many_processes_keep_as_many_rejections(tmp_path, in_processes):
    in_processes(_reject, tmp_path, 20)
    found = list((tmp_path / ".rejected").iterdir())
    assert len(found) == 80
    assert all(folder.name.isdecimal() for folder in found)
    reasons = [json.loads((f / NOT_BLESSED).read_text())["reasons"][0] for f in found]
    assert sorted(map(int, reasons)) == sorted(list(range(20)) * 4)


def test_the_message_says_what_and_where(tmp_path):
    error = RejectedError(NOT_BLESSED, iter(["too slow", "too wrong"]), {"images": 3})
    assert "not good enough: too slow; too wrong" in str(error)
    assert error.content == {"reasons": ["too slow", "too wrong"], "images": 3}
    error.folder = write_rejection(tmp_path, {error.marker: error.content})
    assert str(error.folder) in str(error)
