"""The models of a report: what each is and costs, how it was trained, its V1."""

from collections.abc import Iterator, Mapping

from v1keras.evaluation.costs import Cost
from v1keras.evaluation.report.blocks import (
    Heading,
    Panel,
    Panels,
    Section,
    Table,
    TableCell,
)
from v1keras.evaluation.report.curves import training_curves
from v1keras.evaluation.report.order import is_strong
from v1keras.evaluation.report.palette import colour_class
from v1keras.evaluation.report.wording import NONE, number, percent
from v1keras.evaluation.robustness import RobustnessTable
from v1keras.training import Run

_CURVES = (
    ("validation accuracy, %", "val_accuracy", 100.0),
    ("training loss", "loss", 1.0),
)


def models_section(
    table: RobustnessTable, runs: Mapping[str, Run], costs: Mapping[str, Cost]
) -> Section:
    """The legend: colour, description and costs of each model.

    Args:
        table: `RobustnessTable`.
        runs: mapping from model to `Run`; models of other names are not described.
        costs: mapping from each model and ensemble to its `Cost`, or an empty one.

    Returns:
        `Section`.
    """
    whole = next(iter(table.lineup.ensembles), None) if costs else None
    head: list[str | TableCell] = ["model"]
    if whole:
        head.append(f"of {whole}")
    if costs:
        tip = "Floating-point operations an image; multiplying and adding are two"
        head += [
            TableCell("ms", tip="Shortest time of one image by itself"),
            TableCell("MFLOPs", tip=tip),
            "parameters",
            "size",
        ]
    head.append(TableCell("what it is", style="text"))
    rows = tuple(
        (
            TableCell(
                model,
                "" if table.roles[model] == "member" else table.roles[model],
                style="strong" if is_strong(table, model) else "",
                colour=colour_class(table, model),
            ),
            *(_cost_cells(costs[model], costs.get(whole)) if costs else ()),
            TableCell(_description(table, runs, model), style="text"),
        )
        for model in table.models
    )
    note = "Names and colours are the same in all charts; plain CNNs are grey."
    if costs:
        device = next(iter(costs.values())).device
        note += (
            f" Operations and milliseconds ({device}) are of one image, which an ensemble "
            "shows to each of its members."
        )
    if whole:
        note += f" The first column is their operations relative to {whole}."
    return Section("Models", (note, Table(tuple(head), rows)))


def _cost_cells(cost: Cost, whole: Cost | None) -> Iterator[str | TableCell]:
    if whole:
        yield f"{percent(cost.operations / whole.operations, 0)} %"
    yield number(cost.milliseconds)
    yield number(cost.operations / 1e6)
    yield f"{cost.parameters:,}".replace(",", "\N{THIN SPACE}")
    yield f"{cost.bytes / 1e6:.1f} MB"


def _description(table: RobustnessTable, runs: Mapping[str, Run], model: str) -> str:
    if model in table.lineup.ensembles:
        parts = table.lineup.ensembles[model]
        how = f"mean of the {table.lineup.average} of {len(parts)}"
        return f"{how}: {', '.join(parts)}"
    return "; ".join(_traits(runs[model])) if model in runs else ""


def _traits(run: Run) -> Iterator[str]:
    """What stands before the CNN of a run, in few words."""
    variant = run.variant
    if run.config["kind"] == "student":
        yield "taught by an ensemble"
    if variant.is_plain:
        yield "plain CNN"
    if variant.light_adaptation:
        yield "light adaptation"
    if variant.subcortical != "none":
        yield f"subcortical stage, noise × {variant.subcortical_noise_gain:g}"
    if variant.lgn_to_v2:
        yield "its channels bypass V1 too"
    if variant.contrast_normalization:
        yield "contrast normalisation"
    if run.v1 is None:
        return
    yield "V1 of {:g}–{:g} cycles/degree".format(*run.v1["variant"].sf_range)
    counts = {"simple": variant.simple_channels, "complex": variant.complex_channels}
    yield ", ".join(f"{n} {kind}" for kind, n in counts.items() if n)
    if variant.balanced:
        yield "balanced kernels"
    if variant.push_pull:
        yield f"push-pull × {variant.push_pull:g}"
    if variant.divisive_normalization != "none":
        yield f"divided by {variant.divisive_normalization} cells"
    yield f"noise × {variant.noise_gain:g}" if variant.noise_gain else "no noise"


def training_section(table: RobustnessTable, runs: Mapping[str, Run]) -> Section:
    """What the training of each run took and reached, and the V1 settings in force."""
    rows = []
    for name, run in runs.items():
        result = run.config.get("result") or {}
        seconds = result.get("seconds")
        rows.append(
            (
                name,
                f"{run.config['settings'].get('epochs', NONE)}",
                f"{result.get('best_epoch', NONE)}",
                f"{percent(result['validation_accuracy'])} %" if result else NONE,
                NONE if seconds is None else f"{seconds / 60:.1f} min",
            )
        )
    head = ("run", "epochs", "best", "validation accuracy", "time")
    blocks: list[str | Heading | Table | Panels] = [
        _chosen_on(min(runs.values(), key=lambda run: run.is_converted)),
        Table(head, tuple(rows)),
    ]
    histories = {name: run.history for name, run in runs.items() if run.history}
    curves = tuple(
        Panel(title, training_curves(table, there, column, scale=scale))
        for title, column, scale in _CURVES
        if (there := {n: h for n, h in histories.items() if column in h})
    )
    if curves:
        blocks += [
            "Each epoch of each run; a dot where the validation accuracy is best, which "
            "is the model that was evaluated.",
            Panels(curves),
        ]
    settings = tuple(_v1_row(name, run) for name, run in runs.items() if run.v1)
    if settings:
        blocks += [
            Heading("V1 settings in force"),
            "Image, kernel and stride in pixels. Noise scale, level and factor are those "
            "of VOneBlock.",
            Table(_V1_HEAD, settings),
        ]
    return Section("Training", tuple(blocks))


_V1_HEAD = (
    "run", "cycles/degree", "image", "degrees", "kernel", "stride", "gain",
    "noise scale", "noise level", "noise ×",
)  # fmt: skip


def _v1_row(name: str, run: Run) -> tuple[str, ...]:
    v1 = run.v1
    low, high = v1["variant"].sf_range
    numbers = (
        v1["image_size"], v1["visual_degrees"], v1["kernel_size"], v1["stride"],
        v1["k_exc"], v1["noise_scale"], v1["noise_level"], v1["variant"].noise_gain,
    )  # fmt: skip
    return name, f"{low:g}–{high:g}", *(f"{value:g}" for value in numbers)


def _chosen_on(run: Run) -> str:
    """On what the best epochs were chosen, in words."""
    if run.is_converted:
        return "The models were trained by others, and converted."
    sizes = run.config["data"].get("sizes")
    if run.config["settings"].get("validation_source") == "test":
        return "The best epoch was chosen on the test images, as in the paper."
    if sizes is None:
        return "The best epoch was chosen on held-out training images."
    return (
        f"{sizes['train']} training images. The best epoch was chosen on "
        f"{sizes['validation']} held-out training images; the test images took no part "
        "in it."
    )
