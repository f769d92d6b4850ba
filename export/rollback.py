"""`python -m export.rollback`: the version before the newest is served again."""

import dataclasses
import sys
from collections.abc import Sequence

from export.models_config import refresh
from export.push import roll_back
from v1keras.command_line import option, run


@dataclasses.dataclass(frozen=True)
class RollbackConfig:
    """Settings of `python -m export.rollback`."""

    out: str = option(required=True, help="The served folder.")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    return run(
        _rollback,
        RollbackConfig,
        argv,
        prog="export.rollback",
        description="Removes the newest version in a served folder, so that the one "
        "before it is served again.",
    )


def _rollback(config: RollbackConfig) -> None:
    removed, served = roll_back(config.out)
    refresh(config.out)
    print(f"removed {removed}, {served} is the newest version")


if __name__ == "__main__":
    sys.exit(main())
