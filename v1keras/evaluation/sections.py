"""The pieces of a report: what a robustness table says, as HTML."""

import base64
import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from v1keras.evaluation.cells import CLEAN, Cell
from v1keras.evaluation.charts import (
    LEAST_PER_BIN,
    bar_order,
    gain_bars,
    reliability_diagram,
    severity_curves,
)
from v1keras.evaluation.comparison import Comparison
from v1keras.evaluation.palette import DIVERGING
from v1keras.evaluation.robustness import MEAN, Estimate, RobustnessTable
from v1keras.evaluation.tables import signed_percent

# Pictures above this many pixels a side are embedded as JPEG: as PNG, samples of
# noise at 224 pixels would weigh megabytes.
_PNG_PIXELS = 96


class Section(NamedTuple):
    """A part of a report.

    Args:
        title: str. Plain text.
        html: str. What stands under the title; it may use the classes and colours of
            the report and must not refer to other files.
    """

    title: str
    html: str


def picture(image: np.ndarray, description: str) -> str:
    """An `<img>` element that carries its image.

    Args:
        image: uint8 array of shape `(height, width, 3)`, RGB.
        description: str. What it shows, for those who do not see it.

    Returns:
        str.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            "A picture must be uint8 RGB of shape (height, width, 3). "
            f"Received: dtype={image.dtype}, shape={image.shape}"
        )
    small = max(image.shape[:2]) <= _PNG_PIXELS
    kind, options = (".png", []) if small else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 90])
    data = cv2.imencode(kind, np.ascontiguousarray(image[..., ::-1]), options)[1]
    mime = "png" if small else "jpeg"
    encoded = base64.b64encode(data.tobytes()).decode()
    text = html.escape(description, quote=True)
    return f'<img alt="{text}" src="data:image/{mime};base64,{encoded}">'


def headline(table: RobustnessTable) -> str:
    """One sentence per ensemble and student: the result that readers look for."""
    if table.baseline is None or MEAN not in table.summary_groups:
        return ""
    base = table.groups[table.baseline, MEAN].accuracy.value
    sentences = []
    for model in sorted(table.models, key=lambda m: table.roles[m] != "ensemble"):
        if table.roles[model] not in ("ensemble", "student"):
            continue
        result = table.groups[model, MEAN]
        sentences.append(
            f"<strong>{html.escape(model)}</strong> reaches "
            f"{100 * result.accuracy.value:.1f}&nbsp;% under corruption where "
            f"{html.escape(table.baseline)} reaches {100 * base:.1f}&nbsp;%: a relative "
            f"gain of <strong>{_signed(result.gain.value)}&nbsp;%</strong> (95&nbsp;% "
            f"interval {_signed(result.gain.low)} to {_signed(result.gain.high)}&nbsp;%)."
        )
    return "".join(f'<p class="lead">{sentence}</p>' for sentence in sentences)


def summary(table: RobustnessTable) -> Section:
    """The sortable summary table, and that of training seeds."""
    groups = table.summary_groups
    head = "".join(f"<th>{html.escape(group)}</th>" for group in groups)
    if MEAN in groups:
        title = "Mean corruption error in %, not divided by that of another model"
        head += f'<th title="{title}">mean error</th>'
    head += '<th title="Expected calibration error under corruption">ECE</th>'
    head += '<th title="Negative log-likelihood under corruption">NLL</th>'
    head += '<th title="Brier score under corruption">Brier</th>'
    if table.alexnet:
        head += "<th>mCE (AlexNet)</th><th>relative mCE (AlexNet)</th>"
    rows = "".join(_summary_row(table, model) for model in table.models)
    baseline = html.escape(table.baseline or "")
    explanation = (
        "Accuracy in %. Below it, in small type, the gain relative to "
        f"{baseline} with its 95 % interval; muted where the interval includes zero. "
        if table.baseline
        else "Accuracy in %. Below it, in small type, its 95 % interval. "
    )
    body = (
        f'<p class="note">{explanation}ECE, NLL and Brier score are means over the '
        "corrupted cells: lower is better. Select a column's name to sort.</p>"
        '<div class="scroll"><table class="summary sortable"><thead><tr>'
        f"<th>model</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
    return Section("Summary", body + _noise_spread(table) + _seeds(table))


def gains(table: RobustnessTable) -> Section:
    """Bars per category: the paper's main figure."""
    groups = [group for group in table.summary_groups if group != "clean"]
    order = [*([MEAN] if MEAN in groups else []), *(g for g in groups if g != MEAN)]
    figures = "".join(
        _figure(group, gain_bars(table, group)) for group in [*order, "clean"]
    )
    if table.baseline:
        text = (
            "Accuracy relative to that of "
            f"{html.escape(table.baseline)}: +100 % is twice as often right. "
            "Thin lines are 95 % intervals by bootstrap over images."
        )
        title = f"Gain over {table.baseline} per category"
    else:
        text = "Thin lines are 95 % intervals by bootstrap over images."
        title = "Accuracy per category"
    return Section(
        title, f'<p class="note">{text}</p><div class="grid">{figures}</div>'
    )


def heat_maps(table: RobustnessTable) -> Section:
    """Corruption x severity, one map per model."""
    severities = sorted({cell.severity for cell in table.cells if cell != CLEAN})
    maps = "".join(
        _figure(model, _heat_map(table, model, severities), _mean_gain(table, model))
        for model in bar_order(table)
    )
    if table.baseline:
        text = (
            f"Relative gain over {html.escape(table.baseline)} in %, severities 1 to 5. "
            "Colours are logarithmic, from half to twice the baseline's accuracy."
        )
        swatches = "".join(
            f'<i style="background:var(--step-{i})"></i>' for i in range(len(DIVERGING))
        )
        scale = (
            f'<div class="scale">−50 %<span>{swatches}</span>+100 %'
            f"&ensp;(grey: like {html.escape(table.baseline)})</div>"
        )
        title = f"Gain over {table.baseline} per corruption and severity"
    else:
        text, scale = "Accuracy in %, severities 1 to 5.", ""
        title = "Accuracy per corruption and severity"
    body = f'<p class="note">{text}</p>{scale}<div class="grid">{maps}</div>'
    return Section(title, body)


def curves(table: RobustnessTable) -> Section:
    """Accuracy against severity per category."""
    groups = [group for group in table.summary_groups if group != "clean"]
    order = [*([MEAN] if MEAN in groups else []), *(g for g in groups if g != MEAN)]
    figures = "".join(_figure(group, severity_curves(table, group)) for group in order)
    text = "Accuracy in %, mean over the corruptions of a category."
    return Section(
        "Accuracy against severity",
        f'<p class="note">{text}</p><div class="grid">{figures}</div>',
    )


def calibration(table: RobustnessTable) -> Section:
    """Reliability diagrams."""
    figures = []
    for model in table.models:
        errors = [
            f"{kind} {100 * bins.calibration_error():.1f} %"
            for kind in ("clean", "corrupted")
            if (bins := table.reliability.get((model, kind))) is not None
        ]
        note = f"ECE {', '.join(errors)}"
        figures.append(_figure(model, reliability_diagram(table, model), note))
    text = (
        "How often a model is right (%, upwards) when it is this confident, in 15 bins: "
        "coloured on corrupted images, grey on clean ones; the dotted diagonal is "
        "perfect calibration, and below it lies overconfidence. The pale bars show how "
        f"often each confidence occurs under corruption. Bins of fewer than {LEAST_PER_BIN} "
        "predictions are not drawn. ECE here pools all corrupted images."
    )
    return Section(
        "Reliability",
        f'<p class="note">{text}</p><div class="grid small">{"".join(figures)}</div>',
    )


def diversity(table: RobustnessTable) -> Section:
    """How members differ, and what averaging them adds."""
    kind = "corrupted" if "corrupted" in table.diversity else "clean"
    shown = table.diversity[kind]
    matrices = _figure(
        "Disagreement",
        _matrix(shown.models, shown.disagreement),
        f"mean {100 * shown.mean_disagreement():.0f} %",
    ) + _figure(
        "Correlation of errors",
        _matrix(shown.models, shown.error_correlation),
        f"mean {100 * shown.mean_error_correlation():.0f} %",
    )
    text = (
        f"On {kind} images, in %. Disagreement: how often two members name different "
        "classes. Correlation of errors: 100 when they fail on the same images, 0 when "
        "they fail independently. The more members differ, the more averaging them can "
        "gain."
    )
    return Section(
        "Members and ensemble",
        f'{_member_table(table, shown.models)}<p class="note" style="margin-top:18px">'
        f'{text}</p><div class="grid">{matrices}</div>',
    )


def sample_pictures(
    table: RobustnessTable, samples: Mapping[Cell, np.ndarray]
) -> Section:
    """A picture of every corruption, at the severities that are given."""
    parts = []
    if CLEAN in samples:
        tile = _tile("clean", [(CLEAN, samples[CLEAN])])
        parts.append(
            f'<div class="tiles" style="grid-template-columns:minmax(0,110px)">{tile}'
            "</div>"
        )
    for category in table.category_names:
        tiles = []
        for name in table.corruptions:
            own = sorted(cell for cell in samples if cell.corruption == name)
            if table.categories[name] == category and own:
                tiles.append(_tile(name, [(cell, samples[cell]) for cell in own]))
        parts.append(
            f'<h3 class="category">{html.escape(category)}</h3>'
            f'<div class="tiles">{"".join(tiles)}</div>'
        )
    return Section("What the models were shown", "".join(parts))


def side_by_side(comparisons: Sequence[Comparison], other: str) -> Section:
    """Accuracies per corruption here and in another evaluation.

    Args:
        comparisons: sequence of `Comparison`, of this evaluation and another one.
        other: str. What the other one is called.
    """
    models = list(dict.fromkeys(row.model for row in comparisons))
    by_place = {(row.corruption, row.model): row for row in comparisons}
    head = "".join(f"<th>{html.escape(model)}</th>" for model in models)
    rows = ""
    for corruption in dict.fromkeys(row.corruption for row in comparisons):
        cells = "".join(_pair(by_place[corruption, model]) for model in models)
        label = html.escape(corruption.replace("_", " "))
        rows += f'<tr><th scope="row">{label}</th>{cells}</tr>'
    images = comparisons[-1].images
    on = f"the {images} images that both showed" if images else "different images"
    outside = sum(not row.agrees for row in comparisons)
    text = (
        f"Accuracy in %, mean over severities, on {on}: here, and in {other}. Below it "
        "the difference and how far it may go by chance (95 %). Of "
        f"{len(comparisons)} differences {outside} are larger, in bold type; "
        f"{len(comparisons) / 20:.0f} would be by chance alone."
    )
    return Section(
        f"Beside {other}",
        f'<p class="note">{html.escape(text)}</p><div class="scroll">'
        f'<table class="summary"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>",
    )


def settings_list(settings: Mapping[str, Any]) -> Section:
    """Settings and versions, as a list."""
    items = "".join(
        f"<dt>{html.escape(str(key))}</dt><dd>{html.escape(_plain(value))}</dd>"
        for key, value in settings.items()
    )
    return Section("Settings", f'<dl class="settings">{items}</dl>')


def _figure(title: str, content: str, note: str = "") -> str:
    small = f"<small>{html.escape(note)}</small>" if note else ""
    return f"<figure><figcaption>{html.escape(title)}{small}</figcaption>{content}</figure>"


def _summary_row(table: RobustnessTable, model: str) -> str:
    index = table.models.index(model)
    strong = table.roles[model] in ("ensemble", "student")
    cells = [
        f'<th scope="row" data-value="{html.escape(model, quote=True)}">'
        f'<span class="swatch" style="background:var(--series-{index})"></span>'
        f"{html.escape(model)}</th>"
    ]
    for group in table.summary_groups:
        result = table.groups[model, group]
        value = result.accuracy.value
        if table.baseline is None:
            small = _range(result.accuracy)
        elif model == table.baseline:
            small = "<small>baseline<br>&nbsp;</small>"
        else:
            small = _gain(result.gain)
        cells.append(f'<td data-value="{value:.6f}">{100 * value:.1f}{small}</td>')
    scores: list[tuple[float, str]] = []
    last = table.summary_groups[-1]
    result = table.groups[model, last]
    if last == MEAN:
        error = 1.0 - result.accuracy.value
        scores.append((error, f"{100 * error:.1f}"))
    scores += [
        (
            result.expected_calibration_error,
            f"{100 * result.expected_calibration_error:.1f}",
        ),
        (result.negative_log_likelihood, f"{result.negative_log_likelihood:.2f}"),
        (result.brier_score, f"{result.brier_score:.3f}"),
    ]
    if table.alexnet:
        scores += [(value, f"{100 * value:.1f}") for value in table.alexnet[model]]
    cells += [f'<td data-value="{value:.6f}">{text}</td>' for value, text in scores]
    return f"<tr{' class=strong' if strong else ''}>{''.join(cells)}</tr>"


def _gain(gain: Estimate) -> str:
    if not np.isfinite(gain.value):
        return "<small>–</small>"
    sure = gain.low > 0 or gain.high < 0
    return (
        f"<small{' class=sure' if sure else ''}>{_signed(gain.value)} %<br>"
        f"[{_signed(gain.low)}, {_signed(gain.high)}]</small>"
    )


def _signed(gain: float) -> str:
    """A gain in %, with a minus sign as wide as the plus sign."""
    return signed_percent(gain).replace("-", "\N{MINUS SIGN}")


def _range(estimate: Estimate) -> str:
    return f"<small>[{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]</small>"


def _noise_spread(table: RobustnessTable) -> str:
    """How much the mean varies from one noise draw to the next."""
    if MEAN not in table.summary_groups:
        return ""
    spreads = {
        model: spread
        for model in table.models
        if (spread := table.groups[model, MEAN].noise_std) is not None
    }
    if not spreads:
        return ""
    draws = max(
        table.results[model, cell].noise_samples
        for model in spreads
        for cell in table.cells
    )
    listed = ", ".join(
        f"{html.escape(model)} {100 * spread:.2f}" for model, spread in spreads.items()
    )
    return (
        f'<p class="note" style="margin:12px 0 0">Stochastic models are means over '
        f"{draws} noise draws. Standard deviation of the mean accuracy between draws, in "
        f"percentage points: {listed}.</p>"
    )


def _seeds(table: RobustnessTable) -> str:
    """Mean and standard deviation over training seeds."""
    if not table.seeds:
        return ""
    groups = table.summary_groups
    head = "".join(f"<th>{html.escape(group)}</th>" for group in groups)
    rows = []
    for entry in table.seeds:
        cells = []
        for group in groups:
            mean, std = entry.accuracy[group]
            gain = ""
            if entry.gain:
                gain_mean, gain_std = entry.gain[group]
                gain = f"<small>{_signed(gain_mean)} ± {100 * gain_std:.0f} %</small>"
            cells.append(f"<td>{100 * mean:.1f} ± {100 * std:.1f}{gain}</td>")
        rows.append(
            f'<tr><th scope="row">{html.escape(entry.variant)} '
            f"({len(entry.models)} seeds)</th>{''.join(cells)}</tr>"
        )
    return (
        '<h3 style="margin-top:22px">Training seeds</h3><p class="note">Mean ± standard '
        "deviation over runs that differ in their seed.</p>"
        f'<div class="scroll"><table class="summary"><thead><tr><th>variant</th>{head}'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _step(gain: float) -> int:
    """The step of the diverging scale: logarithmic, half to twice."""
    position = np.clip(np.log2(max(1.0 + gain, 1e-3)), -1.0, 1.0)
    return round((position + 1.0) / 2.0 * (len(DIVERGING) - 1))


def _mean_gain(table: RobustnessTable, model: str) -> str:
    if table.baseline is None or MEAN not in table.summary_groups:
        return ""
    return f"mean {_signed(table.groups[model, MEAN].gain.value)} %"


def _heat_map(table: RobustnessTable, model: str, severities: list[int]) -> str:
    head = "".join(f"<th>{severity}</th>" for severity in severities)
    rows, previous = [], None
    for name in sorted(
        table.corruptions,
        key=lambda n: table.category_names.index(table.categories[n]),
    ):
        category = table.categories[name]
        gap = ' class="gap"' if previous not in (None, category) else ""
        previous = category
        cells = "".join(
            _heat_cell(table, model, Cell(name, severity)) for severity in severities
        )
        label = html.escape(name.replace("_", " "))
        rows.append(f"<tr{gap}><th scope=row>{label}</th>{cells}</tr>")
    return (
        f'<table class="heat"><thead><tr><th>severity</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _heat_cell(table: RobustnessTable, model: str, cell: Cell) -> str:
    if cell not in table.cells:
        return "<td>–</td>"
    result = table.results[model, cell]
    accuracy = result.accuracy.value
    if result.gain is None:
        return f"<td>{100 * accuracy:.0f}</td>"
    if not np.isfinite(result.gain.value):
        return f'<td title="{100 * accuracy:.1f} %, baseline 0 %">–</td>'
    step = _step(result.gain.value)
    base = table.results[table.baseline, cell].accuracy.value
    return (
        f'<td style="background:var(--step-{step});color:var(--on-step-{step})" '
        f'title="{100 * accuracy:.1f} % against {100 * base:.1f} %">'
        f"{_signed(result.gain.value)}</td>"
    )


def _matrix(models: tuple[str, ...], values: np.ndarray) -> str:
    head = "".join(
        f'<th title="{html.escape(name, quote=True)}">{i}</th>'
        for i, name in enumerate(models, start=1)
    )
    rows = []
    for i, name in enumerate(models):
        cells = []
        for j in range(len(models)):
            if i == j:
                cells.append("<td>·</td>")
            elif not np.isfinite(values[i, j]):
                cells.append("<td>–</td>")
            else:
                # Text stays readable on the strongest tint, in both themes.
                tint = round(45 * float(np.clip(values[i, j], 0, 1)))
                cells.append(
                    '<td style="background:color-mix(in srgb, var(--accent) '
                    f'{tint}%, transparent)">{100 * values[i, j]:.0f}</td>'
                )
        rows.append(
            f'<tr><th scope="row">{i + 1}&ensp;{html.escape(name)}</th>'
            f"{''.join(cells)}</tr>"
        )
    return (
        f'<div class="scroll"><table class="matrix"><thead><tr><th></th>{head}</tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _member_table(table: RobustnessTable, members: tuple[str, ...]) -> str:
    """The mean member, the best member and the ensembles, side by side."""
    groups = table.summary_groups
    head = "".join(f"<th>{html.escape(group)}</th>" for group in groups)
    values = {
        group: [table.groups[name, group].accuracy.value for name in members]
        for group in groups
    }
    mean = "".join(f"<td>{100 * np.mean(values[g]):.1f}</td>" for g in groups)
    best = "".join(
        f"<td>{100 * max(values[g]):.1f}<small>"
        f"{html.escape(members[int(np.argmax(values[g]))])}</small></td>"
        for g in groups
    )
    rows = f"<tr><th>mean of {len(members)} members</th>{mean}</tr>"
    rows += f"<tr><th>best member</th>{best}</tr>"
    for name, parts in table.lineup.ensembles.items():
        cells = "".join(
            f"<td>{100 * table.groups[name, g].accuracy.value:.1f}</td>" for g in groups
        )
        rows += (
            f"<tr class=strong><th>{html.escape(name)} of {len(parts)} "
            f"({html.escape(table.lineup.average)})</th>{cells}</tr>"
        )
    return (
        '<p class="note">Accuracy in %.</p><div class="scroll">'
        f'<table class="summary"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _pair(row: Comparison) -> str:
    difference = f"{100 * (row.first - row.second):+.1f}"
    difference = difference.replace("-", "\N{MINUS SIGN}")
    return (
        f"<td{'' if row.agrees else ' class=apart'}>{100 * row.first:.1f}&ensp;"
        f"{100 * row.second:.1f}<small>{difference} (±{100 * row.margin:.1f})</small></td>"
    )


def _tile(name: str, pictures: list[tuple[Cell, np.ndarray]]) -> str:
    label = name.replace("_", " ")
    shown = ", ".join(str(cell.severity) for cell, _ in pictures)
    note = "" if pictures[0][0] == CLEAN else f"severity {shown}"
    strip = "".join(
        picture(image, f"{label} {cell.severity}") for cell, image in pictures
    )
    return _figure(label, f'<div class="strip">{strip}</div>', note)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "–"
    return "–" if value is None else str(value)


def table_sections(
    table: RobustnessTable, samples: Mapping[Cell, np.ndarray] | None
) -> Iterator[Section]:
    """All sections that a table and its samples fill, in the order of a report."""
    yield summary(table)
    if len(table.summary_groups) > 1:
        yield gains(table)
        yield heat_maps(table)
        yield curves(table)
    yield calibration(table)
    if table.diversity:
        yield diversity(table)
    if samples:
        yield sample_pictures(table, samples)
