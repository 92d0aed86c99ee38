"""The registry of planners: names, and functions imported only when asked for."""

from importlib import import_module
from importlib.util import find_spec
from typing import cast

from stowplan.errors import UsageError
from stowplan.passes.planner import Planner

_PLANNERS = {
    "greedy": ("stowplan.passes.greedy", "plan_greedy"),
    "cosma": ("stowplan.ilp.cosma", "plan_cosma"),
    "exact": ("stowplan.ilp.exact", "plan_exact"),
    "lns": ("stowplan.ilp.lns", "plan_lns"),
    "rl": ("stowplan.mapping", "plan_rl"),
}


def planner_names() -> tuple[str, ...]:
    """Names of the planners this installation has."""
    return tuple(name for name, (module, _) in _PLANNERS.items() if find_spec(module) is not None)


def get_planner(name: str) -> Planner:
    """The planning function called ``name``.

    Raises:
        UsageError: there is no such planner.
    """
    names = planner_names()
    if name not in names:
        raise UsageError(f"unknown planner {name!r}: choose one of {', '.join(names)}")
    module, function = _PLANNERS[name]
    return cast(Planner, getattr(import_module(module), function))
