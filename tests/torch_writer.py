"""Writes files as `torch.save` does, and others that ask a reader for more."""

import collections
import pickle
import zipfile

import numpy as np

_NAMES = {"f4": "Float", "f8": "Double", "f2": "Half", "i8": "Long", "u1": "Byte"}


class Call:
    """What a reader is asked to call when it meets this object."""

    def __init__(self, module, name, *args):
        self.module, self.name, self.args = module, name, args


class _Pickler(pickle._Pickler):
    """With `Call` and arrays, by opcodes that need no module of such a name."""

    dispatch = pickle._Pickler.dispatch.copy()

    def __init__(self, file, storages):
        super().__init__(file, protocol=2)
        self.storages = storages

    def save_name(self, module, name):
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())

    def save_call(self, obj):
        self.save_name(obj.module, obj.name)
        self.save(obj.args)
        self.write(pickle.REDUCE)

    def save_array(self, array):
        key = str(len(self.storages))
        self.storages[key] = array
        self.save_name("torch._utils", "_rebuild_tensor_v2")
        self.write(pickle.MARK)
        self.save_storage(array, key)
        strides = tuple(s // array.itemsize for s in array.strides)
        for item in (0, array.shape, strides, False, collections.OrderedDict()):
            self.save(item)
        self.write(pickle.TUPLE + pickle.REDUCE)

    def save_storage(self, array, key):
        self.write(pickle.MARK)
        self.save("storage")
        self.save_name("torch", f"{_NAMES[array.dtype.str[1:]]}Storage")
        for item in (key, "cpu", array.size):
            self.save(item)
        self.write(pickle.TUPLE + pickle.BINPERSID)

    dispatch[Call] = save_call
    dispatch[np.ndarray] = save_array


def write_torch_file(path, content, *, compression=zipfile.ZIP_STORED):
    """Writes an archive as PyTorch 1.6 and later do."""
    storages = {}
    with zipfile.ZipFile(path, "w", compression) as archive:
        with archive.open("archive/data.pkl", "w") as file:
            _Pickler(file, storages).dump(content)
        for key, array in storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes("A"))
    return path
