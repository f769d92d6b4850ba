"""The lineup of an evaluation: who takes part, and as what."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from v1keras.layers import AVERAGES


@dataclasses.dataclass(frozen=True)
class Lineup:
    """The models of an evaluation, their ensembles, and the role of each.

    Args:
        models: sequence of str. Names of the models to show, in this order.
        baseline: str or None. The model or ensemble that gains are relative to. Defaults
            to none.
        students: sequence of str. Models that are shown as students. Defaults to none.
        ensembles: mapping from the name of an ensemble to the names of its members.
            Members that are not among `models` are hidden: they take part in their
            ensembles only. Defaults to no ensembles.
        average: str. What ensembles average: `"logits"` or `"probabilities"`. Defaults
            to `"logits"`.
        variants: mapping from model or ensemble to the name of its variant. Those of
            one variant are summarised as training seeds. Defaults to no variants.

    Raises:
        ValueError: if a name is unknown or given twice, or an ensemble has no members
            or one of them twice.

    Example:

    >>> lineup = Lineup(
    ...     ["base", "sf_low", "sf_high", "student"],
    ...     baseline="base",
    ...     students=["student"],
    ...     ensembles={"ensemble": ["sf_low", "sf_high"]},
    ... )
    >>> lineup.shown
    ('base', 'sf_low', 'sf_high', 'student', 'ensemble')
    >>> lineup.roles["sf_low"]
    'member'
    """

    models: tuple[str, ...]
    baseline: str | None = None
    students: tuple[str, ...] = ()
    ensembles: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    average: str = "logits"
    variants: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        ensembles = {name: tuple(parts) for name, parts in self.ensembles.items()}
        for name, value in (
            ("models", tuple(self.models)),
            ("students", tuple(self.students)),
            ("ensembles", ensembles),
            ("variants", dict(self.variants)),
        ):
            object.__setattr__(self, name, value)
        twice = sorted({name for name in self.shown if self.shown.count(name) > 1})
        if twice or not self.models:
            raise ValueError(
                "`models` and `ensembles` must have names of their own, and there must "
                f"be a model. Received: {', '.join(twice) or 'models=()'}"
            )
        baseline = () if self.baseline is None else (self.baseline,)
        self.check_known("baseline", baseline, self.shown)
        self.check_known("students", self.students, self.models)
        for name, parts in ensembles.items():
            repeats = len(set(parts)) < len(parts)
            if not parts or repeats or set(parts) & set(ensembles):
                raise ValueError(
                    "`ensembles` must have models as members, each once. Received: "
                    f"{name}={', '.join(parts) or '()'}"
                )
        if self.average not in AVERAGES:
            raise ValueError(
                f"`average` must be one of {', '.join(AVERAGES)}. "
                f"Received: average={self.average!r}"
            )

    @staticmethod
    def check_known(argument: str, names: Iterable[str], known: Sequence[str]) -> None:
        """Refuses names that are not among those known.

        Raises:
            ValueError: if there are any; it names `argument`, which held them.
        """
        for name in names:
            if name not in known:
                raise ValueError(
                    f"`{argument}` must name models of this evaluation: "
                    f"{', '.join(known)}. Received: {argument}={name}"
                )

    @property
    def shown(self) -> tuple[str, ...]:
        """The models and then the ensembles: the rows of a table."""
        return (*self.models, *self.ensembles)

    @property
    def measured(self) -> tuple[str, ...]:
        """All models that answer: those shown, then the hidden members."""
        members = (m for parts in self.ensembles.values() for m in parts)
        return tuple(dict.fromkeys((*self.models, *members)))

    @property
    def roles(self) -> dict[str, str]:
        """`"baseline"`, `"member"`, `"ensemble"` or `"student"` for all that are shown."""
        roles = dict.fromkeys(self.models, "member")
        roles |= dict.fromkeys(self.ensembles, "ensemble")
        roles |= dict.fromkeys(self.students, "student")
        return roles | ({} if self.baseline is None else {self.baseline: "baseline"})

    @property
    def members(self) -> tuple[str, ...]:
        """The models whose diversity is shown: the ensembles' members, or all members.

        An ensemble with hidden members is left out, and so are further seeds of one.
        """
        shown = [
            parts
            for name, parts in self.ensembles.items()
            if set(parts) <= set(self.models) and name not in self.further_seeds
        ]
        if shown:
            return tuple(dict.fromkeys(member for parts in shown for member in parts))
        return tuple(m for m in self.models if self.roles[m] == "member")

    @property
    def seeds(self) -> dict[str, tuple[str, ...]]:
        """The models, or ensembles, of each variant of which there are several."""
        groups: dict[str, tuple[str, ...]] = {}
        for model in self.shown:
            if model in self.variants:
                variant = self.variants[model]
                groups[variant] = (*groups.get(variant, ()), model)
        return {v: models for v, models in groups.items() if len(models) > 1}

    @property
    def further_seeds(self) -> frozenset[str]:
        """All of `seeds` but the first of each variant."""
        return frozenset(m for models in self.seeds.values() for m in models[1:])
