"""What has changed in the data since a run was begun."""

from v1keras.data import ImageDataset
from v1keras.training.run import Run


def data_changes(run: Run, dataset: ImageDataset) -> list[str]:
    """Compares the data that a run was begun with and a data set.

    Classes, image size, crop fraction and fingerprint are compared, and the sizes of the
    splits unless the run is finished and its fingerprint still right.

    Args:
        run: `Run`.
        dataset: `ImageDataset`.

    Returns:
        list of str. What the run has and the data set has not, in words; empty if they
        are the same.
    """
    changes = []
    now = "where `dataset` now has"
    if run.class_names != dataset.class_names:
        gone = [name for name in run.class_names if name not in dataset.class_names]
        new = [name for name in dataset.class_names if name not in run.class_names]
        if gone and new:
            changes.append(f"{_classes(gone)} {now} {_classes(new)}")
        elif gone:
            changes.append(f"{_classes(gone)}, which `dataset` no longer has")
        elif new:
            changes.append(f"no {_classes(new)}, which `dataset` now has")
        else:
            changes.append("its classes in another order than `dataset` now has")
    if run.image_size != dataset.image_size:
        changes.append(f"images of {run.image_size} pixels {now} {dataset.image_size}")
    if run.crop_fraction != dataset.crop_fraction:
        changes.append(
            f"a `crop_fraction` of {run.crop_fraction:g} {now} {dataset.crop_fraction:g}"
        )
    stored = run.config["data"]
    is_same = stored.get("fingerprint", dataset.fingerprint) == dataset.fingerprint
    if not (is_same and run.is_finished):
        sizes = stored.get("sizes", {})
        for split, count in dataset.sizes.items():
            before = sizes.get(split, count)
            if before != count:
                more = f"{abs(count - before)} {'more' if count > before else 'fewer'}"
                changes.append(f"{before} {split} images {now} {count} ({more})")
    if not (is_same or changes):
        changes.append("other images, or other names of them, than `dataset` now has")
    return changes


def _classes(names: list[str]) -> str:
    shown = f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
    return f"{'class' if len(names) == 1 else 'classes'} {shown}"
