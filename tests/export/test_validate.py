import numpy as np
import pytest

from export.agreement import softmax
from export.validate import judge

LABELS = ("a", "b", "c")
LOGITS = np.array([[3.0, 1.0, 2.0], [0.0, 4.0, 1.0]], np.float32)


def answers(source, classes=((b"a", b"c"), (b"b", b"c"))):
    probabilities = softmax(LOGITS)
    return {
        f"{source}/logits": LOGITS,
        f"{source}/probabilities": probabilities,
        f"{source}/scores": -np.sort(-probabilities, axis=1)[:, :2],
        f"{source}/classes": np.array(classes),
        f"{source}/milliseconds": np.array(1.0),
    }


def test_every_source_is_compared():
    given = answers("serve_bytes") | answers("litert")
    sources = ("serve_bytes", "litert")
    found = judge(given, LOGITS, LABELS, sources=sources)
    assert [item.source for item in found] == list(sources)
    assert all(item.reasons == () for item in found)
    assert judge(given, LOGITS[:1], LABELS, sources=sources)[0].images == 1


def test_a_source_that_does_not_answer_is_an_error():
    with pytest.raises(ValueError, match="serve_uint8 gives no logits"):
        judge(
            answers("serve_bytes"),
            LOGITS,
            LABELS,
            sources=("serve_bytes", "serve_uint8"),
        )


@pytest.mark.parametrize(
    "classes", [((b"a", b"b"), (b"b", b"c")), ((b"a", b"c"), (b"b", b"dog"))]
)
def test_named_classes_must_be_those_of_the_scores(classes):
    given = answers("serve_bytes", classes)
    with pytest.raises(ValueError, match="do not belong to their scores"):
        judge(given, LOGITS, LABELS, sources=("serve_bytes",))
