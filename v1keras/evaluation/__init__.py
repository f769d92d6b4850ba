"""Robustness of models: metrics, cached logits, tables and the report."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "build": ["build_table"],
        "cache": ["LogitCache", "read_samples"],
        "cells": ["CLEAN", "Cell", "corrupted_cells"],
        "charts": ["write_bar_chart"],
        "comparison": [
            "Comparison",
            "compare_evaluations",
            "comparison_rows",
            "format_comparison",
        ],
        "config": ["EvaluateConfig"],
        "images": ["CellImages", "CleanImages", "OnlineImages", "StoredImages"],
        "lineup": ["Lineup"],
        "predict": ["open_cache", "predict_cells"],
        "report": ["required_measurements", "write_report"],
        "robustness": ["Estimate", "RobustnessTable"],
        "sections": ["Section", "picture", "side_by_side"],
        "tables": ["format_table", "write_tables"],
        "verb": ["evaluate", "evaluate_models"],
    },
)
