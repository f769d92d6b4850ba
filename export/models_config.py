"""`models.config`: which versions of which models TensorFlow Serving loads.

`export.server` writes the file; an export or a rollback into one of the served folders
beside it writes it anew.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from export.push import versions
from v1keras.files import write_text

MODELS_FILE = "models.config"
MOUNT = "/models"
"""Where the folder of the served folders is mounted in the container."""
STABLE, PREVIOUS = "stable", "previous"
# Names are part of addresses: /v1/models/NAME:predict
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def refresh(out: str | os.PathLike) -> None:
    """Writes `models.config` beside a served folder anew, if there is one.

    Folders whose names cannot be those of models stay out of it.

    Args:
        out: str or path. The served folder whose versions have changed.
    """
    file = Path(out).resolve().parent / MODELS_FILE
    if file.is_file():
        served = served_versions(file.parent)
        named = {name: found for name, found in served.items() if is_name(name)}
        write_text(file, models_config(named))


def models_config(served: Mapping[str, Sequence[int]]) -> str:
    """The text of a `ModelServerConfig`.

    The newest version and the one before it are loaded, so that `previous` answers at
    once if `stable` turns out to be bad.

    Args:
        served: dict from the name of a model to its versions, oldest first.

    Returns:
        str, in the text format of protocol buffers.
    """
    lines = ["model_config_list {"]
    for name, found in served.items():
        labels = dict(zip((STABLE, PREVIOUS), reversed(found), strict=False))
        numbers = sorted(labels.values())
        lines += [
            "  config {",
            f'    name: "{name}"',
            f'    base_path: "{MOUNT}/{name}"',
            '    model_platform: "tensorflow"',
            "    model_version_policy {",
            "      specific {",
            *(f"        versions: {number}" for number in numbers),
            "      }",
            "    }",
            *(
                f'    version_labels {{ key: "{label}" value: {number} }}'
                for label, number in labels.items()
            ),
            "  }",
        ]
    return "\n".join([*lines, "}", ""])


def served_versions(root: str | os.PathLike) -> dict[str, tuple[int, ...]]:
    """The versions that the server can load, of all served folders in a folder.

    Args:
        root: str or path.

    Returns:
        Dict from the name of a served folder to its versions, oldest first.
    """
    return {
        folder.name: found
        for folder in sorted(Path(root).iterdir())
        if folder.is_dir() and (found := _saved_models(folder))
    }


def is_name(name: str) -> bool:
    """Whether a model can be served by a name."""
    return _NAME.fullmatch(name) is not None


def _saved_models(folder: Path) -> tuple[int, ...]:
    """The versions that the server can load: a LiteRT file alone it cannot."""
    return tuple(
        version
        for version in versions(folder)
        if (folder / str(version) / "saved_model.pb").is_file()
    )
