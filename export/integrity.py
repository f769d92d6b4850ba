"""Whether the files of a version are those that were written, and who wrote them.

`SHA256SUMS` holds the checksum of every other file of a version, in the form of
`sha256sum`; `sha256sum --check SHA256SUMS` compares them without this package.
`SHA256SUMS.sig` is an Ed25519 signature of that file (RFC 8032, 64 bytes), which
`openssl pkeyutl -verify` checks as well.
"""

import contextlib
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from v1keras.files import checksums, read_checksums, write_text
from v1keras.reading import read_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

CHECKSUMS_FILE = "SHA256SUMS"
SIGNATURE_FILE = "SHA256SUMS.sig"
METADATA_FILE = "metadata.json"


_REMEDY = "export the version again"


class _Checksums(TypedDict):
    sha256: dict[str, str]


class _Numbered(TypedDict):
    version: int


def seal(folder: str | os.PathLike, key: "Ed25519PrivateKey | None" = None) -> None:
    """Writes the checksums of all files of a version, and a signature of them.

    Args:
        folder: str or path. The version's folder, with all its other files.
        key: Ed25519PrivateKey or None. Signs the checksums. Defaults to `None`.
    """
    folder = Path(folder)
    for name in (CHECKSUMS_FILE, SIGNATURE_FILE):
        (folder / name).unlink(missing_ok=True)
    lines = [f"{digest}  {name}\n" for name, digest in checksums(folder).items()]
    write_text(folder / CHECKSUMS_FILE, "".join(lines))
    if key is not None:
        content = (folder / CHECKSUMS_FILE).read_bytes()
        (folder / SIGNATURE_FILE).write_bytes(key.sign(content))


def find_faults(
    folder: str | os.PathLike, public_key: "Ed25519PublicKey | None" = None
) -> list[str]:
    """What is wrong with the files of a version.

    Args:
        folder: str or path. The version's folder.
        public_key: Ed25519PublicKey or None. Whose signature it must have; `None` asks
            for no signature. Defaults to `None`.

    Returns:
        List of str, one for each file that is missing, changed, unreadable, new or a
        link, such as `"saved_model.pb changed"`; empty if the files are those that were
        written.
    """
    folder = Path(folder)
    try:
        expected = _read_checksums(folder)
        found = checksums(folder)
        links = [path for path in folder.rglob("*") if path.is_symlink()]
    except FileNotFoundError:
        return [f"{CHECKSUMS_FILE} missing"]
    except ValueError as error:
        return [f"checksums unreadable ({error})"]
    except OSError as error:
        return [f"{error.filename} unreadable ({error.strerror})"]
    faults = [
        f"{name} {'changed' if name in found else 'missing'}"
        for name, digest in expected.items()
        if found.get(name) != digest
    ]
    if has_checksums(folder):
        own = {CHECKSUMS_FILE, SIGNATURE_FILE}
        faults += [f"{name} new" for name in found if name not in {*expected, *own}]
    # Those to folders have no checksum, and what a link leads to can be exchanged.
    faults += [f"{link.relative_to(folder).as_posix()} a link" for link in links]
    if not faults and METADATA_FILE in expected:
        faults += _wrong_number(folder)
    if public_key is not None:
        faults += _wrong_signature(folder, public_key)
    return faults


def require_whole(folder: str | os.PathLike, what: str) -> None:
    """Refuses a version whose files are damaged.

    A version without checksums, such as one that another tool has made, passes.

    Args:
        folder: str or path. The version's folder.
        what: str. What it is, for the message, which begins with it.

    Raises:
        ValueError: if files are not those that were written; it names them.
    """
    faults = find_faults(folder)
    if faults and faults != [f"{CHECKSUMS_FILE} missing"]:
        raise ValueError(f"{what} is damaged ({', '.join(faults)})")


def has_checksums(folder: str | os.PathLike) -> bool:
    """Whether a version has `SHA256SUMS`, as all since version 0.1.0 of the package."""
    return (Path(folder) / CHECKSUMS_FILE).is_file()


def _read_checksums(folder: Path) -> dict[str, str]:
    if not has_checksums(folder):
        # Version 0.1.0 had them there, without those of the description itself.
        return read_json(folder / METADATA_FILE, _Checksums, _REMEDY)["sha256"]
    return read_checksums(folder / CHECKSUMS_FILE, _REMEDY)


def _wrong_number(folder: Path) -> list[str]:
    """A version that lies under the number of another one, such as an older one."""
    try:
        number = read_json(folder / METADATA_FILE, _Numbered, _REMEDY)["version"]
    except ValueError as error:
        return [f"{METADATA_FILE} unreadable ({error})"]
    if not folder.name.isdecimal() or number == int(folder.name):
        return []
    return [f"{METADATA_FILE} of version {number}"]


def _wrong_signature(folder: Path, public_key: "Ed25519PublicKey") -> list[str]:
    from cryptography.exceptions import InvalidSignature

    try:
        signature = (folder / SIGNATURE_FILE).read_bytes()
        public_key.verify(signature, (folder / CHECKSUMS_FILE).read_bytes())
    except FileNotFoundError:
        return [f"{SIGNATURE_FILE} missing"]
    except InvalidSignature:
        return [f"{SIGNATURE_FILE} not by this key"]
    return []


def read_private_key(path: str | os.PathLike) -> "Ed25519PrivateKey":
    """Reads the key that signs, a PEM file as `openssl genpkey` writes it.

    Args:
        path: str or path. The file. It has no passphrase.

    Returns:
        Ed25519PrivateKey.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no such key, or the package cryptography is missing.
    """
    return _read_key(path, "sign", is_private=True)


def read_public_key(path: str | os.PathLike) -> "Ed25519PublicKey":
    """Reads the key that signatures are compared with, as `read_private_key`."""
    return _read_key(path, "public_key", is_private=False)


def _read_key(path: str | os.PathLike, argument: str, *, is_private: bool):
    if importlib.util.find_spec("cryptography") is None:
        raise ValueError(
            f"`{argument}` needs the package cryptography: pip install 'v1keras[signing]'"
        )
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    content = Path(path).read_bytes()
    key = None
    # TypeError: it has a passphrase.
    with contextlib.suppress(ValueError, TypeError, UnsupportedAlgorithm):
        if is_private:
            key = serialization.load_pem_private_key(content, password=None)
        else:
            key = serialization.load_pem_public_key(content)
    kind = ed25519.Ed25519PrivateKey if is_private else ed25519.Ed25519PublicKey
    if not isinstance(key, kind):
        name = "private key without a passphrase" if is_private else "public key"
        raise ValueError(
            f"`{argument}` must be a PEM file with an Ed25519 {name}. "
            f"Received: {argument}={path}"
        )
    return key
