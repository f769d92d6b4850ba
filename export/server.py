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
import http.client
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from export.integrity import require_whole
from export.models_config import (
    MODELS_FILE,
    MOUNT,
    PREVIOUS,
    STABLE,
    is_name,
    loadable_versions,
    models_config,
    read_labels,
    write_models_config,
)
from export.requests import WARMUP_IMAGES
from v1keras.command_line import option, require, run
from v1keras.escaping import say
from v1keras.files import write_text

BATCHING_FILE = "batching.config"
MONITORING_FILE = "monitoring.config"
COMPOSE_FILE = "docker-compose.yml"
_PROMOTE = "--promote"

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
            require(self, name, getattr(self, name) >= least, f"at least {least}")


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
        ValueError: if there is nothing to serve, a version is damaged, or a folder's
            name cannot be the name of a model.
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
        for version in served[name]:
            require_whole(root / name / str(version), f"{root / name / str(version)}")
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


def promote(config: PromoteConfig) -> dict[str, int]:
    """Moves the labels of models to their newest versions, once these are available.

    Args:
        config: `PromoteConfig`.

    Returns:
        Dict from the name of a model to its version `stable`.

    Raises:
        ConnectionError: if the server cannot be reached.
        ValueError: if a version is damaged or not available in time. No label is moved
            then.
    """
    root = Path(config.root)
    if not (root / MODELS_FILE).is_file():
        raise FileNotFoundError(
            f"`root` must hold a {MODELS_FILE}. Received: root={root}"
        )
    # The newest versions may not be among those to be loaded yet.
    labels = read_labels(root)
    served = write_models_config(root, labels)
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
        require_whole(root / name / str(newest), f"{root / name / str(newest)}")
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
    write_models_config(root, labels)
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
    # What is no web server, such as the port for gRPC, raises an HTTPException.
    except (
        OSError,
        KeyError,
        TypeError,
        ValueError,
        http.client.HTTPException,
    ) as error:
        raise ConnectionError(f"{server} does not answer: {error}") from error


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
        say(path)


def _promote(config: PromoteConfig) -> None:
    for name, version in promote(config).items():
        say(f"{name}: {version} is {STABLE}")


if __name__ == "__main__":
    sys.exit(main())
