"""The verbs of `python -m export`, on versions that are there."""

import json
import shutil
import subprocess
import sys

import pytest

from export import integrity
from export.__main__ import main
from export.models_config import list_versions
from export.rollback import list_hidden, roll_back, undo
from export.verify import verify

METADATA = {
    "class_names": ["cat", "dog"],
    "accuracy": {"litert": {"clean": 0.5}},
    "bytes": {"tflite": 1_000_000},
    "quantize": "none",
    "runs": [{"settings": {"epochs": 3}, "class_names": ["cat", "dog"]}],
}


def make_version(out, number, key=None, **changes):
    folder = out / str(number)
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_text(f"model {number}")
    (folder / "variables" / "data").write_text("weights")
    metadata = {**METADATA, "version": number, **changes}
    (folder / "metadata.json").write_text(json.dumps(metadata))
    integrity.seal(folder, key)
    return folder


@pytest.fixture
def out(tmp_path):
    """Four versions."""
    for number in range(1, 5):
        make_version(tmp_path / "model", number)
    return tmp_path / "model"


def test_the_same_verb_again_changes_nothing(out, capsys):
    for shown in ("hid 3, 4; 2 is", "2 is"):
        assert main(["rollback", f"--out={out}", "--to=2"]) == 0
        assert capsys.readouterr().out == f"{shown} the newest version\n"
        assert list_versions(out) == (1, 2) and list_hidden(out) == (3, 4)
    # A hidden version is served again by its number, those after it stay hidden.
    assert main(["rollback", f"--out={out}", "--to=3"]) == 0
    assert list_versions(out) == (1, 2, 3) and list_hidden(out) == (4,)
    roll_back(out, 1)
    capsys.readouterr()
    for shown in ("restored 2, 3, 4; 4 is", "4 is"):
        assert main(["undo", f"--out={out}"]) == 0
        assert capsys.readouterr().out == f"{shown} the newest version\n"
        assert list_versions(out) == (1, 2, 3, 4) and list_hidden(out) == ()
    assert all(not faults for faults in verify(out).values())


def stop_at(monkeypatch, count):
    """The step of this number fails, as if the process were killed there."""
    steps, rename = iter(range(100)), type(integrity.Path()).rename

    def stopping(path, target):
        if next(steps) == count:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(type(integrity.Path()), "rename", stopping)


@pytest.mark.parametrize("count", range(3))
def test_verbs_end_what_was_stopped(out, count, monkeypatch):
    for verb, served in ((lambda: roll_back(out, 1), 1), (lambda: undo(out), 4)):
        with monkeypatch.context() as patch:
            stop_at(patch, count)
            with pytest.raises(KeyboardInterrupt):
                verb()
        # What is served meanwhile was served before or is to be served now.
        assert list_versions(out)[-1] in (1, 4)
        verb()
        assert list_versions(out)[-1] == served
        assert {*list_versions(out), *list_hidden(out)} == {1, 2, 3, 4}


def test_versions_are_listed(out, capsys):
    roll_back(out, 3)
    (out / "2" / "saved_model.pb").write_text("other")
    assert main(["list", f"--out={out}"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "1  served  whole",
        "2  served  damaged: saved_model.pb changed",
        "3  served  whole",
        "4  hidden  whole",
    ]


def flip(path, index):
    content = bytearray(path.read_bytes())
    content[index] ^= 1
    path.write_bytes(content)


def files_of(folder):
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def test_every_flipped_byte_is_noticed(out, capsys):
    folder = out / "2"
    assert main(["verify", f"--out={out}"]) == 0
    assert capsys.readouterr().out == "4 of 4 versions are whole\n"
    for path in files_of(folder):
        for index in range(0, path.stat().st_size, 7):
            flip(path, index)
            found = verify(out)
            assert found[folder] and not any(found[out / n] for n in "134"), path
            flip(path, index)
    assert not verify(folder)[folder]
    flip(folder / "saved_model.pb", 0)
    command = [sys.executable, "-m", "export.verify", f"--out={folder}"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 2
    assert finished.stdout == f"{folder}: saved_model.pb changed\n"


def test_links_are_faults(tmp_path):
    folder, elsewhere = tmp_path / "3", tmp_path / "elsewhere"
    for each in (folder, elsewhere):
        each.mkdir()
        (each / "labels.txt").write_text("cat\n")
    integrity.seal(folder)
    # Where TensorFlow Serving looks for requests.
    (folder / "assets.extra").symlink_to(elsewhere)
    assert integrity.find_faults(folder) == ["assets.extra a link"]
    (folder / "assets.extra").unlink()
    (folder / "labels.txt").unlink()
    (folder / "labels.txt").symlink_to(elsewhere / "labels.txt")
    assert integrity.find_faults(folder) == ["labels.txt a link"]


def test_numbers_with_zeros_before_them_are_no_versions(tmp_path):
    for name in ("7", "007", "0", "7a"):
        (tmp_path / name).mkdir()
    assert list_versions(tmp_path) == (0, 7)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": "3"}', "["])
def test_metadata_without_a_number_is_a_fault(tmp_path, text):
    folder = tmp_path / "3"
    folder.mkdir()
    (folder / "metadata.json").write_text(text)
    integrity.seal(folder)
    (fault,) = integrity.find_faults(folder)
    assert fault.startswith(f"metadata.json unreadable ({folder / 'metadata.json'} is")
    (folder / "metadata.json").write_text('{"version": 3}')
    integrity.seal(folder)
    assert integrity.find_faults(folder) == []


@pytest.mark.parametrize(
    "damage,fault",
    [
        (lambda f: (f / "saved_model.pb").unlink(), "saved_model.pb missing"),
        (lambda f: (f / "variables/new").write_text(""), "variables/new new"),
        (lambda f: shutil.rmtree(f / "variables"), "variables/data missing"),
        (lambda f: (f / "SHA256SUMS").write_text("?"), "checksums unreadable"),
        (lambda f: (f / "SHA256SUMS").write_bytes(b"\xff"), "checksums unreadable"),
        (lambda f: (f / "SHA256SUMS").unlink(), "checksums unreadable"),
        (lambda f: shutil.rmtree(f), "SHA256SUMS missing"),
    ],
)
def test_damage_is_named_and_not_served(out, damage, fault, capsys, tmp_path):
    roll_back(out, 1)
    damage(out / ".withdrawn" / "3")
    (out / ".withdrawn" / "3").mkdir(exist_ok=True)
    assert main(["verify", f"--out={out}"]) == 2
    found = capsys.readouterr()
    assert f"{out / '.withdrawn' / '3'}: {fault}" in found.out
    assert "1 of 4 versions are damaged" in found.err
    if fault == "SHA256SUMS missing":  # As versions that another tool has made.
        return
    for verb in (["rollback", "--to=3"], ["undo"]):
        assert main([*verb, f"--out={out}"]) == 2
        assert f"version 3 in {out} is damaged ({fault}" in capsys.readouterr().err
        assert list_versions(out) == (1,) and list_hidden(out) == (2, 3, 4)


def test_a_version_under_the_number_of_another_one_is_noticed(out):
    shutil.rmtree(out / "4")
    shutil.copytree(out / "1", out / "4")
    assert verify(out)[out / "4"] == ["metadata.json of version 1"]
    # A copy elsewhere has no number.
    shutil.copytree(out / "1", out / "copy")
    assert verify(out / "copy") == {out / "copy": []}


def test_versions_of_0_1_0_have_their_checksums_in_the_description(out):
    folder = out / "2"
    digests = integrity.checksums(folder)
    del digests["metadata.json"], digests["SHA256SUMS"]
    (folder / "SHA256SUMS").unlink()
    (folder / "metadata.json").write_text(json.dumps({"sha256": digests}))
    assert verify(out)[folder] == []
    flip(folder / "saved_model.pb", 0)
    assert verify(out)[folder] == ["saved_model.pb changed"]


def test_signatures_tell_whose_version_it_is(keys, tmp_path, capsys):
    key = integrity.read_private_key(keys / "ours.pem")
    out = tmp_path / "model"
    folder = make_version(out, 1, key)
    flags = ["verify", f"--out={out}"]
    assert main([*flags, f"--public_key={keys / 'ours.pub'}"]) == 0
    assert "1 of 1 versions are whole and signed by this key" in capsys.readouterr().out
    assert main([*flags, f"--public_key={keys / 'theirs.pub'}"]) == 2
    assert f"{folder}: SHA256SUMS.sig not by this key" in capsys.readouterr().out
    # New checksums of a changed file are not signed.
    (folder / "saved_model.pb").write_text("other")
    signature = (folder / "SHA256SUMS.sig").read_bytes()
    integrity.seal(folder)
    (folder / "SHA256SUMS.sig").write_bytes(signature)
    assert main(flags) == 0
    assert main([*flags, f"--public_key={keys / 'ours.pub'}"]) == 2
    make_version(out, 2)
    assert main([*flags, f"--public_key={keys / 'ours.pub'}"]) == 2
    assert f"{out / '2'}: SHA256SUMS.sig missing" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_other_tools_compare_checksums_and_signatures(keys, tmp_path):
    key = integrity.read_private_key(keys / "ours.pem")
    folder = make_version(tmp_path / "model", 1, key)
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    subprocess.run(check, cwd=folder, check=True, capture_output=True)
    for name, code in (("ours", 0), ("theirs", 1)):
        verified = subprocess.run(
            [
                *("openssl", "pkeyutl", "-verify", "-rawin", "-pubin"),
                *("-inkey", keys / f"{name}.pub", "-in", "SHA256SUMS"),
                *("-sigfile", "SHA256SUMS.sig"),
            ],
            cwd=folder,
            capture_output=True,
        )
        assert verified.returncode == code


@pytest.mark.parametrize("name", ["curve", "locked", "ours.pub", "nothing"])
def test_keys_that_do_not_fit_are_refused(keys, tmp_path, name):
    path = keys / (name if "." in name else f"{name}.pem")
    if name == "nothing":
        path = tmp_path / "nothing.pem"
        path.write_text("no key")
    with pytest.raises(ValueError, match="`sign` must be a PEM file with an Ed25519"):
        integrity.read_private_key(path)
    path = path.with_suffix(".pub") if name == "curve" else path
    if name != "ours.pub":
        with pytest.raises(ValueError, match="`public_key` must be a PEM file"):
            integrity.read_public_key(path)


def test_a_comparison_shows_what_changed(tmp_path, capsys):
    make_version(tmp_path, 1)
    make_version(
        tmp_path,
        2,
        class_names=["cat", "owl\x1b[2J\u2028"],
        accuracy={"litert": {"clean": 0.75}},
        bytes={"tflite": 1_200_000, "savedmodel": 5_000_000},
        runs=[{"settings": {"epochs": 60}, "class_names": ["cat", "owl"]}],
    )
    make_version(tmp_path, 3, class_names=["dog", "cat"])
    assert main(["diff", f"--out={tmp_path}", "--new=2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "1 -> 2",
        "  class added: 'owl\\x1b[2J\\u2028'",
        "  class removed: 'dog'",
        "  accuracy litert clean: 50.0% -> 75.0%",
        "  bytes tflite: 1.000 MB -> 1.200 MB",
        "  bytes savedmodel: none -> 5.000 MB",
        "  runs 1 settings epochs: 3 -> 60",
    ]
    roll_back(tmp_path, 2)
    assert main(["diff", f"--out={tmp_path}", "--old=1", "--new=3"]) == 0
    assert capsys.readouterr().out == "1 -> 3\n  classes: in another order\n"
    assert main(["diff", f"--out={tmp_path}", "--old=1", "--new=1"]) == 0
    assert capsys.readouterr().out == "1 -> 1\n"


@pytest.mark.parametrize(
    "flags,message",
    [
        (["rollback"], "--out is required"),
        (["rollback", "--out=OUT"], "--to is required"),
        (["rollback", "--out=OUT", "--to=7"], "must be a version in OUT (1, 2, 3, 4)"),
        (["rollback", "--out=OUT", "--keep=1"], "Unknown command line flag 'keep'"),
        (["undo", "--out=NONE"], "`out` must hold versions"),
        (["list", "--out=NONE"], "`out` must hold versions"),
        (["verify", "--out=NONE"], "`out` must hold versions"),
        (["verify", "--out=OUT", "--public_key=NONE"], "No such file"),
        (["diff", "--out=NONE"], "needs two versions"),
        (["diff", "--out=OUT", "--new=1"], "needs two versions"),
        (["diff", "--out=OUT", "--old=9"], "`old` must be a version in OUT"),
        (["remove", "--out=OUT"], "all arguments are flags. Received: remove"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    flags, message, out, tmp_path, fails
):
    before = sorted(tmp_path.rglob("*"))

    def fill(text):
        return text.replace("OUT", str(out)).replace("NONE", str(tmp_path / "nothing"))

    fails(main, [fill(flag) for flag in flags], fill(message))
    assert sorted(tmp_path.rglob("*")) == before


def test_versions_are_managed_without_tensorflow(out):
    code = (
        "import sys; from export.__main__ import main; from export import server; "
        f"codes = [main([v, '--out={out}']) for v in ('list', 'verify', 'undo')]; "
        f"codes += [main([v, '--out={out}']) for v in ('diff',)]; "
        f"codes += [main(['rollback', '--out={out}', '--to=3'])]; "
        f"codes += [server.main(['--root={out.parent}'])]; "
        "assert not any(codes), codes; "
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
