"""The report of an evaluation: one HTML file, and the bar chart as a picture."""

from v1keras.evaluation.report.bars import write_bar_chart
from v1keras.evaluation.report.blocks import (
    Bar,
    Bars,
    Folded,
    Heading,
    Panel,
    Panels,
    Picture,
    Section,
    Table,
    TableCell,
    picture,
)
from v1keras.evaluation.report.comparison import comparison_section
from v1keras.evaluation.report.inference import inference_section
from v1keras.evaluation.report.members import members_section
from v1keras.evaluation.report.page import required_measurements, write_report

__all__ = [
    "Bar",
    "Bars",
    "Folded",
    "Heading",
    "Panel",
    "Panels",
    "Picture",
    "Section",
    "Table",
    "TableCell",
    "comparison_section",
    "inference_section",
    "members_section",
    "picture",
    "required_measurements",
    "write_bar_chart",
    "write_report",
]
