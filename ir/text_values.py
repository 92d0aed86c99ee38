"""Values inside the graph text form: roles, element types and attributes."""

from typing import cast

from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Attribute, Role
from stowplan.ir.text_tokens import TokenReader

Scalar = int | float | str


def role(reader: TokenReader) -> Role:
    """Take a tensor's role."""
    if reader.peek() not in set(Role):
        reader.fail(f"one of {', '.join(Role)}")
    return Role(reader.next())


def dtype(reader: TokenReader) -> DType:
    """Take an element type."""
    if reader.peek() not in set(DType):
        reader.fail(f"an element type ({', '.join(DType)})")
    return DType(reader.next())


def attribute_value(reader: TokenReader) -> Attribute:
    """Take a number, a string, or a tuple of one of the kinds."""
    if reader.peek() != "(":
        return _scalar(reader)
    values = reader.sequence("(", lambda: _scalar(reader), ")")
    if len({type(value) for value in values}) > 1:
        reader.fail("all values of the tuple before to be of one type")
    return cast(Attribute, values)


def _scalar(reader: TokenReader) -> Scalar:
    token = reader.peek()
    if token.startswith('"'):
        return reader.string()
    if token.lstrip("-").isdecimal():
        return reader.integer()
    try:
        value = float(token)
    except ValueError:
        reader.fail("a number, a string or a tuple")
    reader.next()
    return value
