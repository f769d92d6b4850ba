"""`python -m export`: the command line of `export.export_run` and `export.roll_back`."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from export.config import ExportConfig, RollbackConfig
from v1keras.command_line import run

if TYPE_CHECKING:
    from export.pipeline import ExportResult

DESCRIPTION = (
    "Exports a run as a SavedModel and a LiteRT (TensorFlow Lite) file. Both are "
    "compared with the Keras model on clean and corrupted images; if they agree and are "
    "good enough, they appear together as a new version, OUT/<Unix seconds>/, which "
    "TensorFlow Serving picks up. With --rollback and --out alone, the newest version is "
    "removed instead, so that the one before it is served again."
)
ROLLBACK = "--rollback"
ROLLBACK_DESCRIPTION = (
    "Removes the newest version in a served folder, so that the one before it is served "
    "again."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Not a setting of an export, which needs a run: a command of its own.
    if ROLLBACK in arguments:
        arguments.remove(ROLLBACK)
        prog, description = f"export {ROLLBACK}", ROLLBACK_DESCRIPTION
        return run(
            _roll_back, RollbackConfig, arguments, prog=prog, description=description
        )
    return run(_export, ExportConfig, arguments, prog="export", description=DESCRIPTION)


def _export(config: ExportConfig) -> None:
    from export.pipeline import export_run

    print(_report(export_run(config)))


def _report(result: "ExportResult") -> str:
    """A table of what was exported and how it compares with the Keras model."""
    lines = [
        str(result.path),
        f"{'':16}{'images':>7}{'logits':>9}{'prob.':>9}{'top 1':>8}{'ms/image':>10}",
    ]
    lines += [
        f"{item.endpoint:16}{item.images:7}{item.logits:9.1e}{item.probability:9.1e}"
        f"{item.top1:8.1%}{result.milliseconds[item.endpoint]:10.1f}"
        for item in result.parity
    ]
    lines.append(f"accuracy on {result.split} images")
    lines += [
        f"{model:16}" + ", ".join(f"{name} {each:.1%}" for name, each in slices.items())
        for model, slices in result.accuracy.items()
    ]
    sizes = (f"{name} {size / 1e6:.2f} MB" for name, size in result.sizes.items())
    return "\n".join([*lines, f"size: {', '.join(sizes)}"])


def _roll_back(config: RollbackConfig) -> None:
    from export.pusher import roll_back
    from export.server import refresh

    removed, served = roll_back(config.out)
    refresh(config.out)
    print(f"removed {removed}, {served} is the newest version")


if __name__ == "__main__":
    sys.exit(main())
