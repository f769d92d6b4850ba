"""Tensors of a file that PyTorch saved, read without PyTorch and without its code.

Both formats: archives (PyTorch 1.6 and later) and the plain sequence of pickles before
them. A pickle is a program; this reader lets it build tensors, numbers, strings and
containers, and refuses any other name that it asks for. The stand-ins for what it may
ask for have no attributes that it could change.
"""

import collections
import io
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001

_STORAGES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


class Refused(ValueError):
    """A file asks for something else than tensors and containers."""


def read_torch_file(path: str | os.PathLike) -> Any:
    """What `torch.save` wrote, with NumPy arrays in place of tensors.

    Args:
        path: str or path.

    Returns:
        The saved object: containers, numbers, strings and arrays.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such file, is damaged, or holds other objects, such as a
            whole model, which only its own code could load.

    Example:

    >>> v1keras.models.read_torch_file("voneresnet50_e70.pth.tar")  # doctest: +SKIP
    {'flags': {...}, 'epoch': 70, 'state_dict': OrderedDict(...), ...}
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"A checkpoint must be a file. Received: {path}")
    try:
        if zipfile.is_zipfile(path):
            return _read_archive(path)
        with path.open("rb") as file:
            return _read_legacy(file)
    except Refused as error:
        raise ValueError(
            "A checkpoint must hold tensors and plain containers only, such as "
            f"`torch.save(model.state_dict(), path)` writes. Received: {path}, which "
            f"{error}"
        ) from error
    except Exception as error:  # unpicklers and archives each raise their own
        raise ValueError(
            "A checkpoint must be an undamaged file of `torch.save`. Received: "
            f"{path}, which cannot be read ({error!r})"
        ) from error


def _read_archive(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        (main,) = (name for name in names if re.fullmatch(r"[^/]+/data\.pkl", name))
        folder = main.removesuffix("data.pkl")
        if f"{folder}byteorder" in names:
            order = archive.read(f"{folder}byteorder")
            if order != b"little":
                raise Refused(f"has the byte order {order.decode(errors='replace')}")

        def read(key: str, size: int) -> bytes:
            info = archive.getinfo(f"{folder}data/{key}")
            if info.file_size != size or info.compress_type != zipfile.ZIP_STORED:
                raise Refused(f"says that tensor {key} has {size} bytes, not its size")
            return archive.read(info)

        return _Unpickler(io.BytesIO(archive.read(main)), _Storages(read)).load()


def _read_legacy(file: io.BufferedReader) -> Any:
    storages = _Storages(None)
    # Magic number, protocol, system and content; then the keys of what follows.
    parts = (_Unpickler(file, storages).load() for _ in range(5))
    magic, protocol, _, content, keys = parts
    if (magic, protocol) != (_LEGACY_MAGIC, _LEGACY_PROTOCOL):
        raise Refused("is none of PyTorch's formats")
    for key in keys:
        array = storages.arrays[key]
        count = int.from_bytes(file.read(8), "little")
        if count != array.size:
            raise Refused(
                f"says that tensor {key} has {array.size} values, not {count}"
            )
        read = file.readinto(array.view("u1"))
        if read != array.nbytes:
            raise EOFError(f"tensor {key} ends after {read} bytes")
    return content


class _Storages:
    """The flat arrays that tensors are views of, by key.

    Args:
        read: callable from key and number of bytes to the bytes; `None` where they
            follow after the content, and arrays are filled then.
    """

    def __init__(self, read: Callable[[str, int], bytes] | None) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._read = read

    def get(self, dtype: np.dtype, key: str, size: int) -> np.ndarray:
        if key not in self.arrays:
            self.arrays[key] = (
                np.zeros(size, dtype)
                if self._read is None
                else np.frombuffer(self._read(key, size * dtype.itemsize), dtype)
            )
        return self.arrays[key]


class _StandIn:
    """What a pickle gets for a name: it can be called, and nothing else."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable) -> None:
        object.__setattr__(self, "_function", function)

    def __setattr__(self, name: str, value: Any) -> None:
        raise Refused(f"sets the attribute {name}")

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.IOBase, storages: _Storages) -> None:
        super().__init__(file)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return _StorageType(_STORAGES[name])
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        module = module.replace("numpy._core", "numpy.core")
        if (module, name) not in _FUNCTIONS:
            raise Refused(f"asks for {module}.{name}")
        return _StandIn(_FUNCTIONS[module, name])

    def persistent_load(self, identity: Any) -> "_Storage":
        kind, storage_type, key, _, size, *view = identity
        if kind != "storage" or view not in ([], [None]):
            raise Refused(f"asks for {kind} {view}")
        return _Storage(self._storages.get(storage_type.dtype, key, size))


class _StorageType(NamedTuple):
    dtype: np.dtype


class _Storage(NamedTuple):
    values: np.ndarray


def _tensor(storage: _Storage, offset: int, shape: tuple, strides: tuple, *_) -> Any:
    values = storage.values
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if min((offset, *shape, *strides)) < 0 or (0 not in shape and last >= values.size):
        raise Refused(
            f"has a tensor of shape {tuple(shape)} beyond its {values.size} values"
        )
    # A view: what a legacy file holds is read into it later.
    return np.lib.stride_tricks.as_strided(
        values[offset:], shape, [step * values.itemsize for step in strides]
    )


class _ScalarType:
    """The type of a NumPy number; its state says no more than the byte order."""

    __slots__ = ("dtype",)

    def __init__(self, code: str, *_: Any) -> None:
        if not re.fullmatch(r"[biuf][1248]", code):
            raise Refused(f"has a number of type {code}")
        self.dtype = np.dtype(code).newbyteorder("<")

    def __setstate__(self, state: Any) -> None:
        if state[1] not in "<|":
            raise Refused("has the byte order big")


_FUNCTIONS: dict[tuple[str, str], Callable] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    ("torch", "Size"): tuple,
    ("numpy", "dtype"): _ScalarType,
    ("numpy.core.multiarray", "scalar"): lambda kind, data: np.frombuffer(
        data, kind.dtype
    )[0],
    # How bytes are pickled for readers of Python 2.
    ("_codecs", "encode"): lambda text, _: text.encode("latin1"),
}
