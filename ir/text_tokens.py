"""Tokens of the graph text form, with the line each came from."""

import json
import re
from collections.abc import Callable
from typing import NoReturn, TypeVar

from stowplan.errors import ModelError

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+|\#[^\n]*)
    |(?P<string>"(?:[^"\\\n]|\\.)*")
    |(?P<number>-?(?:\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|inf\b))
    |(?P<word>[A-Za-z_][A-Za-z0-9_.]*)
    |(?P<mark>->|<-|[(){}\[\],:=+])""",
    re.VERBOSE,
)
_INTEGER = re.compile(r"-?\d+\Z")
Item = TypeVar("Item")


class TokenReader:
    """Reads a text token by token; a state machine, so it changes as it is used."""

    def __init__(self, text: str, source: str) -> None:
        self._source = source
        self._tokens: list[tuple[str, int]] = []
        self._position = 0
        self._tokenise(text)

    def _tokenise(self, text: str) -> None:
        position, line = 0, 1
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise ModelError(
                    f"{self._source}:{line}: no token can start with {text[position]!r}"
                )
            if match.lastgroup != "space":
                self._tokens.append((match.group(), line))
            line += match.group().count("\n")
            position = match.end()

    def fail(self, expected: str) -> NoReturn:
        """Raise ModelError at the current token."""
        found, line = ("the end", 1) if not self._tokens else (None, self._tokens[-1][1])
        if self._position < len(self._tokens):
            token, line = self._tokens[self._position]
            found = repr(token)
        raise ModelError(f"{self._source}:{line}: expected {expected}, found {found or 'the end'}")

    def peek(self, ahead: int = 0) -> str:
        """A token ahead of the current one; empty past the end."""
        position = self._position + ahead
        return self._tokens[position][0] if position < len(self._tokens) else ""

    def next(self) -> str:
        """The current token, taken."""
        token = self.peek()
        self._position += 1
        return token

    def accept(self, token: str) -> bool:
        """Take the current token if it is ``token``."""
        if self.peek() != token:
            return False
        self._position += 1
        return True

    def expect(self, token: str) -> None:
        """Take ``token`` or fail."""
        if not self.accept(token):
            self.fail(repr(token))

    def end(self) -> None:
        """Fail unless everything has been read."""
        if self.peek():
            self.fail("the end")

    def name(self) -> str:
        """Take a plain word or a JSON string."""
        token = self.peek()
        if token.startswith('"'):
            return self.string()
        if not token[:1].isalpha() and not token.startswith("_"):
            self.fail("a name")
        return self.next()

    def string(self) -> str:
        """Take a JSON string."""
        try:
            value = json.loads(self.peek())
        except json.JSONDecodeError:
            self.fail("a JSON string")
        if not isinstance(value, str):
            self.fail("a JSON string")
        self._position += 1
        return value

    def integer(self) -> int:
        """Take an integer."""
        if not _INTEGER.match(self.peek()):
            self.fail("an integer")
        return int(self.next())

    def sequence(
        self, opening: str, item: Callable[[], Item], closing: str, after: str | None = None
    ) -> tuple[Item, ...]:
        """Take items between brackets, separated by commas.

        With ``after``, the sequence is optional and begins with that word; absent it is empty.
        """
        if after is not None and not self.accept(after):
            return ()
        self.expect(opening)
        items: list[Item] = []
        while not self.accept(closing):
            if items:
                self.expect(",")
            items.append(item())
        return tuple(items)
