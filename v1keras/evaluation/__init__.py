"""Robustness of models: metrics, cached logits, tables and the report."""

from v1keras.evaluation.build import build_table
from v1keras.evaluation.cache import LogitCache, read_samples
from v1keras.evaluation.cells import CLEAN, Cell, corrupted_cells
from v1keras.evaluation.charts import write_bar_chart
from v1keras.evaluation.comparison import (
    Comparison,
    compare_evaluations,
    comparison_rows,
    format_comparison,
)
from v1keras.evaluation.config import EvaluateConfig
from v1keras.evaluation.images import (
    CellImages,
    CleanImages,
    OnlineImages,
    StoredImages,
)
from v1keras.evaluation.lineup import Lineup
from v1keras.evaluation.predict import open_cache, predict_cells
from v1keras.evaluation.report import required_measurements, write_report
from v1keras.evaluation.robustness import Estimate, RobustnessTable
from v1keras.evaluation.sections import Section, picture, side_by_side
from v1keras.evaluation.tables import format_table, write_tables
from v1keras.evaluation.verb import evaluate, evaluate_models

__all__ = [
    "CLEAN",
    "Cell",
    "CellImages",
    "CleanImages",
    "Comparison",
    "Estimate",
    "EvaluateConfig",
    "Lineup",
    "LogitCache",
    "OnlineImages",
    "RobustnessTable",
    "Section",
    "StoredImages",
    "build_table",
    "compare_evaluations",
    "comparison_rows",
    "corrupted_cells",
    "evaluate",
    "evaluate_models",
    "format_comparison",
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
