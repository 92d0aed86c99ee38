"""Tile sizes that the caller gives instead of the search: ``conv1:rows=8,channels=32``.

Before the last colon stands an operator, or a pattern with ``*`` and ``?`` for several; behind it
the most a tile may have along dimensions of the operator's result, outermost loop first. In the
text of a pass, whose options are separated by commas, fields are separated by ``;`` and rules by
``|``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from stowplan.errors import UsageError
from stowplan.ir.operator_kinds import Category, category
from stowplan.passes.tiling.grids import TERMS, Grid
from stowplan.passes.tiling.network import Network, Unit

FIELDS = ("batch", "channels", "planes", "rows", "columns", "terms")
_SUGGESTED = 5
_WINDOWED = (Category.CONV, Category.POOL)


@dataclass(frozen=True, slots=True)
class SizeRule:
    """The most that tiles of some operators may have.

    Attributes:
        pattern: name of an operator, or a pattern of names.
        sizes: (field, elements), the outermost loop first.
    """

    pattern: str
    sizes: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        return f"{self.pattern}:{','.join(f'{field}={size}' for field, size in self.sizes)}"

    @property
    def several(self) -> bool:
        """Whether it may be meant for more than one operator."""
        return any(sign in self.pattern for sign in "*?[")

    def names(self, unit: Unit) -> bool:
        """Whether it is meant for a unit: by its name or that of a node fused into it."""
        return any(fnmatchcase(name, self.pattern) for name in _names(unit))


def parse_rule(text: str) -> SizeRule:
    """A rule of its text. Raises UsageError that says what is wrong with it."""
    pattern, colon, rest = text.strip().rpartition(":")
    if not colon or not pattern or not rest:
        raise UsageError(f"tile size {text!r}: expected OPERATOR:rows=8,channels=32")
    found: dict[str, int] = {}
    for item in rest.replace(";", ",").split(","):
        field, _, size = (part.strip() for part in item.partition("="))
        if field not in FIELDS:
            raise UsageError(
                f"tile size {text!r}: {field!r} is no dimension; choose among {', '.join(FIELDS)}"
            )
        if not size.isdecimal() or int(size) < 1:
            raise UsageError(
                f"tile size {text!r}: {field}={size}: a tile has at least one element along "
                f"{field}, and a whole number of them"
            )
        if field in found:
            raise UsageError(f"tile size {text!r}: {field} is given twice")
        found[field] = int(size)
    return SizeRule(pattern, tuple(found.items()))


def parse_rules(text: str) -> tuple[SizeRule, ...]:
    """Rules as the text of a pass holds them."""
    return tuple(parse_rule(part) for part in text.split("|") if part.strip())


def print_rules(rules: Iterable[SizeRule]) -> str:
    """The text of a pass. Raises UsageError for a pattern that it cannot hold."""
    rules = tuple(rules)
    for rule in rules:
        if any(sign in rule.pattern for sign in ",;|{}"):
            raise UsageError(f"tile size {rule}: write ? for each of the signs , ; | {{ }}")
    return "|".join(str(rule).replace(",", ";") for rule in rules)


def fixed_grids(network: Network, rules: Sequence[SizeRule]) -> Mapping[int, Grid]:
    """Per index of a unit that some rule is meant for, its tiles; of several rules, the last.

    Raises:
        UsageError: a rule is meant for no operator, or for none that can be cut so.
    """
    found: dict[int, Grid] = {}
    for rule in rules:
        meant = [unit for unit in network.units if rule.names(unit)]
        if not meant:
            raise UsageError(f"tile size {rule}: {_unknown(network, rule.pattern)}")
        able = [unit for unit in meant if not _obstacle(network, unit, rule)]
        if not able or (len(able) < len(meant) and not rule.several):
            unit = next(unit for unit in meant if unit not in able)
            raise UsageError(f"tile size {rule}: {_obstacle(network, unit, rule)}")
        found |= {unit.index: _grid(network, unit, rule) for unit in able}
    return found


def dimensions(network: Network, unit: Unit) -> dict[str, int]:
    """Dimension of a unit's result by field, :data:`TERMS` among them, that tiles may cut."""
    rank = len(network.whole(unit))
    windowed = category(unit.operator.kind, unit.operator.domain) in _WINDOWED
    if rank > 3 or (rank == 3 and windowed):
        names = ("batch", "channels", *(("planes", "rows", "columns")[5 - rank :]))
    else:
        names = ("batch", "rows", "columns")[max(0, 3 - rank) :]
    axes = {name: axis for axis, name in enumerate(names) if rank <= 5}
    cut = {name: axis for name, axis in axes.items() if axis in unit.splittable}
    return cut | ({"terms": TERMS} if unit.terms > 1 else {})


def _names(unit: Unit) -> tuple[str, ...]:
    return (unit.operator.name, *unit.operator.nodes)


def _unknown(network: Network, pattern: str) -> str:
    names = dict.fromkeys(name for unit in network.units for name in _names(unit))
    near = get_close_matches(pattern, names, _SUGGESTED) or list(names)[:_SUGGESTED]
    return f"no operator is named {pattern!r}; there are, for instance, {', '.join(near)}"


def _obstacle(network: Network, unit: Unit, rule: SizeRule) -> str:
    """Why a unit cannot be cut as a rule has it; empty when it can."""
    known = dimensions(network, unit)
    for field, _ in rule.sizes:
        if field not in known:
            able = f"along {', '.join(known)}" if known else "in no way: it stays whole"
            return (
                f"operator {unit.operator.name!r} ({unit.operator.kind}) has no {field} that tiles "
                f"could cut; it can be cut {able}"
            )
    return ""


def _grid(network: Network, unit: Unit, rule: SizeRule) -> Grid:
    whole, known = network.whole(unit), dimensions(network, unit)
    loops = []
    for field, size in rule.sizes:
        axis = known[field]
        extent = unit.terms if axis == TERMS else whole[axis][1]
        loops.append((axis, -(-extent // size)))
    # Sums are always the innermost loop.
    loops.sort(key=lambda loop: loop[0] == TERMS)
    return Grid(tuple(loop for loop in loops if loop[1] > 1), again_bytes=0, needed_bytes=0)
