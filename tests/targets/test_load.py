"""Target files: shipped ones, inheritance, units, overrides, mistakes, schema."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowplan.errors import TargetError
from stowplan.targets.load import list_targets, load_target, target_schema, unsourced_numbers
from stowplan.targets.units import parse_quantity

PUBLISHED = {
    "edge-npu": (32, 32, 8 * 2**20, False),
    "gemmini-16x16": (16, 16, 256 * 2**10, False),
    "ethos-u55-256": (16, 16, 384 * 2**10, False),
    "eyeriss": (12, 14, 100 * 2**10, False),
    "tpu-v4i": (128, 128, 128 * 2**20, True),
}


def write(folder: Path, text: str, name: str = "mine.toml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_shipped_targets_are_the_published_machines() -> None:
    assert set(list_targets()) == PUBLISHED.keys()
    for name, expected in PUBLISHED.items():
        target = load_target(name)
        found = (
            target.array.rows,
            target.array.cols,
            target.scratchpad.size_bytes,
            target.dram.direct_operands,
        )
        assert (target.name, found) == (name, expected)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_number_has_a_source(name: str) -> None:
    target = load_target(name)
    assert unsourced_numbers(target) == ()
    assert all(source.strip() for source in target.sources.values())


def test_tpu_peak_is_the_published_one() -> None:
    target = load_target("tpu-v4i")
    units = target.array.rows * target.array.cols * target.array.count
    assert 2 * units * target.clock_hz == pytest.approx(138e12, rel=0.01)
    assert target.dram.bytes_per_cycle * target.clock_hz == pytest.approx(614e9, rel=0.01)


def test_base_is_inherited_and_its_stale_sources_are_not(tmp_path: Path) -> None:
    path = write(tmp_path, 'base = "edge-npu"\nname = "mine"\n[scratchpad]\nsize = "1MiB"\n')
    target = load_target(path)
    edge = load_target("edge-npu")
    assert target.scratchpad.size_bytes == 2**20
    assert target.scratchpad.banks == edge.scratchpad.banks
    assert target.vector == edge.vector
    assert unsourced_numbers(target) == ("scratchpad.size_bytes",)


def test_base_may_be_a_file_beside_it(tmp_path: Path) -> None:
    write(tmp_path, 'base = "eyeriss"\nclock = "250MHz"\n', "fast.toml")
    path = write(tmp_path, 'base = "fast.toml"\nname = "mine"\n')
    assert load_target(path).clock_hz == 250_000_000


def test_circular_bases_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, 'base = "mine.toml"\n')
    with pytest.raises(TargetError, match="comes back to itself"):
        load_target(path)


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("scratchpad.size=256KiB", ("scratchpad", "size_bytes"), 262144),
        ("scratchpad.size_bytes=4096", ("scratchpad", "size_bytes"), 4096),
        ("clock=1.2GHz", ("clock_hz",), 1_200_000_000),
        ("dram.latency=7", ("dram", "latency_cycles"), 7),
        ("dram.direct_operands=true", ("dram", "direct_operands"), True),
        ("array.dataflow=input_stationary", ("array", "dataflow"), "input_stationary"),
        ("vector.cycles_per_element.Softmax=5", ("vector", "cycles_per_element", "Softmax"), 5.0),
        ("weight_buffer.size=1_000 kB", ("weight_buffer", "size_bytes"), 1_000_000),
    ],
)
def test_overrides(override: str, path: tuple[str, ...], value: object) -> None:
    target = load_target("edge-npu", [override])
    found = msgspec.to_builtins(target)
    for part in path:
        found = found[part]
    assert found == value
    assert target.sources[".".join(path)] == f"override: {override}"
    assert target.hash != load_target("edge-npu").hash


def test_the_last_override_wins() -> None:
    target = load_target("edge-npu", ["array.rows=8", "array.rows=4"])
    assert target.array.rows == 4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("scratchpad.sise=1", r"did you mean 'size'"),
        ("scratchpads.size=1", r"did you mean 'scratchpad'"),
        ("clock=fast", r"clock_hz: 'fast' is not a quantity"),
        ("array.rows=-1", r"array.rows: Expected `int` >= 1"),
        ("array.rows=1.5", r"array.rows: Expected `int`, got `float`"),
        ("array.dataflow=ws", r"one of output_stationary, weight_stationary, input_stationary"),
        ("array.fold_mode=fast", r"array.fold_mode.*one of drained, pipelined"),
        ("scratchpad=3", r"scratchpad is a table"),
        ("array.macs_per_unit.x=1", r"array.macs_per_unit"),
        ("array.macs_per_unit.8=-3", r"--set array.macs_per_unit.8=-3"),
        ("energy.mac_pj=nan", r"no finite number"),
        ("energy.mac_pj=-1", r"energy.mac_pj"),
        ("scratchpad.size=1.5B", r"not a whole number"),
        ("scratchpad.size=256K", r"not a quantity"),
        ("sources.x=1", r"cannot be overridden"),
        ("foo", r"expected field=value"),
        ("=3", r"expected field=value"),
        ("array..rows=3", r"expected field=value"),
    ],
)
def test_wrong_overrides_name_themselves(override: str, message: str) -> None:
    with pytest.raises(TargetError, match=message) as caught:
        load_target("edge-npu", [override])
    assert "--set" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[array]\nrows = 4\nrowz = 5\n", 4, "unknown key 'rowz'"),
        ("[arrray]\nrows = 4\n", 2, "did you mean 'array'"),
        ("[scratchpad]\n\nsize = '3 parsecs'\n", 4, "not a quantity"),
        ("[array]\nrows = 'many'\n", 3, "array.rows"),
        ("[scratchpad]\nsize = 1\nsize_bytes = 2\n", 4, "given twice"),
        ("[sources]\n'array.rowz' = 'me'\n", 3, "no field 'array.rowz'"),
        ("[energy]\nmac_pj = inf\n", 3, "no finite number"),
        ("vector = 3\n", 2, "vector is a table"),
    ],
)
def test_mistakes_are_reported_with_file_and_line(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    path = write(tmp_path, 'base = "edge-npu"\n' + text)
    with pytest.raises(TargetError, match=message) as caught:
        load_target(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("edge-nppu", "did you mean 'edge-npu'"),
        ("nowhere/x.toml", "no such target file"),
        ("x.toml", "no such target file"),
    ],
)
def test_missing_targets(name: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        load_target(name)


@pytest.mark.parametrize("text", ["name = \n", "base = 3\n", 'base = "none"\n', 'name = "x"\n'])
def test_unusable_files(tmp_path: Path, text: str) -> None:
    with pytest.raises(TargetError, match=r"mine\.toml"):
        load_target(write(tmp_path, text))


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TargetError, match="cannot read"):
        load_target(str(path))


@given(st.integers(0, 2**40), st.sampled_from([("KiB", 2**10), ("MiB", 2**20), ("GB", 10**9)]))
def test_quantities(number: int, unit: tuple[str, int]) -> None:
    assert parse_quantity("size_bytes", f"{number}{unit[0]}") == number * unit[1]
    assert parse_quantity("size_bytes", f" {number} {unit[0].lower()} ") == number * unit[1]


def test_schema_describes_the_fields_and_is_plain_json() -> None:
    schema = json.loads(json.dumps(target_schema()))
    target = schema["$defs"]["Target"]
    assert target["additionalProperties"] is False
    assert {"required": ["base"]} in target["anyOf"]
    assert "anyOf" in schema["$defs"]["Scratchpad"]["properties"]["size_bytes"]
    names = {field.name for field in msgspec.structs.fields(type(load_target("edge-npu")))}
    assert target["properties"].keys() == names | {"base"}
