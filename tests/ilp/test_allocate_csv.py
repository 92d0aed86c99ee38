"""The allocator on files."""

import csv
import random
from pathlib import Path

import pytest

from stowplan.errors import UsageError
from stowplan.ilp.allocate_csv import Load, allocate_csv, greatest_load, read_buffers

PYRAMID = "id,lower,upper,size\na,0,2,4\nb,1,4,4\nc,3,5,8\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "buffers.csv"
    path.write_text(text)
    return path


def test_offsets_are_written_and_do_not_overlap(tmp_path: Path) -> None:
    rng = random.Random(7)
    rows = []
    for i in range(60):
        lower = rng.randint(0, 50)
        rows.append(f"b{i},{lower},{lower + rng.randint(1, 12)},{rng.randint(1, 64)}")
    source = written(tmp_path, "id,lower,upper,size\n" + "\n".join(rows) + "\n")
    out = tmp_path / "deep" / "out.csv"
    result = allocate_csv(source, 4096, out, 10.0)
    assert result.placed and result.peak_bytes is not None
    with out.open() as file:
        placed = list(csv.DictReader(file))
    assert [row["id"] for row in placed] == [f"b{i}" for i in range(60)]
    assert tuple((row["id"], int(row["offset"])) for row in placed) == result.offsets
    boxes = [tuple(int(row[key]) for key in ("lower", "upper", "offset", "size")) for row in placed]
    for i, (lower, upper, offset, size) in enumerate(boxes):
        assert offset >= 0 and offset + size <= result.peak_bytes <= 4096
        for other_lower, other_upper, other, other_size in boxes[:i]:
            if lower < other_upper and other_lower < upper:
                assert offset + size <= other or other + other_size <= offset


def test_what_does_not_fit_is_proved(tmp_path: Path) -> None:
    result = allocate_csv(written(tmp_path, PYRAMID), 11, tmp_path / "out.csv")
    assert result.status == "infeasible" and result.load == Load(12, 3, 2)
    assert result.offsets == () and result.peak_bytes is None
    assert not (tmp_path / "out.csv").exists()
    assert allocate_csv(written(tmp_path, PYRAMID), 12).status == "optimal"


def test_without_a_capacity_the_smallest_is_found(tmp_path: Path) -> None:
    result = allocate_csv(written(tmp_path, PYRAMID), None, tmp_path / "out.csv")
    assert (result.status, result.peak_bytes, result.lower_bound_bytes) == ("optimal", 12, 12)
    assert (tmp_path / "out.csv").exists()


def test_cancelling_keeps_what_was_found(tmp_path: Path) -> None:
    result = allocate_csv(written(tmp_path, PYRAMID), None, None, 60.0, lambda: True)
    assert result.placed and result.peak_bytes is not None and result.nodes == 0


def test_own_output_is_read_again(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    source = written(tmp_path, PYRAMID)
    allocate_csv(source, 12, out)
    assert read_buffers(out) == read_buffers(source)


def test_live_bytes_end_with_half_open_intervals(tmp_path: Path) -> None:
    text = "id, size, upper, lower\na, 5, 3, 0\nb, 5, 6, 3\n\n"
    assert greatest_load(read_buffers(written(tmp_path, text))) == Load(5, 0, 1)
    assert greatest_load(()) == Load(0, None, 0)


def test_a_table_without_rows_needs_no_memory(tmp_path: Path) -> None:
    result = allocate_csv(written(tmp_path, "id,lower,upper,size\n"))
    assert (result.status, result.peak_bytes) == ("optimal", 0)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "buffers.csv:1"),
        ("id,lower,upper\na,0,1\n", "buffers.csv:1"),
        ("id,lower,upper,size,alignment\na,0,1,4,64\n", "buffers.csv:1"),
        ("id,lower,upper,size\na,0,1,4\nb,0,1,x\n", "buffers.csv:3"),
        ("id,lower,upper,size\na,0,1\n", "buffers.csv:2"),
        ("id,lower,upper,size\na,0,1,4,9\n", "buffers.csv:2: 5 fields"),
        ("id,lower,lower,size\na,0,1,4\n", "buffers.csv:1"),
        ("id,lower,upper,size\na,2,1,4\n", "buffers.csv:2: the lifetime"),
        ("id,lower,upper,size\na,1,1,4\n", "buffers.csv:2: the lifetime"),
        ("id,lower,upper,size\na,-1,1,4\n", "buffers.csv:2: lower is -1"),
        ("id,lower,upper,size\na,0,1,-4\n", "buffers.csv:2: size is -4"),
        ("id,lower,upper,size\na,0,1,4.5\n", "buffers.csv:2: size is '4.5'"),
        (f"id,lower,upper,size\na,0,1,{10**40}\n", "buffers.csv:2: size is 1"),
        ("id,lower,upper,size\na,0,1,4\nb,1,2,4\na,2,3,4\n", "buffers.csv:4: 'a' is .* line 2"),
    ],
)
def test_mistakes_name_file_and_line(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(UsageError, match=where):
        read_buffers(written(tmp_path, text))


def test_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_buffers(tmp_path / "no.csv")
