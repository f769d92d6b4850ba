"""`python -m export`: the command line of `export.export_run`.

`python -m export --rollback --out=OUT` is `python -m export.rollback --out=OUT`.
"""

import sys
from collections.abc import Sequence

from export import rollback
from export.config import ExportConfig, ExportResult
from export.pipeline import export_run
from v1keras.command_line import run

DESCRIPTION = (
    "Exports a run as a SavedModel and a LiteRT (TensorFlow Lite) file. Both are "
    "compared with the Keras model on clean and corrupted images; if they agree and are "
    "good enough, they appear together as a new version, OUT/<Unix seconds>/, which "
    "TensorFlow Serving picks up. With --rollback and --out alone, the newest version is "
    "removed instead, so that the one before it is served again."
)

# Not a setting of an export, which needs a run: a command of its own.
_ROLLBACK = "--rollback"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if _ROLLBACK in arguments:
        arguments.remove(_ROLLBACK)
        return rollback.main(arguments)
    return run(_export, ExportConfig, arguments, prog="export", description=DESCRIPTION)


def _export(config: ExportConfig) -> None:
    print(report(export_run(config)))


def report(result: ExportResult) -> str:
    """A table of what was exported and how it compares with the Keras model."""
    lines = [
        str(result.path),
        f"{'':16}{'images':>7}{'logits':>9}{'prob.':>9}{'top 1':>8}{'ms/image':>10}",
    ]
    lines += [
        f"{item.source:16}{item.images:7}{item.logits:9.1e}{item.probability:9.1e}"
        f"{item.top1:8.1%}{result.milliseconds[item.source]:10.1f}"
        for item in result.agreements
    ]
    slices = list(next(iter(result.accuracy.values())))
    table = [f"accuracy on {result.split} images"]
    table += [
        f"{source:16}" + ", ".join(f"{name} {values[name]:.1%}" for name in slices)
        for source, values in result.accuracy.items()
    ]
    sizes = ", ".join(
        f"{name} {size / 1e6:.2f} MB" for name, size in result.sizes.items()
    )
    return "\n".join([*lines, *table, f"size: {sizes}"])


if __name__ == "__main__":
    sys.exit(main())
