"""`python -m export.server`: what the stock TensorFlow Serving image needs to start.

Writes `models.config`, `batching.config`, `monitoring.config` and `docker-compose.yml`
into a folder of served folders. The server loads the two newest versions of each model
and answers with the newest, so that an export or a rollback needs no more than the
folders of versions.

`python -m export.server --promote` gives a model labels: `stable` is its newest version,
`previous` the one that was stable before. The server refuses a configuration that moves a
label to a version which it has not loaded, and then follows nothing else in it either
(`ServerCore::ReloadConfig`). So an export only adds its version to those that are loaded,
and `--promote` moves the labels once the server says that this version is available.
"""

import dataclasses
import json
import os
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from export.pusher import keep, list_versions, publish, withdraw
from export.requests import WARMUP_IMAGES
from export.runtimes import SAVED_MODEL_FILE
from v1keras.command_line import option, run
from v1keras.files import write_text

MODELS_FILE = "models.config"
BATCHING_FILE = "batching.config"
MONITORING_FILE = "monitoring.config"
COMPOSE_FILE = "docker-compose.yml"
MOUNT = "/models"
"""Where the folder of the served folders is mounted in the container."""
STABLE, PREVIOUS = "stable", "previous"
LOADED_VERSIONS = 2
_PROMOTE = "--promote"
# Names are part of addresses: /v1/models/NAME:predict
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

_BATCHING = """\
max_batch_size {{ value: {max_batch_size} }}
batch_timeout_micros {{ value: {timeout} }}
max_enqueued_batches {{ value: 100 }}
num_batch_threads {{ value: {threads} }}
"""

_MONITORING = """\
prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""

# The ports are open to this machine only: the server asks nobody who they are.
_COMPOSE = """\
services:
  serving:
    image: tensorflow/serving:${{TF_SERVING_TAG:-2.19.0}}
    ports:
      - "127.0.0.1:8500:8500" # gRPC
      - "127.0.0.1:8501:8501" # REST, metrics
    volumes:
      - .:{mount}:ro
    command:
      - --model_config_file={mount}/{models}
      - --model_config_file_poll_wait_seconds=10
      # When the server starts, no version is loaded yet that a label could point to.
      - --allow_version_labels_for_unavailable_models=true
      - --enable_batching=true
      - --batching_parameters_file={mount}/{batching}
      - --monitoring_config_file={mount}/{monitoring}
    healthcheck: # the image has no curl
      test: ["CMD", "bash", "-c", "exec 3<>/dev/tcp/localhost/8501"]
      interval: 10s
      start_period: 60s
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
        f"Images that the server computes together, at least {WARMUP_IMAGES}. It refuses "
        "requests with more.",
        group="batching",
    )
    batch_timeout_micros: int = option(
        2000,
        "How long a request waits for others, in microseconds.",
        group="batching",
    )
    num_batch_threads: int = option(
        2, "Batches at a time; about the number of cores.", group="batching"
    )

    def __post_init__(self) -> None:
        for name, least in (
            # What is smaller than a warm-up request refuses to load any version.
            ("max_batch_size", WARMUP_IMAGES),
            ("num_batch_threads", 1),
            ("batch_timeout_micros", 0),
        ):
            value = getattr(self, name)
            if value < least:
                raise ValueError(
                    f"`{name}` must be at least {least}. Received: {name}={value}"
                )


@dataclasses.dataclass(frozen=True)
class PromoteConfig:
    """Settings of `python -m export.server --promote`."""

    root: str = option(required=True, help="Folder with the server's models.config.")
    model: tuple[str, ...] = option(
        (), "Models whose labels move. Default: all of them.", group="labels"
    )
    server: str = option(
        "http://localhost:8501", "The server's REST address.", group="labels"
    )
    timeout: float = option(
        60.0,
        "Seconds to wait until the newest versions are available.",
        group="labels",
    )


def write_server_files(config: ServerConfig) -> tuple[Path, ...]:
    """Writes the four files; labels that models have stay as they are.

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
        raise FileNotFoundError(f"`root` must be a folder. Received: root={root}")
    served = loadable_versions(root)
    if not served:
        raise ValueError(f"`root` must hold served folders. Received: root={root}")
    for name in served:
        if not is_name(name):
            raise ValueError(
                "the name of a served folder must consist of letters, digits, dots, "
                f"hyphens and underscores. Received: {root / name}"
            )
    contents = {
        MODELS_FILE: models_config(served, read_labels(root)),
        BATCHING_FILE: _BATCHING.format(
            max_batch_size=config.max_batch_size,
            timeout=config.batch_timeout_micros,
            threads=config.num_batch_threads,
        ),
        MONITORING_FILE: _MONITORING,
        COMPOSE_FILE: _COMPOSE.format(
            mount=MOUNT,
            models=MODELS_FILE,
            batching=BATCHING_FILE,
            monitoring=MONITORING_FILE,
        ),
    }
    for name, text in contents.items():
        write_text(root / name, text)
    return tuple(root / name for name in contents)


def push(
    folder: str | os.PathLike, out: str | os.PathLike, count: int | None = None
) -> Path:
    """Publishes a prepared version and has the server load it.

    Args:
        folder: str or path. A folder that `export.pusher.staging` gave.
        out: str or path. The served folder.
        count: int or None. How many versions stay in it, apart from those with labels.
            Defaults to `None`, all of them.

    Returns:
        The path of the new version, `<out>/<number>`.
    """
    path = publish(folder, out)
    refresh(out)
    if count is not None:
        labelled = read_labels(Path(out).resolve().parent).get(
            Path(out).resolve().name, {}
        )
        keep(out, count, spare=set(labelled.values()))
    return path


def roll_back(
    out: str | os.PathLike, to: int | None = None
) -> tuple[tuple[int, ...], int]:
    """Has an earlier version of a model served again; nothing is deleted.

    Args:
        out: str or path. The served folder.
        to: int or None. The version to be served; it may be one that an earlier
            rollback has hidden. `None` is the one before the newest.

    Returns:
        Tuple of the versions that were hidden and the one that is the newest now.

    Raises:
        ValueError: if there is no such version.
    """
    hidden = withdraw(out, to)
    refresh(out)
    return hidden, list_versions(out)[-1]


def refresh(out: str | os.PathLike) -> None:
    """Brings `models.config` beside a served folder up to date, if there is one.

    Folders whose names cannot be those of models stay out of it.

    Args:
        out: str or path. The served folder whose versions have changed.
    """
    root = Path(out).resolve().parent
    if (root / MODELS_FILE).is_file():
        _write_models(root, read_labels(root))


def promote(config: PromoteConfig) -> dict[str, int]:
    """Moves the labels of models to their newest versions, once these are available.

    Args:
        config: `PromoteConfig`.

    Returns:
        Dict from the name of a model to its version `stable`.

    Raises:
        ConnectionError: if the server cannot be reached.
        ValueError: if a version is not available in time. No label is moved then.
    """
    root = Path(config.root)
    if not (root / MODELS_FILE).is_file():
        raise FileNotFoundError(
            f"`root` must hold a {MODELS_FILE}. Received: root={root}"
        )
    # The newest versions may not be among those to be loaded yet.
    labels = read_labels(root)
    served = _write_models(root, labels)
    names = config.model or tuple(served)
    if unknown := set(names) - set(served):
        raise ValueError(
            f"`model` must be of {', '.join(served)}. "
            f"Received: model={','.join(sorted(unknown))}"
        )
    deadline = time.monotonic() + config.timeout
    stable = {}
    for name in names:
        newest = served[name][-1]
        while (state := _state(config.server, name, newest)) != "AVAILABLE":
            if time.monotonic() > deadline:
                raise ValueError(
                    f"the server has not loaded version {newest} of {name} within "
                    f"{config.timeout:g} seconds ({state})"
                )
            time.sleep(1)
        stable[name] = newest
    for name, newest in stable.items():
        before = labels.get(name, {}).get(STABLE, newest)
        if before != newest:
            labels[name] = {STABLE: newest, PREVIOUS: before}
        else:
            labels[name] = {**labels.get(name, {}), STABLE: newest}
    _write_models(root, labels)
    return stable


def _state(server: str, name: str, version: int) -> str:
    """What the server says of a version: AVAILABLE, or START, LOADING, END, unknown."""
    path = f"v1/models/{urllib.parse.quote(name)}/versions/{version}"
    try:
        with urllib.request.urlopen(f"{server.rstrip('/')}/{path}", timeout=10) as page:
            (status,) = json.load(page)["model_version_status"]
            return str(status["state"])
    except urllib.error.HTTPError:
        return "unknown to it"
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ConnectionError(f"{server} does not answer: {error}") from error


def _write_models(
    root: Path, labels: Mapping[str, Mapping[str, int]]
) -> dict[str, tuple[int, ...]]:
    served = {
        name: found for name, found in loadable_versions(root).items() if is_name(name)
    }
    text = models_config(served, labels)
    if text != (root / MODELS_FILE).read_text(encoding="utf-8"):
        write_text(root / MODELS_FILE, text)
    return served


def read_labels(root: str | os.PathLike) -> dict[str, dict[str, int]]:
    """The labels in `models.config`, by model; none where there is no such file."""
    file = Path(root) / MODELS_FILE
    if not file.is_file():
        return {}
    labels: dict[str, dict[str, int]] = {}
    name = ""
    pattern = r'\bname: "([^"]*)"|version_labels \{ key: "([^"]*)" value: (\d+) \}'
    for found in re.finditer(pattern, file.read_text(encoding="utf-8")):
        if found[2] is None:
            name = found[1]
        else:
            labels.setdefault(name, {})[found[2]] = int(found[3])
    return labels


def models_config(
    served: Mapping[str, Sequence[int]],
    labels: Mapping[str, Mapping[str, int]] | None = None,
) -> str:
    """The text of a `ModelServerConfig`.

    Args:
        served: dict from the name of a model to its versions, oldest first.
        labels: dict from the name of a model to a dict from label to version, or None.
            Of a model with labels, those versions and the newest one are loaded. A
            label whose version is gone falls to the one before. Defaults to `None`.

    Returns:
        str, in the text format of protocol buffers.
    """
    lines = ["model_config_list {"]
    for name, found in served.items():
        kept = _kept_labels((labels or {}).get(name, {}), found)
        if kept:
            loaded = sorted({*kept.values(), found[-1]})
            policy = " ".join(f"versions: {number}" for number in loaded)
            policy = f"specific {{ {policy} }}"
        else:
            policy = f"latest {{ num_versions: {LOADED_VERSIONS} }}"
        lines += [
            "  config {",
            f'    name: "{name}"',
            f'    base_path: "{MOUNT}/{name}"',
            '    model_platform: "tensorflow"',
            f"    model_version_policy {{ {policy} }}",
            *(
                f'    version_labels {{ key: "{label}" value: {number} }}'
                for label, number in kept.items()
            ),
            "  }",
        ]
    return "\n".join([*lines, "}", ""])


def _kept_labels(labels: Mapping[str, int], found: Sequence[int]) -> dict[str, int]:
    kept = {label: number for label, number in labels.items() if number in found}
    # After a rollback: the server has that version loaded, so the label may move to it.
    if STABLE in labels and STABLE not in kept and PREVIOUS in kept:
        kept = {STABLE: kept[PREVIOUS]}
    return kept


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
    arguments = list(sys.argv[1:] if argv is None else argv)
    prog = "export.server"
    # It needs a server that runs, which the other settings are for: another command.
    if _PROMOTE in arguments:
        arguments.remove(_PROMOTE)
        return run(
            _promote,
            PromoteConfig,
            arguments,
            prog=f"{prog} {_PROMOTE}",
            tensorflow=False,
            description="Moves the labels stable and previous in models.config to the "
            "newest versions and those before, once the server has loaded them.",
        )
    return run(
        _write,
        ServerConfig,
        arguments,
        prog=prog,
        tensorflow=False,
        description="Writes models.config, batching.config, monitoring.config and "
        "docker-compose.yml for TensorFlow Serving into a folder of served folders. "
        "Then: docker compose up. With --promote, labels are moved instead.",
    )


def _write(config: ServerConfig) -> None:
    for path in write_server_files(config):
        print(path)


def _promote(config: PromoteConfig) -> None:
    for name, version in promote(config).items():
        print(f"{name}: {version} is {STABLE}")


if __name__ == "__main__":
    sys.exit(main())
