"""Version of the installed package."""

from importlib import metadata

VERSION = metadata.version("stowplan")
