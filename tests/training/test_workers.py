"""Two real processes, joined as on two machines, against one."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from cluster import free_addresses, tf_config

from v1keras.evaluation import evaluate
from v1keras.evaluation.config import EvaluateConfig
from v1keras.studies import (
    AblationConfig,
    ChooseConfig,
    RecommendConfig,
    StudyConfig,
    choose_ensemble,
    recommend,
    run_ablation,
    run_study,
)
from v1keras.training import DistillConfig, Run, TrainConfig, distill, train
from v1keras.training.strategy import Workers, get_workers

WORKERS = 2

# Statistics over a batch differ from those over its parts: by groups, there are none.
SETTINGS = {
    "dataset": "shapes:60:24",
    "variant": "no_noise",
    "arch": "resnet18",
    "width": 8,
    "normalization": "group",
    "image_size": 32,
    "visual_degrees": 1.0,
    "stride": 8,
    "simple_channels": 4,
    "complex_channels": 4,
    "epochs": 2,
    "batch_size": 16,
    "validation_fraction": 0.2,
    "learning_rate": 0.01,
}
EVALUATION = {
    "dataset": "shapes:60:24",
    "corruptions": ("gaussian_noise", "contrast"),
    "severities": (1,),
    "bootstrap": 10,
}

CHAIN = """
import json, sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from v1keras.evaluation import evaluate
from v1keras.evaluation.config import EvaluateConfig
from v1keras.layers import NeuronalNoise
from v1keras.training import DistillConfig, TrainConfig, distill, train
from v1keras.training.strategy import get_strategy, get_workers

folder, settings, evaluation = Path(sys.argv[1]), *map(json.loads, sys.argv[2:])
strategy = get_strategy("auto")
with strategy.scope():
    noise = NeuronalNoise()
drawn = tf.function(lambda: strategy.run(lambda: noise(tf.ones((1, 4, 4, 1)))))()
np.save(folder / f"noise_{get_workers('auto').index}.npy", drawn)
member = str(train(TrainConfig(out=str(folder / "member"), **settings)).path)
student = DistillConfig(
    out=str(folder / "student"), members=(member,), teacher_views=2, **settings
)
assert distill(student).is_finished
evaluation = {k: tuple(v) if isinstance(v, list) else v for k, v in evaluation.items()}
evaluate(EvaluateConfig(out=str(folder / "evaluation"), models=(member,), **evaluation))
"""


def start(arguments):
    """The workers of one command, which see each other on free ports."""
    hosts = free_addresses(WORKERS)
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            env={**environment, "TF_CONFIG": tf_config(hosts, index)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(WORKERS)
    ]


def weights_and_figures(run):
    figures = {k: v for k, v in run.history.items() if k != "seconds"}
    return run.load_model().get_weights(), figures


@pytest.mark.slow
def test_two_workers_do_what_one_process_does(tmp_path):
    together, alone = tmp_path / "together", tmp_path / "alone"
    together.mkdir()
    settings = [json.dumps(each) for each in (SETTINGS, EVALUATION)]
    workers = start(["-c", CHAIN, str(together), *settings])
    outputs = [worker.communicate() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    assert "Epoch 2/2" in outputs[0][0] and outputs[1][0] == ""

    first, second = (np.load(together / f"noise_{index}.npy") for index in range(2))
    assert np.abs(first - second).min() > 1e-6

    member = train(TrainConfig(out=str(alone / "member"), **SETTINGS))
    student = distill(
        DistillConfig(
            out=str(alone / "student"),
            members=(str(together / "member"),),
            teacher_views=2,
            **SETTINGS,
        )
    )
    for run in (member, student):
        other = Run.open(together / run.name)
        weights, figures = weights_and_figures(run)
        others_weights, others_figures = weights_and_figures(other)
        for own, known in zip(others_weights, weights, strict=True):
            np.testing.assert_allclose(own, known, atol=1e-5)
        for name, values in figures.items():
            np.testing.assert_allclose(others_figures[name], values, atol=1e-5)

    models = (str(together / "member"),)
    out = alone / "evaluation"
    evaluate(EvaluateConfig(out=str(out), models=models, **EVALUATION))
    for file in sorted((out / "logits").glob("*.npz")):
        with (
            np.load(file) as own,
            np.load(together / "evaluation/logits" / file.name) as other,
        ):
            for name in own.files:
                np.testing.assert_array_equal(own[name], other[name])


@pytest.mark.slow
def test_a_lost_worker_ends_the_others_and_the_job_resumes(tmp_path):
    flags = [f"--{name}={value}" for name, value in SETTINGS.items()]
    out = tmp_path / "run"
    command = ["-m", "v1keras.train", *flags, "--epochs=6", f"--out={out}"]
    chief, worker = start(command)
    while chief.poll() is None and not (out / "history.csv").is_file():
        time.sleep(0.1)
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    _, message = chief.communicate(timeout=60)
    assert chief.returncode == 2
    assert message.count("\n") == 1 and "worker 0 of 2 has lost another" in message
    assert not (out / ".lock").exists()
    finished = len((out / "history.csv").read_text().splitlines()) - 1

    outputs = [worker.communicate() for worker in start(command)]
    shown, messages = outputs[0]
    assert not messages
    assert f"Epoch {finished}/6" not in shown and f"Epoch {finished + 1}/6" in shown
    assert Run.open(out).is_finished


HOSTS = ["one:2222", "two:2222"]


def test_which_worker_this_is(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert get_workers("auto") == Workers(0, 1)
    monkeypatch.setenv("TF_CONFIG", tf_config(HOSTS, 1))
    assert (
        get_workers("auto") == get_workers("multi_worker") == Workers(1, 2, "one:2222")
    )
    assert get_workers("none") == get_workers("mirrored") == Workers(0, 1)
    # A chief of its own comes first.
    cluster = {"chief": ["zero:2222"], "worker": HOSTS}
    for job, index, expected in (("chief", 0, 0), ("worker", 0, 1), ("worker", 1, 2)):
        task = {"type": job, "index": index}
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
        assert get_workers("auto") == Workers(expected, 3, "zero:2222")


@pytest.mark.parametrize(
    "strategy,text,message",
    [
        ("multi_worker", "", "needs several workers"),
        ("multi_worker", tf_config(HOSTS[:1], 0), "needs several workers"),
        ("auto", "{", "as TensorFlow documents it"),
        ("auto", "[]", "as TensorFlow documents it"),
        ("auto", tf_config(HOSTS, 2), "a task that is one of theirs"),
        ("auto", tf_config(HOSTS, 0, "ps"), "a task that is one of theirs"),
    ],
)
def test_a_cluster_that_cannot_be(monkeypatch, strategy, text, message):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=message):
        get_workers(strategy)


@pytest.mark.parametrize(
    "task,address", [(0, "node1:15042"), (1, "node1:15043"), (2, "node2:15042")]
)
def test_a_step_of_slurm(monkeypatch, task, address):
    # Set, so that what is written here is taken away again; Slurm's goes by the empty.
    monkeypatch.setenv("TF_CONFIG", "")
    for name, value in {
        "PROCID": task,
        "JOB_ID": 20042,
        "STEP_NUM_TASKS": 3,
        "STEP_NODELIST": "node[1-2]",
        "STEP_TASKS_PER_NODE": "2,1",
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    assert get_workers("auto") == Workers(task, 3, "node1:15042")
    config = json.loads(os.environ["TF_CONFIG"])
    assert config["cluster"]["worker"][task] == address


ALONE = {
    run_study: StudyConfig(out="out"),
    run_ablation: AblationConfig(
        members=("a", "b"), base="a", recipes="r.json", out="out"
    ),
    choose_ensemble: ChooseConfig(models=("a", "b"), out="out"),
    recommend: RecommendConfig(models=("a", "b"), photos=("p",)),
}


@pytest.mark.parametrize("command", ALONE, ids=lambda command: command.__name__)
def test_what_cannot_be_shared_is_refused(monkeypatch, tmp_path, command):
    monkeypatch.setenv("TF_CONFIG", tf_config(HOSTS, 0))
    config = dataclasses.replace(ALONE[command], out=str(tmp_path / "out"))
    with pytest.raises(ValueError, match="strategy=auto with 2 workers"):
        command(config)
    assert not (tmp_path / "out").exists()
