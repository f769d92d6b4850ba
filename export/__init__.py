"""From a run to something that is served: SavedModel, LiteRT, checks, versions."""

import importlib

# Loaded when they are first used, so that a command line answers `--help` and a wrong
# flag without TensorFlow.
_MODULES = {
    "TOLERANCES": "infra_validator",
    "ExportConfig": "config",
    "ExportResult": "pipeline",
    "Parity": "infra_validator",
    "RejectedError": "blessing",
    "Tolerance": "infra_validator",
    "export_run": "pipeline",
    "keep": "pusher",
    "list_versions": "pusher",
    "roll_back": "pusher",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
