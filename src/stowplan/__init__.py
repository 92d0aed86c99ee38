"""stowplan: plan, prove and simulate neural networks on accelerators.

The public names below are imported when first used, so that ``import stowplan`` and the command
line's help cost nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stowplan.api import Compiled, compile, reopen
    from stowplan.ir.graph import Graph
    from stowplan.ir.plan import Plan
    from stowplan.targets.load import load_target
    from stowplan.targets.target import Target
    from stowplan.version import VERSION as __version__

__all__ = [
    "Compiled",
    "Graph",
    "Plan",
    "Target",
    "__version__",
    "compile",
    "load_target",
    "reopen",
]

_HOMES = {
    "Compiled": ("stowplan.api", "Compiled"),
    "Graph": ("stowplan.ir.graph", "Graph"),
    "Plan": ("stowplan.ir.plan", "Plan"),
    "Target": ("stowplan.targets.target", "Target"),
    "__version__": ("stowplan.version", "VERSION"),
    "compile": ("stowplan.api", "compile"),
    "load_target": ("stowplan.targets.load", "load_target"),
    "reopen": ("stowplan.api", "reopen"),
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'stowplan' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
