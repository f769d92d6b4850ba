"""Studies: the whole chain from training to a report and an export."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "ablation": ["run_ablation"],
        "chain": ["run_study"],
        "choice": ["Choice", "choose_ensemble", "format_choice"],
        "config": ["ChooseConfig", "RecommendConfig", "StudyConfig"],
        "plan": ["Plan", "PlannedTrainings", "format_plan", "plan_study"],
        "recipes": ["AblationConfig"],
        "recommendation": [
            "Recommendation",
            "format_recommendation",
            "recommend",
        ],
    },
)
