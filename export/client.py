"""`python -m export.client`: asks a server about image files, over gRPC or REST.

    python -m export.client --image=cat.jpg --model=student
    python -m export.client --image=cat.jpg,dog.png --server=http://host:8501

The files go to the signature `serve_bytes` as they are; the server decodes and resizes
them.
"""

import dataclasses
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from export.channels import GrpcChannel, RestChannel, Row
from export.client_config import ClientConfig
from v1keras.command_line import run
from v1keras.escaping import say
from v1keras.quiet import start_tensorflow

_FIRST_PAUSE = 0.2


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a server says about one image.

    Args:
        classes: tuple of str. The best labels, best first.
        scores: tuple of float. Their probabilities.
    """

    classes: tuple[str, ...]
    scores: tuple[float, ...]


class Client:
    """Asks one server, over a connection that is kept.

    It is for one thread at a time.

    Args:
        config: `ClientConfig`; its `image` is not used.

    Raises:
        ValueError: if gRPC is asked for and not installed.
        OSError: if the token or the authorities' certificates cannot be read.
    """

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._channel = (RestChannel if config.is_rest else GrpcChannel)(config)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def classify(self, images: Sequence[bytes]) -> list[Answer]:
        """Asks about encoded images, in one request.

        Args:
            images: sequence of bytes. JPEG or PNG files.

        Returns:
            List of `Answer`, one for each image.

        Raises:
            ConnectionError: if the server cannot be reached, is not available or does
                not answer in time, after all retries.
            ValueError: if it refuses the request, or its answer does not fit to it.
        """
        rows = self._ask(images)
        # Others could stand by the wrong images.
        if len(rows) != len(images):
            raise ValueError(
                f"the answer must hold a row for each of {len(images)} images. "
                f"Received: {len(rows)} rows"
            )
        return [Answer(tuple(classes), tuple(scores)) for classes, scores in rows]

    def _ask(self, images: Sequence[bytes]) -> list[Row]:
        deadline = time.monotonic() + self._config.timeout
        attempt = 0
        while True:
            try:
                return self._channel.ask(images, deadline - time.monotonic())
            except ConnectionError:
                # Drawn, so that clients of one server do not all come back at once.
                pause = _FIRST_PAUSE * 2**attempt * random.uniform(0.5, 1.0)
                is_last = attempt == self._config.retries
                if is_last or time.monotonic() + pause >= deadline:
                    raise
                time.sleep(pause)
                attempt += 1


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    return run(
        _classify_files,
        ClientConfig,
        argv,
        prog="export.client",
        tensorflow=False,
        description="Asks TensorFlow Serving about image files, over gRPC or REST.",
    )


def _classify_files(config: ClientConfig) -> None:
    if not config.is_rest:
        start_tensorflow()
    images = [Path(path).read_bytes() for path in config.image]
    with Client(config) as client:
        answers = client.classify(images)
    for path, answer in zip(config.image, answers, strict=True):
        say(path)
        for label, score in zip(answer.classes, answer.scores, strict=True):
            say(f"  {score:6.1%}  {label}")


if __name__ == "__main__":
    sys.exit(main())
