"""The report of an evaluation: one HTML file, and the bar chart as a picture."""

from v1keras.evaluation.report.blocks import (
    Bar,
    Bars,
    Heading,
    Panel,
    Panels,
    Picture,
    Section,
    Table,
    TableCell,
    picture,
)
from v1keras.evaluation.report.charts import write_bar_chart
from v1keras.evaluation.report.page import required_measurements, write_report
from v1keras.evaluation.report.sections import comparison_section, members_section

__all__ = [
    "Bar",
    "Bars",
    "Heading",
    "Panel",
    "Panels",
    "Picture",
    "Section",
    "Table",
    "TableCell",
    "comparison_section",
    "members_section",
    "picture",
    "required_measurements",
    "write_bar_chart",
    "write_report",
]
