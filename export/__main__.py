"""`python -m export`: exports, rolls back and lists versions."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from export.config import ExportConfig, ListConfig, RollbackConfig
from v1keras.command_line import run

if TYPE_CHECKING:
    from export.pipeline import ExportResult

DESCRIPTION = (
    "Exports a run as a SavedModel and a LiteRT (TensorFlow Lite) file. Both are "
    "compared with the Keras model on clean and corrupted images; if they agree and are "
    "good enough, they appear together as a new version, OUT/<Unix seconds>/, which "
    "TensorFlow Serving picks up. --rollback --out=OUT has an earlier version served "
    "again, --list --out=OUT shows the versions; both have their own --help."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Not settings of an export, which needs a run: commands of their own.
    for flag, (verb, config_class, description) in _COMMANDS.items():
        if flag in arguments:
            arguments.remove(flag)
            prog = f"export {flag}"
            return run(
                verb,
                config_class,
                arguments,
                prog=prog,
                description=description,
                tensorflow=False,
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

    hidden, served = roll_back(config.out, config.to)
    shown = f"hid {', '.join(map(str, hidden))}; " if hidden else ""
    print(f"{shown}{served} is the newest version")


def _list(config: ListConfig) -> None:
    from export.models_config import list_versions
    from export.pusher import WITHDRAWN_FOLDER, damaged_files, list_withdrawn

    out = Path(config.out)
    folders = dict.fromkeys(list_versions(out), (out, "served"))
    folders |= dict.fromkeys(list_withdrawn(out), (out / WITHDRAWN_FOLDER, "hidden"))
    if not folders:
        raise ValueError(f"`out` must hold versions. Received: out={out}")
    damaged = False
    for version, (folder, state) in sorted(folders.items()):
        files = damaged_files(folder / str(version))
        damaged |= bool(files)
        condition = f"damaged: {', '.join(files)}" if files else "whole"
        print(f"{version}  {state}  {condition}")
    if damaged:
        raise ValueError(f"versions in {out} are damaged")


_COMMANDS = {
    "--rollback": (
        _roll_back,
        RollbackConfig,
        "Has an earlier version served again. Those after it are hidden, not deleted.",
    ),
    "--list": (
        _list,
        ListConfig,
        "Shows the versions in a served folder and whether their files are those that "
        "were written; exit code 2 if they are not.",
    ),
}


if __name__ == "__main__":
    # The converter warns of its own defaults. What makes it fail is an exception.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main())
