"""`python -m export verify`: are the files of versions those that were written?"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from export.config import VerifyConfig
from export.integrity import (
    CHECKSUMS_FILE,
    METADATA_FILE,
    find_faults,
    read_public_key,
)
from export.models_config import list_versions
from export.rollback import find_version, list_hidden
from v1keras.command_line import run
from v1keras.escaping import say

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def verify(
    out: str | os.PathLike, public_key: "Ed25519PublicKey | None" = None
) -> dict[Path, list[str]]:
    """Compares the files of versions with their checksums, and these with signatures.

    Args:
        out: str or path. A served folder, whose hidden versions are looked at too, or
            the folder of one version.
        public_key: Ed25519PublicKey or None. Whose signature every version must have.
            Defaults to `None`, which asks for none.

    Returns:
        Dict from the folder of each version, oldest first, to what is wrong with it, one
        str for each file; an empty list if nothing is.

    Raises:
        FileNotFoundError: if there is no version.
    """
    versions = sorted({*list_versions(out), *list_hidden(out)})
    folders = [find_version(out, version, "out") for version in versions]
    if not folders:
        folders = [Path(out)]
        files = (CHECKSUMS_FILE, METADATA_FILE)
        if not any((Path(out) / name).is_file() for name in files):
            raise FileNotFoundError(f"`out` must hold versions. Received: out={out}")
    return {folder: find_faults(folder, public_key) for folder in folders}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    return run(
        _verify,
        VerifyConfig,
        argv,
        prog="export verify",
        tensorflow=False,
        description="Compares the files of all versions in a served folder, or of one "
        "version, with their checksums; one line for each damaged file, and exit code "
        "2 if there is one.",
    )


def _verify(config: VerifyConfig) -> None:
    key = read_public_key(config.public_key) if config.public_key else None
    found = verify(config.out, key)
    faults = [f"{folder}: {fault}" for folder, each in found.items() for fault in each]
    if faults:
        say(*faults)
        damaged = sum(map(bool, found.values()))
        raise ValueError(f"{damaged} of {len(found)} versions are damaged")
    signed = "" if key is None else " and signed by this key"
    say(f"{len(found)} of {len(found)} versions are whole{signed}")


if __name__ == "__main__":
    sys.exit(main())
