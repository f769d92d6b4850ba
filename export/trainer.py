"""`run_fn` for TFX's Trainer: trains a member inside a pipeline of your own.

    trainer = tfx.components.Trainer(
        run_fn="export.trainer.run_fn",
        examples=example_gen.outputs["examples"],
        train_args=tfx.proto.TrainArgs(num_steps=11_000),
        custom_config={
            "class_names": ["cat", "dog"], "image_size": 64,
            "variant": "sf_low", "arch": "resnet18",
        },
    )

TFX itself is not imported: `run_fn` only reads attributes of what the Trainer gives it.
"""

import dataclasses
import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

import v1keras
from export.requests import IMAGE_KEY
from export.saved_model import write_saved_model
from export.source import in_float32
from v1keras.data import ImageDataset, Split, steps_per_epoch
from v1keras.data.decoding import decode_image
from v1keras.data.images import fit_image
from v1keras.training import TrainConfig, train

# What `custom_config` holds apart from the settings of training.
_OWN_KEYS = ("class_names", "display_names", "image_size", "image_key", "label_key")
# What follows from what the Trainer gives.
_GIVEN_KEYS = ("out", "dataset", "data_dir", "validation_source", "validation_fraction")


@dataclasses.dataclass(frozen=True)
class _Records:
    """How to read examples.

    Args:
        class_names: tuple of str. Identifiers of the classes, by label.
        display_names: tuple of str. What a reader calls them.
        image_size: int. Height and width of the images, in pixels.
        crop_fraction: float. The share of the shorter side that they show.
        image_key: str. The feature with the encoded image.
        label_key: str. The feature with the label.
    """

    class_names: tuple[str, ...]
    display_names: tuple[str, ...]
    image_size: int
    crop_fraction: float
    image_key: str
    label_key: str


def run_fn(fn_args: Any) -> None:
    """Trains a classifier and writes it as a SavedModel with signatures.

    The examples hold encoded images (feature `image`) and integer labels (feature
    `label`), as TensorFlow Datasets writes them. They are decoded, resized and cropped
    as the SavedModel does it with requests, so that there is no skew. The epoch with
    the best accuracy on the evaluation examples is kept. The run directory lies in
    `model_run_dir`: a Trainer that is started again resumes from it, and the same
    folder can be given to `v1keras.evaluate` and `export`.

    Args:
        fn_args: `tfx.components.FnArgs`, or anything with the attributes `train_files`
            and `eval_files` (lists of file patterns of TFRecord files, compressed if
            they end in `.gz`), `train_steps` (int or None), `serving_model_dir`,
            `model_run_dir` (paths) and `custom_config` (dict). The last holds
            `class_names` (list of str, by label) and `image_size` (int), and if they are
            not the defaults `display_names`, `image_key`, `label_key` and any settings
            of `v1keras.training.TrainConfig`. The number of epochs follows from
            `train_steps` unless it is given.

    Raises:
        FileNotFoundError: if a pattern fits no file.
        ValueError: if a setting is unknown or missing, or an example cannot be read.
    """
    settings = dict(fn_args.custom_config or {})
    records = _take_records(settings)
    _check_settings(settings)
    train_files, eval_files = (
        _files(patterns) for patterns in (fn_args.train_files, fn_args.eval_files)
    )
    dataset = ImageDataset(
        name="examples of TFX",
        class_names=records.class_names,
        display_names=records.display_names,
        image_size=records.image_size,
        crop_fraction=records.crop_fraction,
        fingerprint=_fingerprint(train_files + eval_files),
        sources={
            "train": lambda: _read("train", train_files, records),
            "test": lambda: _read("test", eval_files, records),
        },
        # Choices are made on the evaluation examples, which are all that there is.
        validation_source="test",
        validation_fraction=TrainConfig.validation_fraction,
        seed=0,
        keep_in_memory=True,
    )
    config = TrainConfig(
        out=str(fn_args.model_run_dir),
        dataset=dataset.name,
        validation_source="test",
        image_size=records.image_size,
        **settings,
    )
    if "epochs" not in settings and fn_args.train_steps:
        steps = steps_per_epoch(len(dataset.split("train")), config.batch_size)
        epochs = math.ceil(fn_args.train_steps / steps)
        config = dataclasses.replace(config, epochs=epochs)
    run = train(config, dataset)
    model = in_float32(run.load_model())
    v1keras.set_noise(model, "off")
    write_saved_model(
        model,
        run.labels,
        str(fn_args.serving_model_dir),
        image_key=records.image_key,
        crop_fraction=run.crop_fraction,
    )


def _take_records(settings: dict[str, Any]) -> _Records:
    """Takes from the settings what says how to read examples."""
    for key in ("class_names", "image_size"):
        if key not in settings:
            raise ValueError(
                f"`custom_config` must hold {key!r}. Received: {', '.join(settings)}"
            )
    given = {key: settings.pop(key) for key in _OWN_KEYS if key in settings}
    names = tuple(given["class_names"])
    shown = tuple(given.get("display_names", names))
    if len(shown) != len(names):
        raise ValueError(
            "`display_names` must have the length of `class_names`. "
            f"Received: {len(shown)} and {len(names)}"
        )
    return _Records(
        names,
        shown,
        given["image_size"],
        settings.get("crop_fraction") or 1.0,
        given.get("image_key", IMAGE_KEY),
        given.get("label_key", "label"),
    )


def _check_settings(settings: dict[str, Any]) -> None:
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    unknown = sorted(set(settings) - (known - set(_GIVEN_KEYS)))
    if unknown:
        raise ValueError(
            "`custom_config` must hold settings of training only. "
            f"Received: {', '.join(unknown)}"
        )


def _files(patterns: Sequence[str]) -> list[str]:
    found = sorted(path for each in patterns for path in tf.io.gfile.glob(str(each)))
    if not found:
        raise FileNotFoundError(f"no TFRecord files at {', '.join(map(str, patterns))}")
    return found


def _fingerprint(files: Sequence[str]) -> str:
    """SHA-256 digest over the sizes of the files; their names differ from run to run."""
    sizes = ",".join(str(tf.io.gfile.stat(path).length) for path in files)
    return hashlib.sha256(f"{len(files)}:{sizes}".encode()).hexdigest()


def _read(name: str, files: Sequence[str], records: _Records) -> Split:
    """Reads examples into memory, in 8 bits."""
    images, labels, ids = [], [], []
    for path in files:
        for index, (encoded, label) in enumerate(_examples(path, records)):
            where = f"{path} example {index}"
            if not 0 <= label < len(records.class_names):
                raise ValueError(
                    f"labels must lie in 0..{len(records.class_names) - 1}. "
                    f"Received: {label} in {where}"
                )
            image = decode_image(encoded, where)
            images.append(
                fit_image(image, records.image_size, where, records.crop_fraction)
            )
            labels.append(label)
            ids.append(where)
    if not images:
        raise ValueError(f"there are no examples in {', '.join(files)}")
    return Split(name, np.stack(images), np.array(labels, np.int32), tuple(ids))


def _examples(path: str, records: _Records) -> Iterator[tuple[bytes, int]]:
    features = {
        records.image_key: tf.io.FixedLenFeature((), tf.string),
        records.label_key: tf.io.FixedLenFeature((), tf.int64),
    }
    compression = "GZIP" if path.endswith(".gz") else ""
    dataset = tf.data.TFRecordDataset(path, compression_type=compression)
    try:
        for record in dataset:
            example = tf.io.parse_single_example(record, features)
            image, label = (example[key].numpy() for key in features)
            yield image, int(label)
    except tf.errors.OpError as error:
        raise ValueError(f"{path} cannot be read: {error.message}") from error
