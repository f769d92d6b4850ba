"""`python -m export`: exports a run; its verbs look after the versions."""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from export import verify
from export.config import DiffConfig, ExportConfig, RollbackConfig, VersionsConfig
from export.diff import choose_versions, compare_versions
from export.integrity import find_faults
from export.models_config import list_versions
from export.rollback import find_version, list_hidden, roll_back, undo
from v1keras.command_line import run
from v1keras.escaping import say

if TYPE_CHECKING:
    from export.pipeline import ExportResult

DESCRIPTION = (
    "Exports a run as a SavedModel and a LiteRT (TensorFlow Lite) file. Both are "
    "compared with the Keras model on clean and corrupted images; if they agree and are "
    "good enough, they appear together as a new version, OUT/<Unix seconds>/, which "
    "TensorFlow Serving picks up. The versions that are there: python -m export "
    "list|verify|rollback|undo|diff --out=OUT; each has its own --help."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = arguments[0] if arguments else ""
    if verb == "verify":
        return verify.main(arguments[1:])
    if verb in _VERBS:
        function, config_class, description = _VERBS[verb]
        return run(
            function,
            config_class,
            arguments[1:],
            prog=f"export {verb}",
            description=description,
            tensorflow=False,
        )
    return run(_export, ExportConfig, arguments, prog="export", description=DESCRIPTION)


def _export(config: ExportConfig) -> None:
    from v1keras.hardware import require_tensorflow

    require_tensorflow("python -m export")
    from export.pipeline import export_run

    say(*_report(export_run(config)))


def _report(result: "ExportResult") -> list[str]:
    """A table of what was exported and how it compares with the Keras model."""
    lines = [
        str(result.path),
        f"{'':16}{'images':>7}{'logits':>9}{'prob.':>9}{'top 1':>8}{'ms/image':>10}",
    ]
    lines += [
        f"{item.endpoint:16}{item.images:7}"
        f"{'-' if item.logits is None else format(item.logits, '.1e'):>9}"
        f"{item.probability:9.1e}"
        f"{item.top1:8.1%}{result.milliseconds[item.endpoint]:10.1f}"
        for item in result.parity
    ]
    lines.append(f"accuracy on {result.split} images")
    lines += [
        f"{model:16}" + ", ".join(f"{name} {each:.1%}" for name, each in slices.items())
        for model, slices in result.accuracy.items()
    ]
    sizes = (f"{name} {size / 1e6:.2f} MB" for name, size in result.sizes.items())
    lines.append(f"size: {', '.join(sizes)}")
    return [*lines, *(f"warning: {each}" for each in result.warnings)]


def _list(config: VersionsConfig) -> None:
    served, hidden = list_versions(config.out), list_hidden(config.out)
    if not (served or hidden):
        raise ValueError(f"`out` must hold versions. Received: out={config.out}")
    for version in sorted({*served, *hidden}):
        state = "served" if version in served else "hidden"
        faults = find_faults(find_version(config.out, version, "out"))
        condition = f"damaged: {', '.join(faults)}" if faults else "whole"
        say(f"{version}  {state}  {condition}")


def _roll_back(config: RollbackConfig) -> None:
    hidden = roll_back(config.out, config.to)
    shown = f"hid {', '.join(map(str, hidden))}; " if hidden else ""
    say(f"{shown}{config.to} is the newest version")


def _undo(config: VersionsConfig) -> None:
    restored = undo(config.out)
    shown = f"restored {', '.join(map(str, restored))}; " if restored else ""
    say(f"{shown}{list_versions(config.out)[-1]} is the newest version")


def _diff(config: DiffConfig) -> None:
    old, new = choose_versions(config.out, config.old, config.new)
    lines = compare_versions(old, new)
    say(f"{old.name} -> {new.name}", *(f"  {line}" for line in lines))


# Of versions that are there: an export needs a run. Their settings and what they do.
_VERBS = {
    "list": (
        _list,
        VersionsConfig,
        "Shows the versions in a served folder, served and hidden ones, and whether "
        "their files are those that were written.",
    ),
    "rollback": (
        _roll_back,
        RollbackConfig,
        "Has a version served again. Those after it are hidden, not deleted.",
    ),
    "undo": (
        _undo,
        VersionsConfig,
        "Takes rollbacks back: no version is hidden, and the newest is served.",
    ),
    "diff": (
        _diff,
        DiffConfig,
        "Shows what has changed from one version to another: classes, accuracy, sizes, "
        "times, settings.",
    ),
}


if __name__ == "__main__":
    # The converter warns of its own defaults. What makes it fail is an exception.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main())
