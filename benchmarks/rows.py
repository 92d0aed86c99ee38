"""Rows of a long benchmark, kept as JSON lines so that a run can be interrupted and resumed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_rows(path: Path | None) -> list[dict[str, Any]]:
    """Rows of earlier runs; none where there is no file yet."""
    lines = path.read_text().splitlines() if path is not None and path.exists() else []
    return [json.loads(line) for line in lines if line]


def append_row(path: Path | None, row: Mapping[str, Any]) -> None:
    """Add a row at the end of the file; without a path nothing is kept."""
    if path is not None:
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def models_under(folders: list[Path]) -> list[Path]:
    """ONNX files of folders, and the files that are named themselves, in the order of paths."""
    found = {
        path
        for folder in folders
        for path in ([folder] if folder.is_file() else folder.rglob("*.onnx"))
    }
    return sorted(found)
