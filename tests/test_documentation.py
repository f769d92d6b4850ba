"""What the documentation shows is true: examples run, commands parse, links resolve."""

import ast
import dataclasses
import doctest
import importlib
import re
import shutil
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest

import v1keras
from v1keras import command_line

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*ROOT.glob("v1keras/**/*.py"), *ROOT.glob("export/**/*.py")])
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
# What an example may use without saying so.
NAMES = {"v1keras": v1keras, "keras": keras, "np": np, "dataclasses": dataclasses}
# Where the dataclass behind the flags of each command is.
COMMANDS = {
    "v1keras.train": "v1keras.training:TrainConfig",
    "v1keras.distill": "v1keras.training:DistillConfig",
    "v1keras.evaluate": "v1keras.evaluation:EvaluateConfig",
    "v1keras.study": "v1keras.studies:StudyConfig",
    "v1keras.ablate": "v1keras.studies:AblationConfig",
    "v1keras.corruptions": "v1keras.corruptions.config:CorruptionsConfig",
    "export": "export.config:ExportConfig",
    "export --rollback": "export.config:RollbackConfig",
    "export.server": "export.server:ServerConfig",
    "export.client": "export.client:ClientConfig",
}
SLOW = ("train", "distill", "run_study", "export_run")
# A block of code; the comment before it says why it is not run, where it is not.
BLOCK = re.compile(
    r"^(?P<skip><!-- not run: [^\n]+ -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# Every program that a page calls notes its arguments, one a line, and does nothing.
NOTE = '#!/bin/bash\nprintf "%s\\n" "$@" "" >> "$NOTES"\n'


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """The line number and the code of each block of a page that is to be run."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, match.start("code")) + 1, match["code"])
        for match in BLOCK.finditer(text)
        if match["language"] == language and not match["skip"]
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
def workplace(tmp_path, golden_dir, monkeypatch):
    """The current folder of an example; `runs/` holds small trained runs."""
    shutil.copytree(golden_dir / "saved_by_0.1.0" / "runs", tmp_path / "runs")
    (tmp_path / "runs" / "member").rename(tmp_path / "runs" / "low_noise")
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    return tmp_path


@pytest.mark.parametrize(("module", "name", "docstring"), docstring_examples())
def test_a_docstring_example_runs(module, name, docstring, workplace):
    names = {**vars(importlib.import_module(module)), **NAMES}
    example = doctest.DocTestParser().get_doctest(docstring, names, name, name, 0)
    report = []
    runner = doctest.DocTestRunner(
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    )
    result = runner.run(example, out=report.append)
    assert not result.failed, "".join(report)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=page_id)
def test_the_python_of_a_page_runs(page, workplace):
    names = dict(NAMES)
    for line, code in blocks(page, "python"):
        # Blank lines, so that a traceback names the line of the page.
        exec(compile("\n" * (line - 1) + code, page, "exec"), names)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "bash")], ids=page_id)
def test_the_commands_of_a_page_parse(page, tmp_path, capsys):
    # The blocks of a page are one story: a variable of the first serves the last.
    script = "command_not_found_handle() { :; }\n"
    script += "".join(code for _, code in blocks(page, "bash"))
    for program in {"bin/python", *re.findall(r"[\w.-]+/bin/\w+", script)}:
        file = tmp_path / program
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(NOTE, encoding="utf-8")
        file.chmod(0o755)
    notes = tmp_path / "notes"
    notes.touch()
    subprocess.run(
        [shutil.which("bash"), "-e", "-c", script],
        cwd=tmp_path,
        env={"PATH": str(tmp_path / "bin"), "NOTES": str(notes)},
        check=True,
    )
    for call in notes.read_text(encoding="utf-8").split("\n\n"):
        arguments = call.strip().split("\n")
        if arguments[0] != "-m" or arguments[1].split(".")[0] not in (
            "v1keras",
            "export",
        ):
            continue
        _, command, *flags = arguments
        if "--rollback" in flags:
            flags.remove("--rollback")
            command += " --rollback"
        module, _, name = COMMANDS[command].partition(":")
        config_class = getattr(importlib.import_module(module), name)
        configs = []
        code = command_line.run(
            configs.append, config_class, flags, prog=command, description=""
        )
        assert code == 0, f"{call}\n{capsys.readouterr().err}"
        assert len(configs) == 1


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_the_links_of_a_page_resolve(page):
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=page_id)
def test_prose_is_wrapped_at_100_columns(page):
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    assert [
        line
        for line in text.splitlines()
        if len(line) > 100 and not line.startswith(("|", "!["))
    ] == []
