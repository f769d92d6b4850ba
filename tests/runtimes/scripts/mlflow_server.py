# /// script
# requires-python = ">=3.11"
# dependencies = ["mlflow>=3.1", "numpy", "tensorflow-cpu>=2.20"]
# ///
"""MLflow's scoring server serves the SavedModel as a Python model."""

import json
import os
import sys
import threading
import time
import urllib.request

import mlflow
import numpy as np
import uvicorn
from mlflow.models import ModelSignature
from mlflow.pyfunc import scoring_server
from mlflow.types import Schema, TensorSpec


class Served(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        import tensorflow as tf

        self.model = tf.saved_model.load(context.artifacts["saved_model"])

    def predict(self, context, model_input, params=None):
        return self.model.signatures["serving_default"](images=model_input)[
            "logits"
        ].numpy()


def main(folder: str, images_file: str, answers_file: str) -> None:
    images = np.load(images_file).astype(np.float32)
    packed = f"{answers_file}.mlflow"
    shape = (-1, *images.shape[1:])
    mlflow.pyfunc.save_model(
        packed,
        python_model=Served(),
        artifacts={"saved_model": f"{folder}/saved_model"},
        signature=ModelSignature(Schema([TensorSpec(np.dtype("float32"), shape)])),
        pip_requirements=["tensorflow-cpu"],
    )
    application = scoring_server.init(mlflow.pyfunc.load_model(packed))
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.1)
    port = server.servers[0].sockets[0].getsockname()[1]
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        json.dumps({"inputs": images.tolist()}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        logits = json.load(answer)["predictions"]
    server.should_exit = True
    thread.join()
    np.savez(answers_file, saved_model=np.array(logits))


os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
main(*sys.argv[1:])
