"""A teacher's logits on disk: computed once, read in every epoch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from v1keras.data import ImageDataset, augmented_view, evaluation_batches
from v1keras.escaping import say
from v1keras.files import atomic_write, claim, file_fingerprint, write_json
from v1keras.layers import is_stochastic, set_noise
from v1keras.locks import lock_folder
from v1keras.quiet import verbosity
from v1keras.reading import read_array
from v1keras.training.config import DistillConfig
from v1keras.training.run import MODEL_FILE, Run

TEACHER_FOLDER = "teacher"
_MANIFEST_FILE = "manifest.json"
# Ten bits of mantissa: logits of 20 are kept to within 0.01.
_DTYPE = np.float16
# Images whose logits are checked at once.
_PART = 4096


class TeacherLogits(NamedTuple):
    """What a teacher answers, with the classes in the last axis.

    Args:
        train: tuple of arrays (n, classes), one for each view of the training images.
        validation: array (n, classes), for the validation images as they are.
    """

    train: tuple[np.ndarray, ...]
    validation: np.ndarray


def teacher_fingerprints(members: Sequence[Run]) -> list[str]:
    """What tells the teacher made of some runs from others, by content, not by place."""
    return [file_fingerprint(run.find_model()) for run in members]


def teacher_changes(student: Run, members: Sequence[Run]) -> list[str]:
    """Compares the teacher that a student was begun with and one made of some runs.

    Args:
        student: `Run`. One of version 0.1.0 only noted the folders of its members, whose
            names are compared.
        members: sequence of `Run`.

    Returns:
        list of str. What the student has, in words; empty if the teacher is the same.
    """
    if not members:
        return []
    before = student.config.get("teacher")
    known = [Path(member).name for member in student.settings.get("members", ())]
    is_same = known == [run.path.name for run in members]
    if before is not None:
        is_same = len(before) == len(members)
    if not is_same:
        return [f"learnt from other members ({', '.join(known)})"]
    if before is None:
        return []
    now = teacher_fingerprints(members)
    return [
        f"learnt from another {MODEL_FILE} than {run.path} now has"
        for run, old, new in zip(members, before, now, strict=True)
        if old != new
    ]


def cached_logits(
    folder: Path,
    teacher: keras.Model,
    members: Sequence[Run],
    config: DistillConfig,
    dataset: ImageDataset,
) -> TeacherLogits:
    """Computes the logits of `config.teacher_views` views, or reads them.

    Each view is a float16 `.npy` file, written to a temporary name and renamed, so that
    an interrupted call resumes with the views that are missing; a second process waits
    for the first. Its noise and its augmentation depend on the seed and the number of
    the view only.

    Args:
        folder: path. It may be shared by students of one teacher, data set and seed.
        teacher: `keras.Model`, in inference mode whatever it was. Its V1 noise is on.
        members: sequence of `Run`. What the teacher was made of.
        config: `DistillConfig`.
        dataset: `ImageDataset`.

    Returns:
        `TeacherLogits`. The arrays are read from disk as they are used.

    Raises:
        FileExistsError: if the folder holds something else, such as the logits of
            another teacher.
        ValueError: if logits are not finite.
    """
    train, validation = dataset.split("train"), dataset.split("validation")
    manifest = {
        "teacher": teacher_fingerprints(members),
        "draws": config.teacher_draws,
        "seed": config.seed,
        "augmentation": config.augmentation,
        "data": dataset.fingerprint,
        "images": [len(train), len(validation)],
        "split": [
            config.validation_source,
            config.validation_fraction,
            config.split_seed,
        ],
        "image_size": dataset.image_size,
        "crop_fraction": dataset.crop_fraction,
    }

    def view(number: int) -> np.ndarray:
        batches = augmented_view(
            train,
            number,
            batch_size=config.batch_size,
            augment=config.augmentation,
            seed=config.seed,
        )
        title = f"teacher: view {number + 1} of {config.teacher_views}"
        file = folder / f"view_{number:03d}.npy"
        return _stored(file, title, teacher, batches, len(train), config, number + 1)

    terms = {
        "what": "teacher's logits",
        "name": "teacher_cache",
        "defaults": {"crop_fraction": 1.0},  # as of version 0.1.0
    }
    with lock_folder(folder, "asks the teacher", name=terms["name"], wait=True):
        if claim(folder, _MANIFEST_FILE, manifest, **terms) is None:
            write_json(folder / _MANIFEST_FILE, manifest)
        views = tuple(view(number) for number in range(config.teacher_views))
        batches = evaluation_batches(validation, batch_size=config.batch_size)
        file, title = folder / "validation.npy", "teacher: validation images"
        stored = _stored(file, title, teacher, batches, len(validation), config, 0)
        return TeacherLogits(views, stored)


def _stored(
    file: Path,
    title: str,
    teacher: keras.Model,
    batches: Any,
    images: int,
    config: DistillConfig,
    stream: int,
) -> np.ndarray:
    """The logits in a file, which is written first if there is none."""
    if not file.is_file():
        draws = config.teacher_draws if is_stochastic(teacher) else 1
        say(f"{title}{f', {draws} draws' if draws > 1 else ''}")
        seed = np.random.SeedSequence([config.seed, stream]).generate_state(1)[0]
        set_noise(teacher, "stochastic", seed=int(seed >> 1))
        logits = 0.0
        for _ in range(draws):
            logits += teacher.predict(batches, verbose=verbosity()) / draws
        with np.errstate(over="ignore"):  # refused in the next line
            logits = logits.astype(_DTYPE)
        _check_finite(logits, title)
        with atomic_write(file) as temporary:
            np.save(temporary, logits)
    remedy = "remove it, and it is computed again"
    shape = (images, teacher.output_shape[-1])
    stored = read_array(file, remedy, dtype=_DTYPE, shape=shape, mmap=True)
    _check_finite(stored, str(file))
    return stored


def _check_finite(logits: np.ndarray, what: str) -> None:
    # In parts, because all of them may not fit into memory.
    starts = range(0, len(logits), _PART)
    if not all(np.isfinite(logits[start : start + _PART]).all() for start in starts):
        raise ValueError(
            "A teacher must give finite logits of at most 65504; train its members "
            f"again with a lower `learning_rate`. Received: NaN or infinity in {what}"
        )
