"""`python -m v1keras`: the commands, in the order in which they are used."""

import runpy
import sys

import v1keras
from v1keras.escaping import say

# Name, module and what it does.
_COMMANDS = (
    ("corruptions", "v1keras.corruptions", "write a corrupted copy of a data set"),
    ("train", "v1keras.train", "train a CNN with a V1 front-end, or the plain one"),
    ("distill", "v1keras.distill", "teach a student from an ensemble of runs"),
    ("convert", "v1keras.convert", "make a run of a published checkpoint"),
    ("evaluate", "v1keras.evaluate", "compare runs under corruptions, in a report"),
    ("choose", "v1keras.choose", "choose an ensemble's members on held-out images"),
    ("predict", "v1keras.predict", "label images with a run or an exported model"),
    ("recommend", "v1keras.recommend", "rank runs for the photographs of a camera"),
    ("study", "v1keras.study", "all of these and an export, in one go"),
    ("ablate", "v1keras.ablate", "compare recipes of distillation"),
    ("export", "export", "export a run for TensorFlow Serving and LiteRT"),
)


def main() -> int:
    """Runs a command: `v1keras train --out=...` is `python -m v1keras.train --out=...`.

    Returns:
        int. The exit code.
    """
    modules = {name: module for name, module, _ in _COMMANDS}
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command == "--version":
        say(f"v1keras {v1keras.__version__}")
        return 0
    if command in ("-h", "--help"):
        lines = ["v1keras COMMAND --flag=value ...", ""]
        lines += [f"  {name:12} {text}" for name, _, text in _COMMANDS]
        lines += [
            "",
            "`--help` after a command lists its flags. --version: the version.",
        ]
        say(*lines)
        return 0
    if command not in modules:
        known = ", ".join(modules)
        say(
            f"v1keras: error: the command must be one of {known}. Received: {command}",
            file=sys.stderr,
        )
        return 2
    del sys.argv[1]
    # Exactly what `python -m` does, which ends the process with the exit code.
    runpy.run_module(modules[command], run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
