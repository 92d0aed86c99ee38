"""Rows of a benchmark survive being written one by one, and models are found once each."""

from pathlib import Path

from benchmarks.rows import append_row, models_under, read_rows


def test_rows_are_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"model": "a", "bytes": 1}, {"model": "b", "bytes": 2}]
    for row in rows:
        append_row(path, row)
    assert read_rows(path) == rows


def test_without_a_file_there_are_no_rows(tmp_path: Path) -> None:
    append_row(None, {"model": "a"})
    assert read_rows(None) == read_rows(tmp_path / "none.jsonl") == []


def test_models_are_found_once_in_the_order_of_paths(tmp_path: Path) -> None:
    names = ["b.onnx", "deep/a.onnx", "note.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    folders = [tmp_path, tmp_path / "b.onnx"]
    assert models_under(folders) == [tmp_path / "b.onnx", tmp_path / "deep" / "a.onnx"]
