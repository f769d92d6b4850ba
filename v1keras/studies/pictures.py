"""Pictures of a study's report: Gabor filters."""

from v1keras.evaluation.report import Panel, Panels, Section, picture
from v1keras.training import Run
from v1keras.v1 import filter_sheet


def filters_section(runs: dict[str, Run]) -> Section:
    """The receptive fields of each variant, side by side."""
    panels = []
    for name, run in runs.items():
        if run.v1 is None:
            continue
        variant = run.v1["variant"]
        low, high = variant.sf_range
        names = ("variant", "image_size", "visual_degrees", "kernel_size")
        sheet = picture(
            filter_sheet(**{part: run.v1[part] for part in names}),
            f"Gabor filters of {name}",
            pixelated=True,
        )
        note = (
            f"{low:g}–{high:g} cycles/degree, "
            f"{variant.simple_channels} simple and {variant.complex_channels} complex, "
            f"noise × {variant.noise_gain:g}"
        )
        panels.append(Panel(name, (sheet,), note))
    return Section(
        "V1 filters",
        (
            "Up to 32 of each variant's receptive fields, simple cells first. Grey is zero; "
            "the tint is the channel that the cell looks at: a colour, the centre of "
            "subcortical cells, or none.",
            Panels(tuple(panels), "tiles"),
        ),
    )
