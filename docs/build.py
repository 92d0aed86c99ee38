"""Build the documentation site: Markdown files at the root and under docs/ become site/.

    python docs/build.py            # writes site/
    python docs/build.py --check    # also fails on dead links between pages

Only what stowplan itself depends on is needed: jinja2, and markdown-it-py, which rich brings.
"""

import argparse
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
README = ROOT / "README.md"
AT_ROOT = (README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md")
ORDER = (
    "index",
    "cli",
    "report",
    "plans",
    "targets",
    "python",
    "operators",
    "CONTRIBUTING",
    "CHANGELOG",
)
ASSETS = (".svg", ".png")
LINK = re.compile(r'(?:href|src)="([^"#:]+)(#[^"]*)?"')


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its path below the site without suffix, its title and its HTML."""

    path: str
    title: str
    html: str


def read_page(source: Path) -> Page:
    """Render one Markdown file; links to other Markdown files become links to pages."""
    text = source.read_text("utf-8")
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    html = re.sub(r'((?:href|src)=")docs/', r"\1", html) if source == README else html
    html = re.sub(r'(href="[^":]+)\.md(["#])', r"\1.html\2", html)
    title = next((line[2:] for line in text.splitlines() if line.startswith("# ")), source.stem)
    folder = ROOT if source in AT_ROOT else DOCS
    path = "index" if source == README else str(source.relative_to(folder).with_suffix(""))
    return Page(path, title, html)


def position(page: Page) -> tuple[int, str]:
    """Sort key: the main pages in their order, then the rest by path."""
    return (ORDER.index(page.path) if page.path in ORDER else len(ORDER), page.path)


def write_site(pages: list[Page], site: Path) -> None:
    """Write every page and copy the pictures."""
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string((DOCS / "page.html").read_text("utf-8"))
    main = [page for page in pages if page.path in ORDER]
    decisions = [page for page in pages if page.path.startswith("adr/")]
    for page in pages:
        target = site / f"{page.path}.html"
        target.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * page.path.count("/")
        target.write_text(
            template.render(
                page=page, body=Markup(page.html), main=main, decisions=decisions, up=up
            ),
            "utf-8",
        )
    shutil.copyfile(ROOT / "LICENSE", site / "LICENSE")
    for asset in DOCS.rglob("*"):
        if asset.suffix in ASSETS:
            copy = site / asset.relative_to(DOCS)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(asset, copy)


def dead_links(site: Path) -> list[str]:
    """Links of the site that lead to no file of it."""
    return [
        f"{page.relative_to(site)}: {match[1]}"
        for page in sorted(site.rglob("*.html"))
        for match in LINK.finditer(page.read_text("utf-8"))
        if not (page.parent / match[1]).exists()
    ]


def main() -> None:
    """Build the site; exit with a message when a link is dead."""
    parser = argparse.ArgumentParser(description="Build the documentation site.")
    parser.add_argument("--check", action="store_true", help="fail on dead links")
    parser.add_argument("--out", type=Path, default=ROOT / "site", help="where to write")
    arguments = parser.parse_args()
    pages = sorted((read_page(path) for path in (*AT_ROOT, *DOCS.rglob("*.md"))), key=position)
    write_site(pages, arguments.out)
    dead = dead_links(arguments.out)
    if arguments.check and dead:
        sys.exit("dead links:\n  " + "\n  ".join(dead))
    print(f"{arguments.out}: {len(pages)} pages")


if __name__ == "__main__":
    main()
