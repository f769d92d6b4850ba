import collections
import io
import os
import pickle
import zipfile

import numpy as np
import pytest
from torch_writer import Call, write_torch_file

from v1keras.models import read_torch_file


def test_both_formats_of_pytorch_itself(golden_dir):
    # PyTorch's own files: the older sequence of pickles, and archives.
    legacy = read_torch_file(golden_dir / "published" / "vonenet.pth.tar")
    assert legacy["flags"]["noise_scale"] == 0.35 and legacy["epoch"] == 70
    weight = legacy["state_dict"]["module.vone_block.simple_conv_q0.weight"]
    assert weight.shape == (8, 3, 9, 9) and weight.dtype == "float32"
    # Each kernel looks at one colour.
    assert np.all(np.any(weight, axis=(2, 3)).sum(axis=1) == 1)
    archive = read_torch_file(golden_dir / "published" / "evnet.pth")
    assert archive["val_accuracy"] == 71.2  # a number of NumPy
    assert archive["model"]["model.layer1.0.bn1.num_batches_tracked"] == 1


def test_types_and_layouts_of_tensors(tmp_path):
    values = np.arange(24.0).reshape(2, 3, 4)
    content = {
        "half": values.astype("f2"),
        "transposed": values.T,
        "count": np.array(7),
        "nested": [(values[:0], {"name": None}), True],
    }
    read = read_torch_file(write_torch_file(tmp_path / "a.pth", content))
    assert read["half"].dtype == "float16"
    np.testing.assert_array_equal(read["half"], values)
    np.testing.assert_array_equal(read["transposed"], values.T)
    assert read["count"] == 7 and read["count"].shape == ()
    (empty, named), flag = read["nested"]
    assert empty.shape == (0, 3, 4) and named == {"name": None} and flag is True


class Command:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


HOSTILE = {
    "a module of the system": Call("posix", "mkdir", "made"),
    "a builtin": Call("builtins", "eval", "1"),
    "a builtin of Python 2": Call("__builtin__", "eval", "1"),
    "an attribute of what is allowed": Call("collections", "OrderedDict.fromkeys", "a"),
    "a whole model": Call("torch.nn.modules.linear", "Linear"),
    "another unpickler": Call("_pickle", "loads", b""),
    "objects in a number": Call(
        "numpy.core.multiarray", "scalar", Call("numpy", "dtype", "O8"), b"x"
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_file_that_asks_for_anything_else_is_refused(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_torch_file("hostile.pth", {"state_dict": {"a": HOSTILE[what]}})
    with pytest.raises(ValueError, match="tensors and plain containers only") as error:
        read_torch_file(path)
    assert "hostile.pth, which" in str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == ["hostile.pth"]


@pytest.mark.parametrize("legacy", [False, True])
def test_python_objects_are_never_called(legacy, tmp_path):
    path, made = tmp_path / "hostile.pth", tmp_path / "made"
    data = pickle.dumps(Command(made), protocol=2)
    if legacy:
        path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + data)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", data)
    with pytest.raises(ValueError, match=r"asks for posix\.mkdir"):
        read_torch_file(path)
    assert not made.exists()
    pickle.loads(data)  # what the reader did not do
    assert made.exists()


def test_stand_ins_cannot_be_changed(tmp_path):
    # BUILD sets attributes: on a function, it would change what all later files get.
    stream = io.BytesIO()
    stream.write(pickle.PROTO + b"\x02" + pickle.GLOBAL)
    stream.write(b"torch._utils\n_rebuild_tensor_v2\n")
    # A tuple of two: the second sets attributes even where there is no dictionary.
    stream.write(pickle.NONE + pickle.EMPTY_DICT + pickle.BINUNICODE)
    stream.write(len(b"_function").to_bytes(4, "little") + b"_function")
    stream.write(pickle.NONE + pickle.SETITEM + pickle.TUPLE2)
    stream.write(pickle.BUILD + pickle.STOP)
    path = tmp_path / "hostile.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", stream.getvalue())
    with pytest.raises(ValueError, match="sets the attribute _function"):
        read_torch_file(path)
    fine = write_torch_file(tmp_path / "fine.pth", {"a": np.ones(3)})
    np.testing.assert_array_equal(read_torch_file(fine)["a"], np.ones(3))


def test_tensors_stay_within_their_values(tmp_path):
    outside = np.lib.stride_tricks.as_strided(np.ones(4), (2, 2), (8, 80))
    outside = {"a": outside}
    with pytest.raises(ValueError, match=r"shape \(2, 2\) beyond its 4 values"):
        read_torch_file(write_torch_file(tmp_path / "outside.pth", outside))


@pytest.mark.parametrize("damage", ["cut", "compressed", "text", "empty", "missing"])
@pytest.mark.parametrize("name", ["resnet18.pth", "vonenet.pth.tar"])
def test_a_damaged_file_is_refused(name, damage, golden_dir, tmp_path):
    path = tmp_path / name
    whole = (golden_dir / "published" / name).read_bytes()
    if damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "compressed":
        content = collections.OrderedDict(a=np.zeros(1000))
        write_torch_file(path, content, compression=zipfile.ZIP_DEFLATED)
    elif damage in ("text", "empty"):
        path.write_text("no checkpoint" * (damage == "text"))
    error = FileNotFoundError if damage == "missing" else ValueError
    with pytest.raises(error, match="A checkpoint must .*" + name):
        read_torch_file(path)


def test_pytorch_writes_what_is_read(tmp_path):
    torch = pytest.importorskip("torch")
    base = torch.arange(24, dtype=torch.float64).reshape(4, 6)
    content = {
        "view": base[1:3, ::2],
        "same": base,
        "parameter": torch.nn.Parameter(base.half()),
        "size": base.size(),
        "model": torch.nn.BatchNorm2d(3).state_dict(),
    }
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.pth"
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        read = read_torch_file(path)
        assert read["size"] == (4, 6)
        for name in ("view", "same", "parameter"):
            expected = content[name].detach().numpy()
            np.testing.assert_array_equal(read[name], expected)
            assert read[name].dtype == expected.dtype
        for name, tensor in content["model"].items():
            np.testing.assert_array_equal(read["model"][name], tensor.numpy())
