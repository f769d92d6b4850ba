import numpy as np
import pytest
import tensorflow as tf

from export.requests import (
    INPUT_NAMES,
    WARMUP_FILE,
    make_request,
    read_warmup,
    write_warmup,
)
from export.runtimes import ask_saved_model
from export.saved_model import write_saved_model

pytest.importorskip("tensorflow_serving")


@pytest.fixture
def version(classifier, labels, images, tmp_path):
    write_saved_model(classifier, labels, tmp_path)
    write_warmup(tmp_path, images[:3], model_name="student")
    return tmp_path


def test_every_signature_is_asked_about_one_image_and_several(version, images):
    assert (version / "assets.extra/tf_serving_warmup_requests").is_file()
    found = list(read_warmup(version))
    assert [name for name, _ in found] == [n for n in INPUT_NAMES for _ in range(2)]
    for (name, inputs), count in zip(found, [1, 3] * len(INPUT_NAMES), strict=True):
        ((input_name, value),) = inputs.items()
        assert input_name == INPUT_NAMES[name]
        np.testing.assert_array_equal(value, make_request(name, images[:count]))


def test_records_are_what_tensorflow_serving_parses(version):
    from tensorflow_serving.apis import prediction_log_pb2

    records = list(tf.data.TFRecordDataset(str(version / WARMUP_FILE)))
    log = prediction_log_pb2.PredictionLog.FromString(records[0].numpy())
    assert log.WhichOneof("log_type") == "predict_log"
    assert log.predict_log.request.model_spec.name == "student"


def test_requests_that_fail_are_found_before_a_server_finds_them(version, images):
    assert ask_saved_model(version, images[:1])["serve_bytes"].logits.shape == (1, 5)
    wrong = images[:1, :8]
    write_warmup(version, wrong, model_name="student")
    with pytest.raises(ValueError, match="shape"):
        ask_saved_model(version, images[:1])
