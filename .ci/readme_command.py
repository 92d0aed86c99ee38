"""Print the N-th command of README's "Set up" section, so that the gate runs what people read."""

import re
import sys
from pathlib import Path


def commands(readme: str) -> list[str]:
    """Contents of the shell blocks of the section, in order."""
    section = readme.split("\n## Set up\n", 1)[1].split("\n## ", 1)[0]
    return [block.strip() for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL)]


if __name__ == "__main__":
    found = commands(Path(sys.argv[1]).read_text("utf-8"))
    if len(found) != 2:
        sys.exit(f"README's set-up section has {len(found)} commands, expected 2")
    print(found[int(sys.argv[2]) - 1])
