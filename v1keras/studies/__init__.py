"""Studies: the whole chain from training to a report and an export."""

from v1keras.studies.chain import run_study
from v1keras.studies.config import StudyConfig
from v1keras.studies.pictures import filter_sheet

__all__ = ["StudyConfig", "filter_sheet", "run_study"]
