"""From a run to something that is served: SavedModel, LiteRT, checks, versions."""

from export.agreement import TOLERANCES, Agreement, Tolerance
from export.config import ExportConfig, ExportResult
from export.markers import RejectedError
from export.pipeline import export_run
from export.push import keep, roll_back, versions

__all__ = [
    "TOLERANCES",
    "Agreement",
    "ExportConfig",
    "ExportResult",
    "RejectedError",
    "Tolerance",
    "export_run",
    "keep",
    "roll_back",
    "versions",
]
