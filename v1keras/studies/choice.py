"""The choice of an ensemble among runs, on images that none was trained on."""

import dataclasses
from pathlib import Path
from typing import Any

from v1keras.escaping import escape_line
from v1keras.evaluation import CLEAN
from v1keras.evaluation.cells import MEAN
from v1keras.evaluation.members import MemberAnalysis, analyse_members
from v1keras.evaluation.runs import open_runs
from v1keras.evaluation.tables import write_csv
from v1keras.files import claim, write_json
from v1keras.studies.config import ChooseConfig
from v1keras.studies.measure import measure_held_out_images, open_held_out
from v1keras.training.strategy import works_alone

_CHOICE_FILE = "choice.json"


@dataclasses.dataclass(frozen=True)
class Choice:
    """The members that were chosen, and what the choice rests on.

    Args:
        members: tuple of str. Their names, in the order in which they help.
        analysis: `MemberAnalysis` of all runs.
    """

    members: tuple[str, ...]
    analysis: MemberAnalysis


@works_alone("chooses an ensemble")
def choose_ensemble(config: ChooseConfig) -> Choice:
    """Chooses the members of an ensemble among runs.

    Starting from the best run, the one is added that the ensemble gains most from in
    mean corrupted accuracy, and the first best of these ensembles is chosen
    (Caruana et al. 2004, without replacement). Images are those that all runs held out
    from training, corrupted here, so that test images decide nothing. Writes
    `choice.json`, `members.csv` and cached logits. A second call computes only what is
    missing; runs may be added.

    Args:
        config: `ChooseConfig`.

    Returns:
        `Choice`.

    Raises:
        FileNotFoundError: if a run or the data are missing.
        FileExistsError: if `config.out` holds something else.
        ValueError: if runs differ in classes, or held out no common images.

    Example:

    >>> config = v1keras.studies.ChooseConfig(
    ...     models=("runs/base", "runs/low_noise"), images=8, out="choice"
    ... )
    >>> choice = v1keras.studies.choose_ensemble(config)
    base, low_noise: on held-out training images
    ...
    >>> set(choice.members) <= {"base", "low_noise"}
    True
    """
    out = Path(config.out)
    runs = open_runs(config.models)
    settings = {
        name: getattr(config, name)
        for name in ("select_on", "images", "noise_samples", "seed")
    }
    claim(out, _CHOICE_FILE, {"settings": settings}, what="choice")
    dataset = open_held_out(config, runs)
    write_json(out / _CHOICE_FILE, {"settings": settings, "members": None})
    cache, images = measure_held_out_images(
        config, dataset, runs, folder="logits", max_images=config.images
    )
    analysis = analyse_members(cache, list(runs), images.cells, average=config.average)
    means = [accuracies[MEAN] for _, accuracies in analysis.greedy]
    sizes = range(1, min(len(means), config.max_members or len(means)) + 1)
    size = max(sizes, key=lambda n: means[n - 1])
    choice = Choice(tuple(name for name, _ in analysis.greedy[:size]), analysis)
    write_csv(out / "members.csv", _rows(choice))
    result = {
        "members": [str(runs[name].path) for name in choice.members],
        "average": config.average,
        "corruptions": sorted({c.corruption for c in images.cells if c != CLEAN}),
        "images": analysis.images,
    }
    write_json(out / _CHOICE_FILE, {"settings": settings, **result})
    return choice


def format_choice(choice: Choice) -> str:
    """The steps of a choice as lines of text, accuracies in %."""
    analysis = choice.analysis
    width = max(len(escape_line(each)) for each in (*analysis.members, "member")) + 2
    titles = [
        f"{'member':{width}}",
        f"{'alone':>8}",
        *(f"{g:>9}" for g in analysis.groups),
    ]
    lines = ["".join(titles)]
    for row in _rows(choice):
        mark = "+" if row["chosen"] else " "
        cells = [f"{100 * row[group]:9.1f}" for group in analysis.groups]
        alone = f"{100 * row['alone']:8.1f}"
        lines.append(
            "".join([f"{mark} {escape_line(row['member']):{width - 2}}", alone, *cells])
        )
    return "\n".join(lines)


def _rows(choice: Choice) -> list[dict[str, Any]]:
    """One row per step: the member, its own mean, and the ensemble so far."""
    analysis = choice.analysis
    return [
        {
            "step": step,
            "member": name,
            "chosen": name in choice.members,
            "alone": round(analysis.alone[name, MEAN], 4),
            **{group: round(accuracies[group], 4) for group in analysis.groups},
        }
        for step, (name, accuracies) in enumerate(analysis.greedy, start=1)
    ]
