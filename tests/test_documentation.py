"""What the documentation shows is true: examples run, commands parse, links resolve."""

import ast
import configparser
import dataclasses
import doctest
import importlib
import itertools
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import nbformat
import numpy as np
import pytest
from markdown_it import MarkdownIt

import v1keras
from v1keras import command_line, studies
from v1keras.data import draw_shapes

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*ROOT.glob("v1keras/**/*.py"), *ROOT.glob("export/**/*.py")])
TUTORIALS = ROOT / "docs" / "tutorials"
PAGES = sorted(
    [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *TUTORIALS.glob("*.ipynb")]
)
# What an example may use without saying so.
NAMES = {"v1keras": v1keras, "keras": keras, "np": np, "dataclasses": dataclasses}
# Where the dataclass behind the flags of each command is.
COMMANDS = {
    "v1keras.train": "v1keras.training:TrainConfig",
    "v1keras.distill": "v1keras.training:DistillConfig",
    "v1keras.convert": "v1keras.training:ConvertConfig",
    "v1keras.evaluate": "v1keras.evaluation:EvaluateConfig",
    "v1keras.predict": "v1keras.prediction:PredictConfig",
    "v1keras.study": "v1keras.studies:StudyConfig",
    "v1keras.choose": "v1keras.studies:ChooseConfig",
    "v1keras.recommend": "v1keras.studies:RecommendConfig",
    "v1keras.ablate": "v1keras.studies:AblationConfig",
    "v1keras.corruptions": "v1keras.corruptions.config:CorruptionsConfig",
    "export": "export.config:ExportConfig",
    "export list": "export.config:VersionsConfig",
    "export undo": "export.config:VersionsConfig",
    "export rollback": "export.config:RollbackConfig",
    "export diff": "export.config:DiffConfig",
    "export verify": "export.config:VerifyConfig",
    "export.server": "export.server:ServerConfig",
    "export.client": "export.client:ClientConfig",
    "export.serve": "export.serve:ServeConfig",
}
SLOW = ("train", "distill", "run_study", "export_run")
# Stands before a block of code that is not run, and says why.
NOT_RUN = "<!-- not run: "
# Settings that make a command small; the last one of a flag counts.
SMALL = """#!/bin/bash
case "$2" in
  v1keras.train | v1keras.distill) small="--width=4 --stride=16 --epochs=1" ;;
  v1keras.evaluate) small="--corruptions=fog --max_images=6 --bootstrap=20" ;;
  export) small="--min_accuracy=0.01 --images=6" ;;
  export.client | v1keras.study) exit 0 ;; # No server runs here; no second chain.
esac
exec "$PYTHON" "$@" $small
"""
# Every program that a page calls notes its arguments, one a line, and does nothing.
# Under a lock: bash writes line by line, and some scripts start programs side by side.
NOTE = '#!/bin/bash\nexec 9>> "$NOTES"\nflock 9\nprintf "%s\\n" "$@" "" >&9\n'


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """The Markdown of a page, or of the cells of a notebook."""
    if page.suffix == ".md":
        return page.read_text(encoding="utf-8")
    cells = nbformat.read(page, as_version=4).cells
    return "\n\n".join(c.source for c in cells if c.cell_type == "markdown")


def tokens(page: Path) -> list:
    return MarkdownIt("commonmark").enable("table").parse(prose(page))


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """The line number and the code of each block of a page that is to be run."""
    parsed = tokens(page)
    return [
        (token.map[0] + 1, token.content)
        for before, token in itertools.pairwise([None, *parsed])
        if token.type == "fence"
        and token.info == language
        and not (before and before.content.startswith(NOT_RUN))
    ]


def docstring_examples() -> list:
    """Every docstring with an example, found without importing its module."""
    found = []
    for file in SOURCES:
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                continue
            docstring = ast.get_docstring(node)
            if docstring and ">>>" in docstring:
                of = getattr(node, "name", "__doc__")
                name = f"{module}.{of}"
                marks = [pytest.mark.slow] if of in SLOW else []
                found.append(
                    pytest.param(module, name, docstring, id=name, marks=marks)
                )
    return found


@pytest.fixture
def example_folder(tmp_path, golden_dir, monkeypatch):
    """The current folder of an example; `runs/` holds small trained runs."""
    shutil.copytree(golden_dir / "saved_by_0.1.0" / "runs", tmp_path / "runs")
    (tmp_path / "runs" / "member").rename(tmp_path / "runs" / "low_noise")
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    return tmp_path


@pytest.mark.parametrize(("module", "name", "docstring"), docstring_examples())
def test_a_docstring_example_runs(module, name, docstring, example_folder):
    names = {**vars(importlib.import_module(module)), **NAMES}
    example = doctest.DocTestParser().get_doctest(docstring, names, name, name, 0)
    report = []
    runner = doctest.DocTestRunner(
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    )
    result = runner.run(example, out=report.append)
    assert not result.failed, "".join(report)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=page_id)
def test_the_python_of_a_page_runs(page, example_folder):
    names = dict(NAMES)
    for line, code in blocks(page, "python"):
        # Blank lines, so that a traceback names the line of the page.
        exec(compile("\n" * line + code, page, "exec"), names)


def run_script(folder: Path, script: str, programs: dict[str, str], **variables):
    """Runs a script for which these are the only programs; others do nothing."""
    for name, text in programs.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(0o755)
    script = f"command_not_found_handle() {{ :; }}\n{script}"
    finished = subprocess.run(
        [shutil.which("bash"), "-e", "-c", script],
        cwd=folder,
        env={
            "HOME": str(folder),
            "PATH": str(folder / "bin"),
            "PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT),
            **{name: str(value) for name, value in variables.items()},
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "bash")], ids=page_id)
def test_the_commands_of_a_page_parse(page, tmp_path, capsys):
    # The blocks of a page are one story: a variable of the first serves the last.
    script = "".join(code for _, code in blocks(page, "bash"))
    programs = {"bin/python", *re.findall(r"[\w.-]+/bin/\w+", script)}
    (notes := tmp_path / "notes").touch()
    run_script(tmp_path, script, dict.fromkeys(programs, NOTE), NOTES=notes)
    for call in notes.read_text(encoding="utf-8").split("\n\n"):
        config_class, flags = config_and_flags(call.strip().split("\n"))
        if config_class is None:
            continue
        parsed = []
        code = command_line.run(
            parsed.append, config_class, flags, prog="", description=""
        )
        assert code == 0, f"{call}\n{capsys.readouterr().err}"
        assert len(parsed) == 1


@pytest.mark.parametrize("script", ["shell.sh", "slurm.sh"])
def test_the_scripts_for_clusters_run_studies(script, tmp_path):
    (notes := tmp_path / "notes").touch()
    programs = {"bin/python": NOTE, "bin/srun": '#!/bin/bash\n"$@"\n'}
    command = f"bash {ROOT / 'docs' / 'cluster' / script} --preset=quick --out=x"
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    run_script(tmp_path, command, programs, NOTES=notes, GPUS=2, PATH=path)
    calls = notes.read_text(encoding="utf-8").strip().split("\n\n")
    expected = ["-m", "v1keras.study", "--preset=quick", "--out=x"]
    # One for each GPU, and a last one.
    assert [call.split("\n") for call in calls] == [expected] * (
        3 if script == "shell.sh" else 1
    )


def test_the_job_for_kubernetes_runs_a_study(capsys):
    job = (ROOT / "docs" / "cluster" / "kubernetes.yaml").read_text(encoding="utf-8")
    assert 'command: ["python", "-m", "v1keras.study"]' in job
    flags = re.findall(r"^ +- (--.+)$", job, re.MULTILINE)
    configs = []
    code = command_line.run(
        configs.append, studies.StudyConfig, flags, prog="", description=""
    )
    assert code == 0, capsys.readouterr().err
    # A pod for each training but the student's.
    count = len(configs[0].trainings())
    assert f"completions: {count}\n" in job and f"parallelism: {count}\n" in job


def config_and_flags(arguments: list[str]) -> tuple[type | None, list[str]]:
    """The configuration of a call of Python, None if it is not a command of ours."""
    script, *flags = arguments
    if (ROOT / script).suffix == ".py":
        names = runpy.run_path(str(ROOT / script))
        return next(names[n] for n in names if n.endswith("Config")), flags
    if script != "-m" or not flags[0].startswith(("v1keras", "export")):
        return None, flags
    command, *flags = flags
    if flags and not flags[0].startswith("-"):  # A verb.
        command += f" {flags.pop(0)}"
    module, _, name = COMMANDS[command].partition(":")
    return getattr(importlib.import_module(module), name), flags


@pytest.mark.slow
def test_the_story_of_the_readme_runs(tmp_path):
    images, labels = draw_shapes(60, image_size=80, seed=0)
    for index, (image, label) in enumerate(zip(images, labels % 2, strict=True)):
        folder = tmp_path / "photos" / ("cat", "dog")[label]
        folder.mkdir(parents=True, exist_ok=True)
        # Sizes and shapes differ, as photographs do.
        keras.utils.save_img(folder / f"{index}.jpg", image[: 64 + index % 16])
    run_script(tmp_path, readme_story(), {"bin/python": SMALL})
    assert (tmp_path / "evaluation" / "report.html").is_file()
    assert "student" in (tmp_path / "serving" / "models.config").read_text()
    (exported,) = (tmp_path / "serving" / "student").glob("*/model.tflite")
    assert exported.stat().st_size > 10_000


def readme_story() -> str:
    """The commands of the README that begin with a folder of photographs."""
    page = ROOT / "README.md"
    start = page.read_text(encoding="utf-8").split("\n## Use it")[0].count("\n")
    return "".join(code for line, code in blocks(page, "bash") if line > start)


@pytest.mark.slow
def test_the_notebook_runs_and_shows_what_it_did(tmp_path):
    names = runpy.run_path(str(TUTORIALS / "run.py"))
    ran = names["run"](tmp_path)
    assert (tmp_path / "evaluation" / "report.html").is_file()
    # What is in the repository was shown by these cells, and is small.
    kept = nbformat.read(names["NOTEBOOK"], as_version=4)
    assert kinds_of_output(kept) == kinds_of_output(ran)
    assert names["NOTEBOOK"].stat().st_size < 200_000


def kinds_of_output(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """Of each cell of code, whether it prints, shows pictures, ..."""
    return [
        [next(iter(output.get("data", {"text": ""}))) for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_every_dependency_is_explained():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    packages = settings["options"]["install_requires"].split()
    first = {
        row.split("|")[1].strip(" `")
        for row in (ROOT / "docs" / "dependencies.md").read_text().splitlines()
        if row.startswith("|")
    }
    assert {re.match(r"[\w-]+", package)[0] for package in packages} <= first
    assert {*settings["options.extras_require"]} <= first


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_the_links_of_a_page_resolve(page):
    inline = [child for token in tokens(page) for child in token.children or ()]
    targets = [c.attrs.get("href", c.attrs.get("src")) for c in inline if c.attrs]
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    headings = [
        text.content
        for token, text in itertools.pairwise(tokens(page))
        if token.type == "heading_open"
    ]
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=page_id)
def test_prose_is_wrapped_at_100_columns(page):
    lines = prose(page).splitlines()
    wrapped = [
        line
        for token in tokens(page)
        if token.type in ("paragraph_open", "heading_open")
        for line in lines[slice(*token.map)]
    ]
    assert [x for x in wrapped if len(x) > 100 and not x.startswith("![")] == []
