"""Studies: the whole chain from training to a report and an export."""

from v1keras.studies.ablation import AblationConfig, run_ablation
from v1keras.studies.chain import run_study
from v1keras.studies.config import StudyConfig
from v1keras.studies.pictures import filter_sheet

__all__ = [
    "AblationConfig",
    "StudyConfig",
    "filter_sheet",
    "run_ablation",
    "run_study",
]
