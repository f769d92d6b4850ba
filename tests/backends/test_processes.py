"""Two real processes that JAX joins, as on two machines, against one."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from cluster import free_addresses, tf_config

from v1keras.training import DistillConfig, Run, TrainConfig, distill, train
from v1keras.training.slurm import addresses
from v1keras.training.strategy import get_workers

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="JAX alone joins processes"
)

# Statistics over the last batch, of two images, would make much of rounding: by groups,
# there are none.
SETTINGS = {
    "dataset": "shapes:62:24",
    "variant": "no_noise",
    "arch": "resnet18",
    "width": 4,
    "normalization": "group",
    "image_size": 32,
    "visual_degrees": 1.0,
    "stride": 8,
    "simple_channels": 4,
    "complex_channels": 4,
    "batch_size": 16,
    "validation_fraction": 0.2,
    "learning_rate": 0.01,
    "epochs": 1,
}
# The second training resumes from the checkpoint of the first.
CHAIN = """
import json, sys
from v1keras.training import DistillConfig, TrainConfig, distill, train

folder, settings = sys.argv[1], json.loads(sys.argv[2])
member = f"{folder}/member"
train(TrainConfig(out=member, **settings))
train(TrainConfig(out=member, **{**settings, "epochs": 2}))
student = DistillConfig(out=f"{folder}/student", members=(member,), **settings)
assert distill(student).is_finished
"""


def test_two_processes_do_what_one_does(tmp_path, monkeypatch):
    # Compiling is most of the time, and both sides of a comparison are alike.
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    together, alone = tmp_path / "together", tmp_path / "alone"
    hosts = free_addresses(2)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CHAIN, str(together), json.dumps(SETTINGS)],
            env={
                **os.environ,
                "TF_CONFIG": tf_config(hosts, index),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert "Epoch 2/2" in outputs[0][0] and "Epoch" not in outputs[1][0]

    member = train(TrainConfig(out=str(alone / "member"), **{**SETTINGS, "epochs": 2}))
    student = distill(
        DistillConfig(
            out=str(alone / "student"), members=(str(together / "member"),), **SETTINGS
        )
    )
    for run in (member, student):
        other = Run.open(together / run.name)
        for name, values in run.history.items():
            # Logits of networks that have hardly begun are equal up to rounding.
            if "accuracy" not in name and name != "seconds":
                np.testing.assert_allclose(other.history[name], values, atol=1e-5)
        weights = run.load_model().get_weights()
        for ours, theirs in zip(other.load_model().get_weights(), weights, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_step_of_slurm(monkeypatch):
    # Set, so that what is written here is taken away again; Slurm's goes by the empty.
    monkeypatch.setenv("TF_CONFIG", "")
    for name, value in {
        "PROCID": "3",
        "JOB_ID": "20042",
        "STEP_NUM_TASKS": "8",
        "STEP_NODELIST": "gpu[08-10,12]-ib,login",
        "STEP_TASKS_PER_NODE": "2(x3),1(x2)",
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert addresses() == [
        "gpu08-ib:15042", "gpu08-ib:15043", "gpu09-ib:15042", "gpu09-ib:15043",
        "gpu10-ib:15042", "gpu10-ib:15043", "gpu12-ib:15042", "login:15042",
    ]  # fmt: skip
    assert get_workers("auto") == (3, 8, "gpu08-ib:15042")
