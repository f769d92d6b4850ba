"""`python -m export.server`: what the stock TensorFlow Serving image needs to start.

Writes `models.config`, `batching.config` and `docker-compose.yml` into a folder of
served folders. The first lists them with the versions to be loaded and their labels;
an export or a rollback into one of them writes it anew, and the server, which looks at
the file every few seconds, follows.
"""

import dataclasses
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from export.pusher import list_versions
from export.runtimes import SAVED_MODEL_FILE
from v1keras.command_line import option, run
from v1keras.files import write_text

MODELS_FILE = "models.config"
BATCHING_FILE = "batching.config"
COMPOSE_FILE = "docker-compose.yml"
MOUNT = "/models"
"""Where the folder of the served folders is mounted in the container."""
STABLE, PREVIOUS = "stable", "previous"
# Names are part of addresses: /v1/models/NAME:predict
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

_BATCHING = """\
max_batch_size {{ value: {max_batch_size} }}
batch_timeout_micros {{ value: {timeout} }}
max_enqueued_batches {{ value: 100 }}
num_batch_threads {{ value: {threads} }}
"""

_COMPOSE = """\
services:
  serving:
    image: tensorflow/serving:${{TF_SERVING_TAG:-latest}}
    ports:
      - "8500:8500" # gRPC
      - "8501:8501" # REST
    volumes:
      - .:{mount}:ro
    command:
      - --model_config_file={mount}/{models}
      - --model_config_file_poll_wait_seconds=10
      # When the server starts, no version is loaded yet that a label could point to.
      - --allow_version_labels_for_unavailable_models=true
      - --enable_batching=true
      - --batching_parameters_file={mount}/{batching}
    restart: unless-stopped
"""


@dataclasses.dataclass(frozen=True)
class ServerConfig:
    """Settings of `python -m export.server`."""

    root: str = option(
        required=True, help="Folder whose sub-folders are served folders."
    )
    max_batch_size: int = option(
        32,
        "How many images the server computes together at most. It refuses requests with "
        "more.",
    )
    batch_timeout_micros: int = option(
        2000, "How long a request waits for others, in microseconds."
    )
    num_batch_threads: int = option(2, "Batches at a time; about the number of cores.")

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "num_batch_threads"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be at least 1. Received: {name}={getattr(self, name)}"
                )
        if self.batch_timeout_micros < 0:
            raise ValueError(
                "batch_timeout_micros must not be negative. "
                f"Received: batch_timeout_micros={self.batch_timeout_micros}"
            )


def write_server_files(config: ServerConfig) -> tuple[Path, ...]:
    """Writes the three files.

    Args:
        config: `ServerConfig`.

    Returns:
        Their paths.

    Raises:
        ValueError: if there is nothing to serve, or a folder's name cannot be the name
            of a model.
    """
    root = Path(config.root)
    if not root.is_dir():
        raise FileNotFoundError(f"there is no such folder: {root}")
    served = loadable_versions(root)
    if not served:
        raise ValueError(f"{root} holds no served folders. Received: root={root}")
    for name in served:
        if not is_name(name):
            raise ValueError(
                "the name of a served folder must consist of letters, digits, dots, "
                f"hyphens and underscores. Received: {root / name}"
            )
    contents = {
        MODELS_FILE: models_config(served),
        BATCHING_FILE: _BATCHING.format(
            max_batch_size=config.max_batch_size,
            timeout=config.batch_timeout_micros,
            threads=config.num_batch_threads,
        ),
        COMPOSE_FILE: _COMPOSE.format(
            mount=MOUNT, models=MODELS_FILE, batching=BATCHING_FILE
        ),
    }
    for name, text in contents.items():
        write_text(root / name, text)
    return tuple(root / name for name in contents)


def refresh(out: str | os.PathLike) -> None:
    """Writes `models.config` beside a served folder anew, if there is one.

    Folders whose names cannot be those of models stay out of it.

    Args:
        out: str or path. The served folder whose versions have changed.
    """
    file = Path(out).resolve().parent / MODELS_FILE
    if file.is_file():
        served = loadable_versions(file.parent)
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


def loadable_versions(root: str | os.PathLike) -> dict[str, tuple[int, ...]]:
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
        for version in list_versions(folder)
        if (folder / str(version) / SAVED_MODEL_FILE).is_file()
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    return run(
        _write,
        ServerConfig,
        argv,
        prog="export.server",
        description="Writes models.config, batching.config and docker-compose.yml for "
        "TensorFlow Serving into a folder of served folders. Then: docker compose up.",
    )


def _write(config: ServerConfig) -> None:
    for path in write_server_files(config):
        print(path)


if __name__ == "__main__":
    sys.exit(main())
