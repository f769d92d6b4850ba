"""Writes a corrupted data set with Apache Beam, for ImageNet's size.

Needs the extra `beam` (`pip install v1keras[beam]`). The workers must see the same
file system as the caller.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

from v1keras.corruptions.chunks import Chunk, write_chunk
from v1keras.corruptions.config import CorruptionsConfig


def beam_runner(
    options: Sequence[str] = (),
) -> Callable[[CorruptionsConfig, Iterable[Chunk]], Iterator[int]]:
    """A `runner` for `write_corrupted` that runs a Beam pipeline.

    Args:
        options: sequence of str. Options of the pipeline, such as
            `--runner=FlinkRunner`. Defaults to `()`: Beam's direct runner.

    Returns:
        A callable. It raises an `OSError` if the pipeline fails.

    Raises:
        ValueError: Apache Beam is not installed, or an option does not exist.
    """
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise ValueError(
            "`runner` must be local unless Apache Beam is installed: "
            "pip install 'v1keras[beam]'. "
            f"Received: {error}"
        ) from None

    # Refused before anything is written. Beam prints what is wrong with a value and
    # ends the process.
    pipeline_options = PipelineOptions(list(options))
    try:
        pipeline_options.get_all_options()
        apache_beam.Pipeline(options=pipeline_options)
    except (ValueError, SystemExit) as error:
        reason = "see above" if isinstance(error, SystemExit) else error
        raise ValueError(
            f"`beam_options` must be options of Apache Beam ({reason}). "
            f"Received: beam_options={','.join(options)}"
        ) from None

    def run(config: CorruptionsConfig, chunks: Iterable[Chunk]) -> Iterator[int]:
        chunks = list(chunks)
        pipeline = apache_beam.Pipeline(options=pipeline_options)
        _ = (
            pipeline
            | "Chunks" >> apache_beam.Create(chunks)
            | "Spread" >> apache_beam.Reshuffle()
            | "Write" >> apache_beam.Map(functools.partial(write_chunk, config))
        )
        try:
            pipeline.run().wait_until_finish()
        except RuntimeError as error:
            # Runners with processes of their own put a worker's traceback in here.
            reason = str(error).strip().rpartition("\n")[2]
            raise OSError(f"the Beam pipeline failed: {reason}") from error
        cells = len(config.corruptions) * len(config.severities)
        yield cells * sum(len(chunk.files) for chunk in chunks)

    return run
