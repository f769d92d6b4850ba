"""`python -m export.serve`: a server for development with TensorFlow Serving's REST.

    python -m export.serve --root=serving
    curl http://127.0.0.1:8501/v1/models/student

It is for trying requests and for tests of clients where TensorFlow Serving is not at
hand, and not for production: it listens on this machine only, has neither batching nor
limits, and loads the versions once, when it starts.
"""

import dataclasses
import socket
import sys
from collections.abc import Sequence

from v1keras.command_line import option, require, run
from v1keras.escaping import say

_HOST = "127.0.0.1"


@dataclasses.dataclass(frozen=True)
class ServeConfig:
    """Settings of `python -m export.serve`."""

    root: str = option(
        required=True, help="Folder whose sub-folders are served folders."
    )
    port: int = option(8501, "Port on 127.0.0.1; 0 takes one that is free.")

    def __post_init__(self) -> None:
        require(self, "port", 0 <= self.port < 2**16, "between 0 and 65535")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    return run(
        _serve,
        ServeConfig,
        argv,
        prog="export.serve",
        description="Answers like TensorFlow Serving's REST interface, on this machine "
        "only. For development, not for production.",
    )


def _serve(config: ServeConfig) -> None:
    import tensorflow as tf
    from werkzeug.serving import make_server

    from export.development_server import DevelopmentServer

    # The loader that TensorFlow Serving uses is deprecated for others.
    tf.get_logger().setLevel("ERROR")
    # Bound first, so that a port in use costs no loading of models.
    with socket.create_server((_HOST, config.port)) as listening:
        application = DevelopmentServer(config.root)
        port = listening.getsockname()[1]
        server = make_server(
            _HOST, port, application, threaded=True, fd=listening.fileno()
        )
        for name, versions in application.models.items():
            say(f"http://{_HOST}:{port}/v1/models/{name}: version {max(versions)}")
        say("For development only.")
        server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
