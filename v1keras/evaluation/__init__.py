"""Robustness of models: metrics, cached logits, tables and the report."""

from v1keras.evaluation.agreement import (
    Agreement,
    agreement_rows,
    compare,
    format_agreement,
)
from v1keras.evaluation.cache import LogitCache
from v1keras.evaluation.cells import CLEAN, Cell, corrupted_cells
from v1keras.evaluation.charts import write_bar_chart
from v1keras.evaluation.evaluate_models import evaluate_models, read_samples
from v1keras.evaluation.images import (
    CellImages,
    CleanImages,
    OnlineImages,
    StoredImages,
)
from v1keras.evaluation.predict import open_cache, predict_cells
from v1keras.evaluation.report import required_measurements, write_report
from v1keras.evaluation.robustness import Estimate, RobustnessTable, build_table
from v1keras.evaluation.sections import Section, picture, side_by_side
from v1keras.evaluation.tables import format_table, write_tables

__all__ = [
    "CLEAN",
    "Agreement",
    "Cell",
    "CellImages",
    "CleanImages",
    "Estimate",
    "LogitCache",
    "OnlineImages",
    "RobustnessTable",
    "Section",
    "StoredImages",
    "agreement_rows",
    "build_table",
    "compare",
    "corrupted_cells",
    "evaluate_models",
    "format_agreement",
    "format_table",
    "open_cache",
    "picture",
    "predict_cells",
    "read_samples",
    "required_measurements",
    "side_by_side",
    "write_bar_chart",
    "write_report",
    "write_tables",
]
