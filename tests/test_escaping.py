"""No name is more than a name in any format that it enters.

`HOSTILE` holds the names, here and in the tests of the report and the model card.
"""

import csv
import subprocess
import sys

import jinja2
import pytest
import tensorflow as tf
from google.protobuf import text_format
from hostile_names import HOSTILE

from export.config import ExportConfig
from export.models_config import _model_server_config, models_config, read_labels
from export.saved_model import write_labels
from v1keras.corruptions.writer import file_names
from v1keras.escaping import (
    escape_csv,
    escape_html,
    escape_line,
    format_labels,
    parse_labels,
    say,
    unescape_csv,
)
from v1keras.evaluation.tables import write_csv
from v1keras.reading import read_table
from v1keras.training import Run, TrainConfig

# What ends a line, by any reader's rules.
LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"


def is_control(character):
    return ord(character) < 32 or 127 <= ord(character) < 160


@pytest.mark.parametrize("name", HOSTILE)
def test_html(name):
    template = jinja2.Environment(autoescape=True, finalize=escape_html)
    page = template.from_string('<b id="{{ name }}">{{ name }}</b>').render(name=name)
    inner = page.removeprefix('<b id="').removesuffix("</b>")
    assert not set("<>'") & set(inner.replace('">', "", 1))
    assert page.encode()


def test_csv_holds_no_formula_and_gives_names_back(tmp_path):
    rows = [
        {"name": name, "=other": name, "number": -1.5, "count": -3, "": "x"}
        for name in HOSTILE
    ]
    write_csv(tmp_path / "a.csv", rows)
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    texts = [cell for cell in cells if cell not in ("-1.5", "-3")]
    assert len(texts) == 5 + 3 * len(HOSTILE)
    assert not [cell for cell in texts if cell[:1] in tuple("=+-@\t\r\n\0＝＋－＠")]
    columns = {"name": str, "=other": str, "number": float, "count": int}
    read = read_table(tmp_path / "a.csv", columns, "")
    # The bytes that are not UTF-8 stay escaped: the file is UTF-8.
    expected = [name.replace("\udcff", "\\udcff") for name in HOSTILE]
    assert [row["name"] for row in read] == expected
    assert [row["=other"] for row in read] == expected
    assert {(row["number"], row["count"]) for row in read} == {(-1.5, -3)}


def test_csv_of_earlier_versions_is_read_as_it_is():
    for text in ("'quoted'", "'", "''", "it's", "", "a=1", " =1"):
        assert unescape_csv(text) == escape_csv(text) == text
    assert escape_csv(None) is None


@pytest.mark.parametrize("name", HOSTILE)
def test_labels_are_one_line_each_to_every_reader(tmp_path, name):
    names = ("cat", name)
    if set(name) & {*LINE_ENDS, "\0", "\udcff"}:
        with pytest.raises(ValueError, match="must differ and be one line each"):
            write_labels(names, tmp_path / "labels.txt")
    config = {"class_names": ["cat", name], "display_names": ["cat", name]}
    labels = Run(tmp_path, config).labels
    write_labels(labels, tmp_path / "labels.txt")
    text = (tmp_path / "labels.txt").read_bytes().decode()
    assert parse_labels(text) == tuple(text.splitlines()) == labels
    # TensorFlow's reader of assets, which skips \r.
    table = tf.lookup.TextFileInitializer(
        str(tmp_path / "labels.txt"), tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER,
        tf.string, tf.lookup.TextFileIndex.WHOLE_LINE,
    )  # fmt: skip
    found = tf.lookup.StaticHashTable(table, "")
    assert tuple(found[tf.range(2, dtype=tf.int64)].numpy()) == tuple(
        label.encode() for label in labels
    )


def test_labels_that_become_equal_are_told_apart(tmp_path):
    names = ["a\n", "a\\n"]
    run = Run(tmp_path, {"class_names": ["0", "1"], "display_names": names})
    assert parse_labels(format_labels(run.labels)) == ("a\\n (0)", "a\\n (1)")


@pytest.mark.parametrize("name", HOSTILE)
def test_models_config_is_text(tmp_path, name):
    if "\udcff" in name:
        pytest.skip("protocol buffers hold UTF-8; is_name keeps such folders out")
    text = models_config({name: [1, 2], "b": [3]}, {name: {name: 1}})
    parsed = text_format.Parse(text, _model_server_config()())
    models = parsed.model_config_list.config
    assert [model.name for model in models] == [name, "b"]
    assert models[0].base_path == f"/models/{name}"
    (tmp_path / "models.config").write_text(text)
    assert read_labels(tmp_path) == {name: {name: 1}}


def test_messages_of_the_server_are_its_own(tmp_path):
    protos = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    text = models_config({"a": [1, 2, 3], "b": [3]}, {"a": {"stable": 1}})
    own = text_format.Parse(text, _model_server_config()())
    theirs = protos.ModelServerConfig.FromString(own.SerializeToString())
    assert theirs == text_format.Parse(text, protos.ModelServerConfig())


@pytest.mark.parametrize("name", HOSTILE)
def test_terminals_obey_nothing(name, capsys):
    say(name, f"{name}: 1")
    out = capsys.readouterr().out
    assert out.count("\n") == len(out.splitlines()) == 2
    assert not [c for c in out if is_control(c) and c != "\n"]
    assert not set(out) & set("\u2028\u2029\u202e\u2066\udcff")
    assert escape_line(name) in out


def test_messages_of_commands_obey_nothing():
    code = (
        "from v1keras.__main__ import main; import sys;"
        "sys.argv = ['v1keras', 'predict', '--images=a\\x1b[31mb\\u2028c\\u202e',"
        " '--run=x', '--traceback'];"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    error = done.stderr.decode()
    assert done.returncode == 2 and "\\x1b[31m" in error
    assert not [c for c in error if is_control(c) and c != "\n"]
    assert not set(error) & set("\u2028\u202e")


def test_folders_that_tensorflow_cannot_write_are_refused_at_the_start():
    exported = {"run": ("a",), "min_accuracy": 0.5}
    for config, others in ((TrainConfig, {}), (ExportConfig, exported)):
        config(out="\u2028", **others)
        with pytest.raises(ValueError, match="`out` must be a path in UTF-8"):
            config(out="a/\udcff", **others)


@pytest.mark.parametrize("name", HOSTILE)
def test_files_stay_in_the_folder_of_their_class(tmp_path, name):
    if name == ".." or "\0" in name:
        with pytest.raises(ValueError, match=r"must be names of files\. Received: '"):
            file_names([0], [f"{name}.png"], ["cat"])
    else:
        (file,) = file_names([0], [f"{name}.png"], ["cat"])
        path = (tmp_path / file).resolve()
        assert path.parent == tmp_path / "cat" and path.name[0] != "."
        path.parent.mkdir()
        path.write_bytes(b"")
    if name == ".." or set(name) & set("/\\\0"):
        with pytest.raises(ValueError, match="usable as names of folders"):
            file_names([0], ["a.png"], [name])
    else:
        (file,) = file_names([0], ["a.png"], [name])
        assert (tmp_path / file).resolve().parent.parent == tmp_path
