"""The model card: what a version is, what it was made from and how good it is.

Markdown with the front matter that model hubs read, such as Hugging Face's.
"""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import jinja2
import yaml
from markupsafe import Markup

from export.check_images import CLEAN
from export.evaluator import BASELINE, KERAS
from v1keras.escaping import escape_line, escape_markdown, join_lines, say
from v1keras.evaluation.cache import LOGITS, LogitCache
from v1keras.files import file_fingerprint, write_text
from v1keras.reading import read_json, read_table, reading
from v1keras.training import Run
from v1keras.training.run import CONFIG_FILE
from v1keras.v1 import Variant

CARD_FILE = "MODEL_CARD.md"

_CELLS_FILE, _SUMMARY_FILE = "robustness.csv", "summary.csv"
_GROUPS = ("clean", "noise", "blur", "weather", "digital", "mean")
_HEAD_GROUPS = {CLEAN: "clean", "mean": "mean over corruptions"}
_ENDS = ("", "_low", "_high")
_CELL_COLUMNS = {
    "model": str,
    "role": str,
    "corruption": str,
    "severity": int,
    "accuracy": float,
    "low": float | None,
    "high": float | None,
    "expected_calibration_error": float | None,
    "negative_log_likelihood": float | None,
    "brier_score": float | None,
    "images": int,
    "noise_samples": int,
}
# Where things lay on the machine that trained says nothing about the model.
_LOCAL_SETTINGS = ("out", "data_dir", "strategy", "dataset", "members", "variant")
# Those of https://huggingface.co/docs/hub/repositories-licenses that weights often have.
_HUB_LICENSES = (
    "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0", "cc-by-sa-4.0", "cc0-1.0", "gpl-3.0", "mit",
)  # fmt: skip


class _Settings(TypedDict):
    """What is read of the `config.json` of an evaluation."""

    settings: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Robustness:
    """The rows of one model in the tables of an evaluation.

    Args:
        cells: tuple of dict. Rows of `robustness.csv`: one for each corruption and
            severity, and one for clean images.
        summary: dict or None. The row of `summary.csv`, which has the intervals of
            means, where there is such a file.
    """

    cells: tuple[Mapping[str, Any], ...]
    summary: Mapping[str, Any] | None


def read_robustness(
    runs: Sequence[Run], evaluation: str | None = None
) -> Robustness | None:
    """Reads the evaluation of a run, or of an ensemble of runs.

    Args:
        runs: sequence of `Run`. Several are an ensemble.
        evaluation: str or None. A folder of `v1keras.evaluate`, or its
            `robustness.csv`. `None` looks for the file in the folder of a single run,
            where `v1keras.evaluate` leaves it; one that is older than the model is
            left out, which is said.

    Returns:
        `Robustness`, or None where there is none.

    Raises:
        FileNotFoundError: if `evaluation` is not there.
        ValueError: if it says nothing about the runs, or is no evaluation.
    """
    if evaluation is None:
        file = runs[0].path / _CELLS_FILE
        if len(runs) > 1 or not file.is_file():
            return None
        if not runs[0].is_after_model(file):
            say(
                f"{file} is older than the model and not in the card; evaluate the run "
                f"again, or show the table by --evaluation={file}."
            )
            return None
    else:
        file = Path(evaluation)
        file = file / _CELLS_FILE if file.is_dir() else file
    summary = file.with_name(_SUMMARY_FILE)
    remedy = "`evaluation` must be a table of v1keras.evaluate, which writes it anew"
    table = read_table(file, _CELL_COLUMNS, remedy)
    name = _name_in(table, runs, file.parent)
    cells = [row for row in table if row["model"] == name]
    if not any(row["corruption"] == "clean" for row in cells):
        name = runs[0].name if len(runs) == 1 else "an ensemble"
        raise ValueError(
            "`evaluation` must be of the exported model. Received: "
            f"evaluation={file}, which says nothing about {name}"
        )
    means = []
    if summary.is_file():
        groups = {name + end: float | None for name in _GROUPS for end in _ENDS}
        columns = {"model": str, "role": str, "clean": float}
        rows = read_table(summary, columns, remedy, optional=groups)
        means = [row for row in rows if row["model"] == name]
        for group in (name for name in _GROUPS if means and name in means[0]):
            with reading(summary, remedy):
                _ = [means[0][group + end] for end in _ENDS]
    return Robustness(tuple(cells), means[0] if means else None)


def write_card(
    folder: str | os.PathLike,
    name: str,
    metadata: Mapping[str, Any],
    robustness: Robustness | None = None,
) -> None:
    """Writes `MODEL_CARD.md`.

    Args:
        folder: str or path. The version's folder.
        name: str. The name that the model is served by.
        metadata: dict. The content of `metadata.json`.
        robustness: `Robustness` or None. What an evaluation has measured. Defaults to
            `None`: the card then says that there is none.
    """
    runs, accuracy = metadata["runs"], metadata["accuracy"]
    tables = robustness and _robustness(robustness)
    slices = list(next(iter(accuracy.values())))
    formats = {
        "savedmodel": "SavedModel, float32",
        "tflite": f"LiteRT, {metadata['quantize']}",
    }
    values = {
        **metadata,
        "name": name,
        "front_matter": Markup(_front_matter(name, metadata, robustness)),
        "robustness": tables,
        "head_rows": _head_rows(metadata, tables),
        "has_v1": any(run["variant"]["v1"] for run in runs),
        "run_rows": [_run_row(run) for run in runs],
        "run_names": [run["name"] for run in runs],
        "data_rows": list(dict.fromkeys(_data_row(run["data"]) for run in runs)),
        "setting_rows": _setting_rows(runs),
        "taught": [
            (run["name"], [Path(member).name for member in run["settings"]["members"]])
            for run in runs
            if run["settings"].get("members")
        ],
        "slices": slices,
        "check_rows": [
            (source, *(_percent(values[each]) for each in slices))
            for source, values in accuracy.items()
        ],
        "size_rows": [
            (formats[each], f"{size / 1e6:.2f} MB")
            for each, size in metadata["bytes"].items()
        ],
        "time_rows": [
            (each, f"{value:.1f} ms")
            for each, value in metadata["milliseconds"].items()
        ],
        "versions": [f"{each} {v}" for each, v in metadata["versions"].items()],
    }
    card = _TEMPLATES.get_template(CARD_FILE).render(values)
    write_text(Path(folder) / CARD_FILE, re.sub(r"\n{3,}", "\n\n", card))


def _percent(share: float) -> str:
    return f"{share:.1%}"


# Every value of the template is escaped.
_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("export"),
    autoescape=True,
    finalize=escape_markdown,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _front_matter(
    name: str, metadata: Mapping[str, Any], robustness: Robustness | None
) -> str:
    """What model hubs read: licence, tags and results."""
    licence = metadata["license"] or "unknown"
    known = licence.lower() in (*_HUB_LICENSES, "unknown")
    split, results = metadata["checked_on"], []
    if robustness is None:
        checked = next(iter(metadata["accuracy"].values()))
        results = [("Accuracy on clean images", checked["clean"])]
    else:
        split = "test"
        row = robustness.summary or _split(robustness)[0]
        results = [
            (title, row[key])
            for title, key in (
                ("Accuracy on clean images", "clean"),
                ("Accuracy on clean images", "accuracy"),
                ("Mean accuracy under corruption", "mean"),
            )
            if row.get(key) is not None
        ]
    data = join_lines(Path(metadata["runs"][0]["data"]["name"]).name)
    tags = ["image-classification", "robustness"]
    if any(run["variant"]["v1"] for run in metadata["runs"]):
        tags.append("primary-visual-cortex")
    result = {
        "task": {"type": "image-classification", "name": "Image classification"},
        "dataset": {"type": data, "name": data, "split": split},
        "metrics": [
            {"type": "accuracy", "value": round(value, 6), "name": title}
            for title, value in results
        ],
    }
    front = {
        "license": licence.lower() if known else "other",
        **({} if known else {"license_name": join_lines(licence)}),
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": tags,
        "metrics": ["accuracy"],
        "model-index": [{"name": join_lines(name), "results": [result]}],
    }
    return yaml.safe_dump(front, sort_keys=False, allow_unicode=True)


def _head_rows(
    metadata: Mapping[str, Any], tables: Mapping[str, Any] | None
) -> list[tuple[str, str]]:
    """What one must know first: verdict, version, classes, chance and accuracy."""
    count, accuracy = len(metadata["class_names"]), metadata["accuracy"]
    verdict = (
        "fit to be served: every file answers like the Keras model and is right about "
        f"{_percent(metadata['min_accuracy'])} of clean images or more"
    )
    if BASELINE in accuracy:
        loss = metadata["max_loss"]
        allowed = f" by more than {100 * loss:g} points" if loss else ""
        verdict += f", and none is worse than the baseline{allowed} beyond chance"
    files = ", ".join(
        f"{source} {_percent(shares[CLEAN])}"
        for source, shares in accuracy.items()
        if source not in (KERAS, BASELINE)
    )
    on = f"{metadata['images']} {metadata['checked_on']} images"
    rows = [("accuracy of the files", f"{files} of {on}")]
    if tables is not None:
        rows = [
            (
                f"accuracy on {tables['images']} test images, {_HEAD_GROUPS[group]}",
                share,
            )
            for group, share in tables["groups"]
            if group in _HEAD_GROUPS
        ] + rows
    return [
        ("verdict", verdict),
        *(("warning", text) for text in metadata["warnings"]),
        ("version", str(metadata["version"])),
        ("date", metadata["created"]),
        ("classes", str(count)),
        ("chance", _percent(1 / count)),
        *rows,
    ]


def _run_row(run: Mapping[str, Any]) -> tuple[str, ...]:
    variant, settings = run["variant"], run["settings"]
    backbone = f"{settings.get('arch', '-')}, width {settings.get('width', '-')}"
    if not variant["v1"]:
        return run["name"], variant["name"], backbone, "-", "-", "-"
    low, high = Variant(**run.get("v1", run)["variant"]).sf_range
    return (
        run["name"],
        variant["name"],
        backbone,
        f"{low:g} to {high:g} cycles/degree",
        f"{variant['simple_channels']} simple, {variant['complex_channels']} complex",
        f"gain {variant['noise_gain']:g} in training",
    )


def _data_row(data: Mapping[str, Any]) -> tuple[str, ...]:
    sizes = ", ".join(
        f"{count} {name}" for name, count in data.get("sizes", {}).items()
    )
    return Path(data["name"]).name, sizes or "-", data.get("fingerprint") or "-"


def _setting_rows(runs: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """One row per setting that a run has, one column per run."""
    settings = [
        {
            name: ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            for name, value in run["settings"].items()
            if name not in _LOCAL_SETTINGS and value is not None
        }
        for run in runs
    ]
    names = sorted({name for each in settings for name in each})
    return [(name, *(each.get(name, "-") for each in settings)) for name in names]


def _robustness(robustness: Robustness) -> dict[str, Any]:
    """The figures of an evaluation, as rows of text."""
    clean, corrupted = _split(robustness)
    summary = robustness.summary
    severities = sorted({row["severity"] for row in corrupted})
    cells = {
        (row["corruption"], row["severity"]): _interval(row, "", "accuracy")
        for row in corrupted
    }
    return {
        "images": clean["images"],
        "draws": clean["noise_samples"],
        "groups": [
            (group, _interval(summary, f"{group}_", group))
            for group in _GROUPS
            if summary.get(group) is not None
        ]
        if summary
        else [("clean", _interval(clean, "", "accuracy"))],
        "severities": ["corruption", *(f"severity {level}" for level in severities)],
        "corruptions": [
            (name, *(cells.get((name, level), "-") for level in severities))
            for name in dict.fromkeys(row["corruption"] for row in corrupted)
        ],
        "calibration": [
            (label, _mean([clean], key), _mean(corrupted, key))
            for label, key in (
                ("expected calibration error", "expected_calibration_error"),
                ("negative log-likelihood", "negative_log_likelihood"),
                ("Brier score", "brier_score"),
            )
        ],
    }


def _split(
    robustness: Robustness,
) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    """The row of clean images, and those of corrupted ones."""
    clean = [row for row in robustness.cells if row["corruption"] == "clean"]
    return clean[0], [row for row in robustness.cells if row["corruption"] != "clean"]


def _name_in(
    rows: Sequence[Mapping[str, Any]], runs: Sequence[Run], folder: Path
) -> str | None:
    """What a table calls a run, or the ensemble of runs; None if it is of others.

    An evaluation knows the weights that it is of. A table alone, such as the one that
    is left in a run, has names only: the end of the run's path, as much as tells it from
    others of that evaluation.
    """
    roles = {row["model"]: row["role"] for row in rows}
    ensembles = [name for name, role in roles.items() if role == "ensemble"]
    models = [name for name in roles if name not in ensembles]
    if not LogitCache.exists(folder / LOGITS):
        if len(runs) > 1:
            return next(iter(ensembles), None)
        place = Path(escape_line(str(runs[0].path.resolve()))).parts
        found = [
            name
            for name in models
            if place[-len(Path(name).parts) :] == Path(name).parts
        ]
        return max(found, key=len, default=None)
    weights = LogitCache.open(folder / LOGITS).fingerprints
    exported = [file_fingerprint(run.find_model()) for run in runs]
    if len(runs) > 1:
        members = _ensemble_members(folder) or [
            name for name, role in roles.items() if role == "member"
        ]
        measured = [weights[name] for name in members if name in weights]
        return next(iter(ensembles), None) if set(exported) == set(measured) else None
    return next((name for name in models if weights.get(name) in exported), None)


def _ensemble_members(folder: Path) -> list[str]:
    """The members that an evaluation was given, if it was given any."""
    if not (folder / CONFIG_FILE).is_file():
        return []
    remedy = "evaluate the models again"
    settings = read_json(folder / CONFIG_FILE, _Settings, remedy)["settings"]
    return list(settings.get("ensemble_members") or ())


def _interval(row: Mapping[str, Any], prefix: str, key: str) -> str:
    value, low, high = row[key], row[f"{prefix}low"], row[f"{prefix}high"]
    if value is None:
        return "-"
    text = _percent(value)
    if low is not None and high is not None:
        text += f" [{_percent(low)}, {_percent(high)}]"
    return text


def _mean(rows: Sequence[Mapping[str, Any]], key: str) -> str:
    values = [row[key] for row in rows if row[key] is not None]
    return f"{sum(values) / len(values):.3f}" if values else "-"
