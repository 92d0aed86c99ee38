"""Make again what the documentation shows of real runs: README's run, its picture, the operators.

    python docs/refresh.py            # rewrites them
    python docs/refresh.py --check    # fails where they differ; durations, peak and picture may

README's block ``<!-- run: ARGUMENTS -->`` holds the command and what it prints.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
OPERATORS = ROOT / "docs" / "operators.md"
PICTURE = ROOT / "docs" / "memory_map.svg"
RUN = re.compile(r"(<!-- run: (.*?) -->\n).*?(<!-- end -->)", re.DOTALL)
VOLATILE = re.compile(r"\bin [0-9.]+ (?:µs|ms|s)\b|\bpeak [0-9,]+ of [0-9,]+ bytes \([0-9.]+%\)")
"""Durations, and the peak: equally good plans may place tensors differently from run to run."""


def stowplan(*arguments: str) -> str:
    """What the command prints on stdout."""
    command = [sys.executable, "-m", "stowplan.cli", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def documents() -> dict[Path, str]:
    """Every generated document as it should be."""
    readme = README.read_text("utf-8")
    found = RUN.search(readme)
    if found is None:
        sys.exit("README has no <!-- run: ... --> block")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        arguments = found[2].split()
        text = stowplan(*(str(out) if word == "out/" else word for word in arguments))
        picture = (out / "memory_map.svg").read_text("utf-8")
    shown = f"$ stowplan {found[2]}\n{text.replace(str(out), 'out')}"
    block = f"{found[1]}```text\n{shown}```\n{found[3]}"
    return {
        README: readme[: found.start()] + block + readme[found.end() :],
        OPERATORS: stowplan("ops", "--format", "markdown"),
        PICTURE: picture,
    }


def main() -> None:
    """Rewrite the documents, or exit with the names of those that are out of date."""
    parser = argparse.ArgumentParser(description="Refresh what the documentation shows.")
    parser.add_argument("--check", action="store_true", help="change nothing, fail on drift")
    check = parser.parse_args().check
    stale = []
    for path, wanted in documents().items():
        current = path.read_text("utf-8") if path.exists() else ""
        if VOLATILE.sub("…", current) != VOLATILE.sub("…", wanted):
            stale.append(path.name)
            if not check:
                path.write_text(wanted, "utf-8")
    if check and set(stale) - {PICTURE.name}:
        sys.exit(f"out of date: {', '.join(stale)}; run python docs/refresh.py")
    print(f"refreshed: {', '.join(stale) or 'nothing to do'}")


if __name__ == "__main__":
    main()
