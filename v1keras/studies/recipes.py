"""The configuration of an ablation: recipes of distillation."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from v1keras.command_line import option, require
from v1keras.evaluation.config import EvaluationSettings
from v1keras.reading import read_json
from v1keras.studies.config import SelectionSettings
from v1keras.training import DistillConfig

# What recipes may not change: then they would not be compared on equal terms.
_SHARED = (
    "out", "members", "dataset", "data_dir", "seed", "epochs", "image_size",
    "crop_fraction", "validation_fraction", "validation_source", "split_seed",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class AblationConfig(SelectionSettings, EvaluationSettings, DistillConfig):
    """The settings of all students, and the recipes that change some of them."""

    base: str = option(required=True, help="Run directory of the plain CNN.")
    recipes: str = option(
        required=True,
        help="JSON file with an object that gives each recipe's name the flags it "
        'changes: {"plain": {}, "hot": {"temperature": 8, "alpha": 0.9}}.',
    )
    seeds: int = option(
        2,
        "Training seeds of the chosen recipe, from --seed on; 0 only compares recipes.",
        group="study",
    )
    validation_images: int = option(
        500,
        "Held-out training images on which the recipe is chosen, corrupted here.",
        group="study",
    )

    def __post_init__(self):
        DistillConfig.__post_init__(self)
        EvaluationSettings.__post_init__(self)
        require(self, "seeds", self.seeds >= 0, "at least 0")
        require(self, "validation_images", self.validation_images >= 1, "at least 1")
        # Recipes are chosen on training images.
        require(self, "validation_source", self.validation_source == "fold", "fold")

    def read_recipes(self) -> dict[str, DistillConfig]:
        """The student of each recipe.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is not an object of flags, or a flag is unusable.
        """
        remedy = "`recipes` must be a JSON file with an object of objects of flags"
        if not Path(self.recipes).is_file():
            raise FileNotFoundError(f"{remedy}. Received: recipes={self.recipes}")
        changes = read_json(self.recipes, dict[str, DistillConfig], remedy)
        wrong = [name for name in changes if not re.fullmatch(r"\w[\w.-]*", name)]
        if not changes or wrong:
            raise ValueError(
                "`recipes` must hold a recipe, with names of letters and digits. "
                f"Received: {', '.join(wrong) or 'none'} in {self.recipes}"
            )
        try:
            return {name: self.student(name, flags) for name, flags in changes.items()}
        except ValueError as error:
            raise ValueError(f"{error} ({self.recipes})") from error

    def student(self, name: str, flags: Mapping[str, Any]) -> DistillConfig:
        """A student with some flags of its own."""
        fields = [field.name for field in dataclasses.fields(DistillConfig)]
        wrong = [flag for flag in flags if flag not in fields or flag in _SHARED]
        if wrong:
            raise ValueError(
                "`recipes` must change flags of v1keras.distill other than "
                f"{', '.join(_SHARED)}. Received: {name} with {', '.join(wrong)}"
            )
        flags = {k: tuple(v) if isinstance(v, list) else v for k, v in flags.items()}
        student = DistillConfig(**{f: getattr(self, f) for f in fields} | flags)
        return self.seeded(student, name, self.seed)

    def seeded(self, student: DistillConfig, name: str, seed: int) -> DistillConfig:
        """A student of this seed; cached logits are shared where they can be."""
        cache = student.teacher_cache
        if student.teacher_views and not self.teacher_cache:
            about = f"{student.augmentation}_draws{student.teacher_draws}_seed{seed}"
            cache = f"{self.out}/teacher/{about}"
        out = f"{self.out}/students/{name}"
        return dataclasses.replace(student, out=out, seed=seed, teacher_cache=cache)
