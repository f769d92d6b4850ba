"""What each member adds to an ensemble, as a part of a report."""

import html

from v1keras.evaluation.members import MemberAnalysis
from v1keras.evaluation.robustness import MEAN
from v1keras.evaluation.sections import Section

# In CSS pixels: the column of names, the longest bars, a row.
_NAMES, _BARS, _ROW, _NUMBER = 110, 90, 21, 46


def member_section(analysis: MemberAnalysis, images: str) -> Section:
    """Charts of contributions and the table of the greedy order.

    Args:
        analysis: `MemberAnalysis`.
        images: str. What images it was made on, for the reader.

    Returns:
        `Section`.
    """
    charts = "".join(
        f"<figure><figcaption>{html.escape(group)}</figcaption>"
        f"{_bars(analysis, group)}</figure>"
        for group in (MEAN, *(g for g in analysis.groups if g != MEAN))
    )
    return Section(
        "What each member adds",
        f'<p class="note">Measured on {html.escape(images)}. Bars: how many percentage '
        "points of accuracy the ensemble loses when one member is left out; negative "
        "where it is better off without.</p>"
        f'<div class="grid">{charts}</div>{_greedy_table(analysis)}',
    )


def _bars(analysis: MemberAnalysis, group: str) -> str:
    """Horizontal bars of one group, members by their contribution."""
    points = {
        (m, g): 100 * analysis.contribution(m, g)
        for m in analysis.members
        for g in analysis.groups
    }
    # One scale for all groups, so that charts can be compared.
    scale = _BARS / max(max(map(abs, points.values())), 0.1)
    zero = _NAMES + _NUMBER + _BARS
    rows = []
    order = sorted(analysis.members, key=lambda m: -points[m, group])
    for row, member in enumerate(order):
        value = points[member, group]
        length = abs(value) * scale
        left = zero - length if value < 0 else zero
        end, anchor = (left - 5, "end") if value < 0 else (zero + length + 5, "start")
        middle = row * _ROW + _ROW / 2
        text = f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")
        rows.append(
            f'<text x="{_NAMES - 6}" y="{middle + 4}" text-anchor="end">'
            f"{html.escape(member)}</text>"
            f'<rect x="{left:.1f}" y="{middle - 6.5}" width="{length:.1f}" height="13" '
            f'style="fill:var(--step-{2 if value < 0 else 8})"/>'
            f'<text x="{end:.1f}" y="{middle + 4}" text-anchor="{anchor}">{text}</text>'
        )
    height = _ROW * len(order)
    width = zero + _BARS + _NUMBER
    title = f"Percentage points that each member adds, {html.escape(group)}"
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}" '
        'style="font-size:11px;fill:currentColor;width:100%;height:auto">'
        f'{"".join(rows)}<line x1="{zero}" x2="{zero}" y1="0" y2="{height}" '
        'style="stroke:currentColor"/></svg>'
    )


def _greedy_table(analysis: MemberAnalysis) -> str:
    head = "".join(f"<th>{html.escape(group)}</th>" for group in analysis.groups)
    rows = "".join(
        f'<tr><th scope="row">{step}. {html.escape(member)}</th>'
        + "".join(f"<td>{100 * result[group]:.1f}</td>" for group in analysis.groups)
        + "</tr>"
        for step, (member, result) in enumerate(analysis.greedy, start=1)
    )
    return (
        '<h3 style="margin-top:22px">Built up greedily</h3><p class="note">Accuracy in % '
        "of the ensemble of the members so far; each step adds the one that helps the "
        "mean most.</p>"
        '<div class="scroll"><table class="summary"><thead><tr><th>member</th>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
