"""How a planned graph and its target come from a model file, so that both can be made again."""

from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Self

from stowplan.errors import UsageError
from stowplan.ir.plan import Plan
from stowplan.targets.load import DEFAULT_TARGET

LIGHT_PREFIX = "light:"
TILING = ("auto", "always", "never")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Choices between a model file and a planning problem.

    Attributes:
        target: name of a shipped target, or path of a target file.
        overrides: ``field=value`` texts applied to the target.
        dims: (symbolic dimension, size) pairs.
        precision: element type a float model is planned at; None keeps its own.
        passes: pipeline text; None runs the usual passes.
        tile: ``auto`` tiles a model some operator of which does not fit, ``always`` tiles whatever
            gains by it, ``never`` leaves operators whole.
        track_weights: weights take scratchpad, so that tiles must leave room for them.
        groups: tiles as a search over tilings found them, as text of the pass ``tile-groups``;
            empty leaves them to the pass ``tile``.
        tile_sizes: tile sizes of single operators, ``conv1:rows=8,channels=32``.
    """

    target: str = DEFAULT_TARGET
    overrides: tuple[str, ...] = ()
    dims: tuple[tuple[str, int], ...] = ()
    precision: str | None = None
    passes: str | None = None
    tile: str = "auto"
    track_weights: bool = False
    groups: str = ""
    tile_sizes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.tile not in TILING:
            raise UsageError(f"tile {self.tile!r} is not known; choose one of {', '.join(TILING)}")
        if self.tile_sizes and (self.tile == "never" or self.passes is not None):
            raise UsageError(
                "tile sizes need tiling by the usual passes: give them without tiling `never` and "
                "without passes of your own; the pass takes them as tile{sizes=...}"
            )

    def origin(self, model: str) -> tuple[tuple[str, str], ...]:
        """The pairs a plan stores; keys repeat for overrides and dimensions."""
        pairs = [("model", model), ("target", self.target)]
        pairs += [("set", override) for override in self.overrides]
        pairs += [("dim", f"{name}={size}") for name, size in self.dims]
        if self.precision is not None:
            pairs.append(("precision", self.precision))
        if self.passes is not None:
            pairs.append(("passes", self.passes))
        if self.tile != "auto":
            pairs.append(("tile", self.tile))
        if self.groups:
            pairs.append(("groups", self.groups))
        pairs += [("tile-size", text) for text in self.tile_sizes]
        return tuple(pairs)

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        """The recipe a plan was made by. Raises UsageError when the plan does not tell."""
        found: dict[str, list[str]] = {}
        for key, value in plan.origin:
            found.setdefault(key, []).append(value)
        if "target" not in found:
            raise UsageError(
                "the plan does not say how its graph was made: plan the model again with "
                "`stowplan compile`"
            )
        return cls(
            target=found["target"][0],
            overrides=tuple(found.get("set", ())),
            dims=tuple(_dimension(text) for text in found.get("dim", ())),
            precision=next(iter(found.get("precision", ())), None),
            passes=next(iter(found.get("passes", ())), None),
            tile=next(iter(found.get("tile", ())), "auto"),
            track_weights=plan.track_weights,
            groups=next(iter(found.get("groups", ())), ""),
            tile_sizes=tuple(found.get("tile-size", ())),
        )


def _dimension(text: str) -> tuple[str, int]:
    name, _, size = text.rpartition("=")
    if not name or not size.isdecimal():
        raise UsageError(f"the plan's origin has the dimension {text!r}: expected NAME=SIZE")
    return name, int(size)


def model_path(model: str | Path) -> Path:
    """The file ``model`` names: a path, or ``light:NAME`` for a network that onnx ships.

    Raises:
        UsageError: onnx ships no such network.
    """
    text = str(model)
    if not text.startswith(LIGHT_PREFIX):
        return Path(model)
    networks = light_networks()
    name = text.removeprefix(LIGHT_PREFIX)
    if name not in networks:
        raise UsageError(f"{text}: onnx ships no such network; it ships {', '.join(networks)}")
    return networks[name]


def light_networks() -> dict[str, Path]:
    """Real networks that the onnx package carries for its own tests, by short name.

    Their weights are computed by ConstantOfShape nodes, which keeps the files small.
    """
    spec = util.find_spec("onnx")
    if spec is None or spec.origin is None:
        return {}
    folder = Path(spec.origin).parent / "backend" / "test" / "data" / "light"
    return {path.stem.removeprefix("light_"): path for path in sorted(folder.glob("light_*.onnx"))}
