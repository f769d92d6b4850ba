"""Writes a corrupted data set with Apache Beam, for ImageNet's size.

Needs the extra `beam` (`pip install v1keras[beam]`). The workers must see the same
file system as the caller.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

from v1keras.corruptions.writer import Chunk, Job, write_chunk


def beam_runner(
    options: Sequence[str] = (),
) -> Callable[[Job, Iterable[Chunk]], Iterator[int]]:
    """A `runner` for `write_corrupted` that runs a Beam pipeline.

    Args:
        options: sequence of str. Options of the pipeline, such as
            `--runner=FlinkRunner`. Defaults to `()`: Beam's direct runner.

    Returns:
        A callable.

    Raises:
        ValueError: Apache Beam is not installed.
    """
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise ValueError(
            "runner=beam needs Apache Beam: pip install 'v1keras[beam]'. "
            f"Received: {error}"
        ) from None

    def run(job: Job, chunks: Iterable[Chunk]) -> Iterator[int]:
        chunks = list(chunks)
        with apache_beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
            _ = (
                pipeline
                | "Chunks" >> apache_beam.Create(chunks)
                | "Spread" >> apache_beam.Reshuffle()
                | "Write" >> apache_beam.Map(functools.partial(write_chunk, job))
            )
        cells = len(job.corruptions) * len(job.severities)
        yield cells * sum(len(chunk.files) for chunk in chunks)

    return run
