"""From a run to something that is served: SavedModel, LiteRT, checks, versions."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "blessing": ["RejectedError"],
        "config": ["ExportConfig"],
        "infra_validator": ["TOLERANCES", "Parity", "Tolerance"],
        "pipeline": ["ExportResult", "export_run"],
        "models_config": ["list_versions"],
        "pusher": ["keep"],
        "rollback": ["roll_back", "undo"],
    },
)
