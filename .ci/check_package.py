"""Build sdist, then the wheel from it, and check that the wheel holds every package and its data.

The package folders are symlinks; a build backend that does not follow them drops code silently.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ("*.toml", "*.html", "*.css", "*.js", "*.npz", "py.typed")


def expected(package: Path) -> set[str]:
    """Names a wheel must hold: every module and data file below ``package``, links followed."""
    found = set()
    for child in package.iterdir():
        if child.is_dir():
            found |= expected(child)
        elif child.suffix == ".py" or any(child.match(pattern) for pattern in DATA):
            found.add(str(child.relative_to(ROOT / "src")))
    return found


def main() -> None:
    """Exit with a message unless the wheel is complete."""
    links = [path for path in (ROOT / "src" / "stowplan").iterdir() if path.is_symlink()]
    if len(links) != 6 or not all(link.is_dir() for link in links):
        sys.exit(f"expected six links to package folders, found {sorted(map(str, links))}")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        held = set(zipfile.ZipFile(wheel).namelist())
    missing = sorted(expected(ROOT / "src" / "stowplan") - held)
    if missing:
        sys.exit("the wheel misses " + ", ".join(missing))
    print(f"{wheel.name}: {len(held)} files, nothing missing")


if __name__ == "__main__":
    main()
