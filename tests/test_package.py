"""What `import v1keras` alone brings, and what it leaves alone."""

import ast
import graphlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import v1keras

SOURCES = Path(__file__).parents[1] / "v1keras"
REGISTERED = re.compile(
    r'register_keras_serializable\(package="v1keras"\)\nclass (\w+)'
)


def run(program: str, *arguments: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_import_touches_nothing_and_loads_packages_when_they_are_used():
    run("""
import os, sys

environment = dict(os.environ)
os.dup2 = None  # whoever would redirect a file descriptor fails
import v1keras
assert dict(os.environ) == environment
import v1keras.corruptions, v1keras.v1
assert not {"keras", "tensorflow"} & {*sys.modules}
assert {*v1keras.__all__} <= {*dir(v1keras)}
for name in v1keras.__all__:
    getattr(v1keras, name)
assert v1keras.training.TrainConfig and v1keras.RandomCorruption
""")


def test_every_registered_class_is_in_the_table_of_keras():
    names = [
        name
        for file in SOURCES.rglob("*.py")
        for name in REGISTERED.findall(file.read_text(encoding="utf-8"))
    ]
    assert {"VOneBlock", "MeanLogits", "LabelLoss", "L2SGD"} <= {*names}
    for imports in ("import keras, v1keras", "import v1keras, keras"):
        known = run(
            f"import json; {imports}\n"
            "print(json.dumps([*keras.saving.get_custom_objects()]))"
        )
        ours = [name for name in json.loads(known) if name.startswith("v1keras>")]
        assert sorted(ours) == sorted(f"v1keras>{name}" for name in names)


@pytest.mark.parametrize("imports", ["import keras, v1keras", "import v1keras, keras"])
def test_compiled_model_loads_after_the_imports_alone(imports, tmp_path):
    model = v1keras.models.build_classifier(
        "resnet18", num_classes=3, input_shape=(32, 32, 3), width=4, stride=8
    )
    model.compile(
        v1keras.training.L2SGD(0.1, l2=0.5),
        v1keras.models.LabelLoss(),
        [v1keras.models.LabelAccuracy()],
    )
    model.save(tmp_path / "model.keras")
    program = f"""
{imports}
import sys
model = keras.models.load_model(sys.argv[1])
assert "v1keras.training.optimizer" in sys.modules
assert model.optimizer.l2 == 0.5 and model.loss.name == "label_loss"
"""
    run(program, str(tmp_path / "model.keras"))


def test_progress_in_a_file_holds_no_control_characters(tmp_path):
    flags = ["--dataset=shapes:24:24", "--image_size=32", "--corruptions=contrast"]
    command = [sys.executable, "-m", "v1keras.corruptions", *flags]
    finished = subprocess.run(
        [*command, f"--out={tmp_path}/c"], capture_output=True, text=True, check=True
    )
    assert finished.stdout.endswith("/c: 24 images in every cell\n")
    assert not set(finished.stdout + finished.stderr) & {"\b", "\r", "\x1b"}


def test_packages_import_each_other_without_circles():
    graph = {}
    # A command may import anything: nothing imports it.
    for file in set(SOURCES.glob("*/**/*.py")) - set(SOURCES.glob("*/__main__.py")):
        package = file.relative_to(SOURCES).parts[0]
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("v1keras"):
                parts = node.module.split(".")[1:2] or [a.name for a in node.names]
                graph.setdefault(package, set()).update(set(parts) - {package})
    # Raises a CycleError that names the circle.
    order = [*graphlib.TopologicalSorter(graph).static_order()]
    assert order.index("v1") < order.index("layers") < order.index("models")
    assert order.index("training") < order.index("evaluation") < order.index("studies")
