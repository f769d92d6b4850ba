"""Robustness of models: metrics, cached logits, tables; the report is in `report`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules={"report"},
    submod_attrs={
        "answers": ["CellAnswers", "Mistake", "confident_mistakes"],
        "build": ["build_table"],
        "cache": ["LogitCache", "Sample", "read_samples"],
        "calibration": ["Calibration", "calibrate", "stored_calibrations"],
        "cells": ["CLEAN", "Cell", "corrupted_cells"],
        "comparison": [
            "Comparison",
            "compare_evaluations",
            "comparison_rows",
            "format_comparison",
        ],
        "config": ["EvaluateConfig"],
        "costs": ["Cost", "measure_cost"],
        "images": ["CellImages", "CleanImages", "OnlineImages", "StoredImages"],
        "in_memory": ["evaluate_models"],
        "lineup": ["Lineup"],
        "predict": ["open_cache", "predict_cells"],
        "robustness": ["Estimate", "RobustnessTable"],
        "tables": ["format_table", "write_tables"],
        "verb": ["evaluate"],
    },
)
