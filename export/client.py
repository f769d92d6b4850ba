"""`python -m export.client`: asks a server about image files, over gRPC or REST.

    python -m export.client --image=cat.jpg --model=student
    python -m export.client --image=cat.jpg,dog.png --server=http://host:8501

The files go to the signature `serve_bytes` as they are, or to `diagnose` (`--diagnose`);
the server decodes and resizes them.
"""

import dataclasses
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from export.channels import GrpcChannel, Question, RestChannel, Row
from export.client_config import ClientConfig
from v1keras.command_line import run
from v1keras.escaping import say
from v1keras.quiet import start_backend

_FIRST_PAUSE = 0.2
_LABELS = Question("serve_bytes", ("classes", "scores"))
_DIAGNOSIS = Question(
    "diagnose",
    (
        *_LABELS.outputs,
        "confidence",
        "corruption",
        "corruption_probabilities",
        "severity",
    ),
    optional=("disagreement",),
)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a server says about one image.

    Args:
        classes: tuple of str. The best labels, best first.
        scores: tuple of float. Their probabilities.
    """

    classes: tuple[str, ...]
    scores: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class DiagnosedAnswer(Answer):
    """What the signature `diagnose` says about one image.

    Args:
        classes: tuple of str. The best labels, best first.
        scores: tuple of float. Their probabilities.
        confidence: float. The calibrated probability of the best label.
        corruption: str. What the image most probably shows: `"clean"` or one of the
            benchmark's corruptions.
        corruption_probabilities: tuple of float. That of each of them, `"clean"` first.
        severity: float. Expected severity, 0 to 5.
        disagreement: float or None. Of the members or noise draws, 0 to 1; `None` where
            there is one answer only.
    """

    confidence: float
    corruption: str
    corruption_probabilities: tuple[float, ...]
    severity: float
    disagreement: float | None


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
        return [
            Answer(tuple(row["classes"]), tuple(row["scores"]))
            for row in self._ask(_LABELS, images)
        ]

    def diagnose(self, images: Sequence[bytes]) -> list[DiagnosedAnswer]:
        """Asks about encoded images, and how far the answers can be trusted.

        Args:
            images: sequence of bytes. JPEG or PNG files.

        Returns:
            List of `DiagnosedAnswer`, one for each image.

        Raises:
            ConnectionError: as `classify`.
            ValueError: as `classify`; also if the model was exported without
                `--diagnose`.
        """
        return [
            DiagnosedAnswer(
                classes=tuple(row["classes"]),
                scores=tuple(row["scores"]),
                confidence=row["confidence"],
                corruption=row["corruption"],
                corruption_probabilities=tuple(row["corruption_probabilities"]),
                severity=row["severity"],
                disagreement=row.get("disagreement"),
            )
            for row in self._ask(_DIAGNOSIS, images)
        ]

    def _ask(self, question: Question, images: Sequence[bytes]) -> list[Row]:
        rows = self._ask_again(question, images)
        # Others could stand by the wrong images.
        if len(rows) != len(images):
            raise ValueError(
                f"the answer must hold a row for each of {len(images)} images. "
                f"Received: {len(rows)} rows"
            )
        return rows

    def _ask_again(self, question: Question, images: Sequence[bytes]) -> list[Row]:
        """The first answer of a server that may not be available at once."""
        deadline = time.monotonic() + self._config.timeout
        attempt = 0
        while True:
            try:
                seconds = deadline - time.monotonic()
                return self._channel.ask(question, images, seconds)
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
    config.check_files()
    if not config.is_rest:
        start_backend()
    images = [Path(path).read_bytes() for path in config.image]
    with Client(config) as client:
        ask = client.diagnose if config.diagnose else client.classify
        answers = ask(images)
    for path, answer in zip(config.image, answers, strict=True):
        say(path)
        for label, score in zip(answer.classes, answer.scores, strict=True):
            say(f"  {score:6.1%}  {label}")
        if isinstance(answer, DiagnosedAnswer):
            say(*map("  {}".format, _diagnosis_lines(answer)))


def _diagnosis_lines(answer: DiagnosedAnswer) -> Iterator[str]:
    trust = f"confidence {answer.confidence:.1%}"
    if answer.disagreement is not None:
        trust += f", disagreement {answer.disagreement:.2f}"
    yield trust
    likely = max(answer.corruption_probabilities)
    yield f"sees {answer.corruption} ({likely:.1%}), severity {answer.severity:.1f}"


if __name__ == "__main__":
    sys.exit(main())
