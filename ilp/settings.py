"""Reading planner-specific settings, with errors that name what is known."""

from collections.abc import Mapping

from stowplan.errors import UsageError
from stowplan.passes.planner import PlanOptions


def read_settings(options: PlanOptions, planner: str, known: Mapping[str, str]) -> dict[str, str]:
    """Settings over the defaults in ``known``. Raises UsageError for an unknown name."""
    given = dict(options.settings)
    for name in sorted(given.keys() - known.keys()):
        raise UsageError(
            f"planner {planner!r} has no setting {name!r}: choose of {', '.join(sorted(known))}"
        )
    return {**known, **given}


def switch(settings: Mapping[str, str], name: str) -> bool:
    """Value of an on/off setting. Raises UsageError for anything else."""
    return choice(settings, name, ("on", "off")) == "on"


def choice(settings: Mapping[str, str], name: str, known: tuple[str, ...]) -> str:
    """Value of a setting with fixed values. Raises UsageError for anything else."""
    value = settings[name]
    if value not in known:
        raise UsageError(f"setting {name}={value!r}: choose one of {', '.join(known)}")
    return value


def number(settings: Mapping[str, str], name: str) -> int:
    """Value of a whole-number setting. Raises UsageError for anything else."""
    if not settings[name].isdigit():
        raise UsageError(f"setting {name}={settings[name]!r}: a whole number is expected")
    return int(settings[name])
