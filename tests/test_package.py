"""What `import v1keras` alone brings."""

import json
import re
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "v1keras"
REGISTERED = re.compile(
    r'register_keras_serializable\(package="v1keras"\)\nclass (\w+)'
)


def test_layers_models_losses_and_metrics_are_registered():
    names = [
        name
        for folder in ("layers", "models", "corruptions")
        for file in (SOURCES / folder).glob("*.py")
        for name in REGISTERED.findall(file.read_text(encoding="utf-8"))
    ]
    assert {"VOneBlock", "MeanLogits", "LabelLoss", "RandomCorruption"} <= {*names}
    program = (
        "import json, sys, keras, v1keras\n"
        "known = keras.saving.get_registered_object\n"
        "names = json.loads(sys.argv[1])\n"
        "print(json.dumps([n for n in names if known(f'v1keras>{n}') is None]))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program, json.dumps(names)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(finished.stdout) == []


def test_progress_in_a_file_holds_no_control_characters(tmp_path):
    flags = ["--dataset=shapes:24:24", "--image_size=32", "--corruptions=contrast"]
    finished = subprocess.run(
        [sys.executable, "-m", "v1keras.corruptions", *flags, f"--out={tmp_path}/c"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "120/120" in finished.stdout
    assert not set(finished.stdout) & {"\b", "\r", "\x1b"}
