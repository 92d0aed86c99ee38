"""Target files: strict TOML with inheritance, units and overrides.

A target file holds the fields of :class:`stowplan.targets.target.Target`. ``base`` names another
target (shipped, or a file relative to this one) whose values it starts from. A field may be written
without its unit suffix (``size`` for ``size_bytes``) and, where the suffix is a unit of bytes or
hertz, with a unit (``"256KiB"``). ``[sources]`` says where every number comes from.
"""

import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import msgspec

from stowplan.errors import TargetError
from stowplan.targets.target import Section, Target
from stowplan.targets.units import parse_quantity, unit_suffix

DEFAULT_TARGET = "edge-npu"
_DATA = Path(__file__).parent / "data"
_ALIAS_SUFFIXES = ("_bytes", "_hz", "_cycles")
_TABLE = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?")
_KEY = re.compile(r"\s*([A-Za-z0-9_.\"' -]+?)\s*=")

Table = dict[str, Any]
"""A TOML table: the one place where values are not typed yet."""


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where values come from, to point at them in messages.

    Attributes:
        name: file name, or the override as written.
        lines: dotted key -> line number; empty for overrides.
    """

    name: str
    lines: Mapping[tuple[str, ...], int]

    def at(self, path: tuple[str, ...]) -> str:
        """File and line of ``path``, or of the innermost table around it that has one."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return f"{self.name}:{self.lines[path[:length]]}"
        return self.name


def list_targets() -> tuple[str, ...]:
    """Names of the targets that ship with the package, sorted."""
    return tuple(sorted(path.stem for path in _DATA.glob("*.toml")))


def load_target(name_or_path: str, overrides: Sequence[str] = ()) -> Target:
    """Read a shipped target by name or a target file by path.

    Args:
        name_or_path: ``edge-npu`` or ``my-npu.toml``.
        overrides: ``field=value`` in dotted form, ``scratchpad.size=256KiB``; later ones win.

    Raises:
        TargetError: no such target, or a mistake in the file or an override, with its place.
    """
    data, origins = _read(_find(name_or_path, Path()), ())
    for override in overrides:
        origin = _Origin(f"--set {override}", {})
        changed = _parse_override(override, origin)
        for path, _ in _leaves(changed):
            changed.setdefault("sources", {})[".".join(path)] = f"override: {override}"
            origins[path] = origin
        data = _merge(data, changed)
    return _convert(data, origins, name_or_path)


def unsourced_numbers(target: Target) -> tuple[str, ...]:
    """Dotted names of the target's numbers that no entry of ``sources`` accounts for.

    An entry for a table of numbers (``array.macs_per_unit``) accounts for all of them.
    """
    values = msgspec.to_builtins(target)
    del values["sources"]
    return tuple(
        ".".join(path)
        for path, value in _leaves(values)
        if isinstance(value, (int, float))
        and not isinstance(value, bool)
        and not any(".".join(path[:n]) in target.sources for n in range(2, len(path) + 1))
        and path[0] not in target.sources
    )


def target_schema() -> dict[str, Any]:
    """JSON Schema of a target file, for editors.

    Fields without a default are required unless the file names a ``base``.
    """
    (schema,), components = msgspec.json.schema_components([Target], ref_template="#/$defs/{name}")
    for definition in components.values():
        for field, rule in definition["properties"].items():
            if unit_suffix(field) is not None:
                definition["properties"][field] = {
                    "anyOf": [rule, {"type": "string", "pattern": "^[0-9][0-9_.]* *[A-Za-z]+$"}]
                }
    top = components["Target"]
    top["properties"]["base"] = {"type": "string"}
    top["anyOf"] = [{"required": top.pop("required")}, {"required": ["base"]}]
    for definition in components.values():
        definition.pop("required", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "$defs": components,
    }


def _find(name: str, folder: Path) -> Path:
    shipped = _DATA / f"{name}.toml"
    if name in list_targets():
        return shipped
    path = folder / name
    if path.is_file():
        return path
    if path.suffix == ".toml" or len(path.parts) > 1:
        raise TargetError(f"{path}: no such target file")
    raise TargetError(
        f"no target {name!r}{_did_you_mean(name, list_targets())}; targets are "
        f"{', '.join(list_targets())}, or give the path of a .toml file"
    )


def _read(path: Path, chain: tuple[Path, ...]) -> tuple[Table, dict[tuple[str, ...], _Origin]]:
    """Values of a file over those of its base, and where each leaf was written."""
    if path.resolve() in chain:
        raise TargetError(f"{path}: its chain of bases comes back to itself")
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise TargetError(f"{path}: cannot read the target: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise TargetError(f"{path}: not valid TOML: {error}") from error
    origin = _Origin(str(path), _line_numbers(text))
    base = raw.pop("base", None)
    data: Table = {}
    origins: dict[tuple[str, ...], _Origin] = {}
    if base is not None:
        if not isinstance(base, str):
            raise TargetError(f"{origin.at(('base',))}: base: expected the name of a target")
        try:
            found = _find(base, path.parent)
        except TargetError as error:
            raise TargetError(f"{origin.at(('base',))}: base: {error}") from error
        data, origins = _read(found, (*chain, path.resolve()))
    own = _normalise(raw, Target, (), origin)
    # A number that this file changes no longer comes from where the base had it.
    inherited = data.get("sources", {})
    for leaf, _ in _leaves(own):
        inherited.pop(".".join(leaf), None)
    origins.update((leaf, origin) for leaf, _ in _leaves(own))
    return _merge(data, own), origins


def _normalise(
    data: Table, section: type[Section], path: tuple[str, ...], origin: _Origin
) -> Table:
    """Full field names and plain numbers; unknown keys are errors."""
    fields = {field.name: field.type for field in msgspec.structs.fields(section)}
    found: Table = {}
    for key, value in data.items():
        here = (*path, key)
        name = _field_name(key, fields)
        if name is None:
            place = f"in [{'.'.join(path)}]" if path else "at the top level"
            raise TargetError(
                f"{origin.at(here)}: unknown key {key!r} {place}{_did_you_mean(key, fields)}; "
                f"known keys are {', '.join(fields)}"
            )
        if name in found:
            raise TargetError(f"{origin.at(here)}: {name} is given twice")
        found[name] = _value(value, fields[name], (*path, name), origin, here)
    return found


def _value(
    value: Any, kind: Any, path: tuple[str, ...], origin: _Origin, written: tuple[str, ...]
) -> Any:
    if isinstance(kind, type) and issubclass(kind, Section):
        if not isinstance(value, dict):
            raise TargetError(f"{origin.at(written)}: {'.'.join(path)} is a table of fields")
        return _normalise(value, kind, path, origin)
    if isinstance(value, str) and unit_suffix(path[-1]) is not None:
        try:
            return parse_quantity(path[-1], value)
        except ValueError as error:
            raise TargetError(f"{origin.at(written)}: {'.'.join(path)}: {error}") from error
    for leaf, number in _leaves(value) if isinstance(value, dict) else [((), value)]:
        if isinstance(number, float) and not math.isfinite(number):
            raise TargetError(
                f"{origin.at((*written, *leaf))}: {'.'.join((*path, *leaf))}: {number} is no "
                "finite number"
            )
    return value


def _field_name(key: str, fields: Mapping[str, Any]) -> str | None:
    return next((key + end for end in ("", *_ALIAS_SUFFIXES) if key + end in fields), None)


def _did_you_mean(key: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    short = {name.removesuffix(end) for name in known for end in _ALIAS_SUFFIXES}
    close = get_close_matches(key, sorted(short.union(known)), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _parse_override(override: str, origin: _Origin) -> Table:
    key, separator, text = override.partition("=")
    path = key.strip().split(".")
    if not separator or not all(path):
        raise TargetError(f"--set {override}: expected field=value, scratchpad.size=256KiB")
    if path[0] in ("sources", "base"):
        raise TargetError(f"--set {override}: {path[0]} cannot be overridden")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    nested: Table = {path[-1]: value}
    for part in reversed(path[:-1]):
        nested = {part: nested}
    return _normalise(nested, Target, (), origin)


def _merge(base: Table, over: Table) -> Table:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _leaves(data: Table, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in list(data.items()):
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _convert(data: Table, origins: Mapping[tuple[str, ...], _Origin], name: str) -> Target:
    try:
        target = msgspec.convert(data, Target)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `")
        path = tuple(re.findall(r"[A-Za-z0-9_-]+", place.partition("$")[2]))
        under = [leaf for leaf in origins if leaf[: len(path)] == path]
        # Overrides, which have no lines, come last and are the likeliest culprits.
        under.sort(key=lambda leaf: bool(origins[leaf].lines))
        leaf = path if path in origins else under[0] if under else ()
        where = origins[leaf].at(leaf) if leaf else name
        if reason.startswith("Invalid enum value"):
            reason += f", one of {', '.join(get_args(_type_of(path, Target)))}"
        field = f"{'.'.join(path)}: " if path else ""
        raise TargetError(f"{where}: {field}{reason}") from error
    for key in target.sources:
        if not _known(key.split("."), Target):
            where = origins[("sources", key)].at(("sources", key))
            raise TargetError(f"{where}: sources: no field {key!r}")
    return target


def _type_of(path: Sequence[str], kind: Any) -> Any:
    """Type of the field at a dotted path of an existing field."""
    if not path:
        return kind
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    return _type_of(path[1:], fields[path[0]])


def _known(path: Sequence[str], kind: Any) -> bool:
    if not path:
        return True
    if not (isinstance(kind, type) and issubclass(kind, Section)):
        return len(path) == 1 and getattr(kind, "__origin__", None) is dict
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    return path[0] in fields and _known(path[1:], fields[path[0]])


def _line_numbers(text: str) -> dict[tuple[str, ...], int]:
    """Dotted key -> line, for keys and tables that begin a line."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if match := _TABLE.fullmatch(line):
            table = _parts(match[1])
            lines.setdefault(table, number)
        elif match := _KEY.match(line):
            lines.setdefault((*table, *_parts(match[1])), number)
    return lines


def _parts(key: str) -> tuple[str, ...]:
    found = re.findall(r"\"([^\"]*)\"|'([^']*)'|([A-Za-z0-9_-]+)", key)
    return tuple("".join(groups) for groups in found)
