"""From addresses to channel, rank, bank group, bank, row and column."""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stowplan.errors import TargetError
from stowplan.targets.dram_presets import DramSpec

Ints = NDArray[np.int64]

FIELDS = ("channel", "rank", "bankgroup", "bank", "row", "column")
"""Fields of an address; pieces of an :class:`AddressMap` name them by position."""

_PIECE = re.compile(r"(" + "|".join(sorted(FIELDS, key=len, reverse=True)) + r")([0-9]*)")


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bits of one field.

    Attributes:
        field: index into ``FIELDS``.
        shift: least significant bit in the block number (address divided by access size).
        bits: width.
        place: least significant bit within the field.
    """

    field: int
    shift: int
    bits: int
    place: int


@dataclass(frozen=True, slots=True)
class AddressMap:
    """Where each field lies in a block number; addresses beyond the capacity wrap around.

    Attributes:
        access_bytes: bytes of a block, what one column command moves.
        pieces: pieces of all fields, least significant first; together they cover every bit.
        blocks: blocks of the whole memory.
    """

    access_bytes: int
    pieces: tuple[Piece, ...]
    blocks: int

    def decode(self, addresses: Ints) -> tuple[Ints, ...]:
        """Fields of byte addresses [N], one array [N] per entry of ``FIELDS``."""
        blocks = addresses // self.access_bytes
        fields = tuple(np.zeros(len(addresses), dtype=np.int64) for _ in FIELDS)
        for piece in self.pieces:
            part = (blocks >> piece.shift) & ((1 << piece.bits) - 1)
            fields[piece.field][:] |= part << piece.place
        return fields


def address_map(spec: DramSpec) -> AddressMap:
    """The address map that ``spec.controller.address_map`` writes down.

    Raises:
        TargetError: unknown field, or pieces that do not add up to a field's width.
    """
    widths = _field_bits(spec)
    text = spec.controller.address_map
    pieces = [_PIECE.fullmatch(part.strip().lower()) for part in text.split("-")]
    found = [(FIELDS.index(p[1]), int(p[2]) if p[2] else None) for p in pieces if p is not None]
    if len(found) < len(pieces):
        raise TargetError(
            f"{spec.name}: address_map {text!r}: expected fields out of {', '.join(FIELDS)}, each "
            "with an optional number of bits, joined by '-'"
        )
    placed, shift, place = [], 0, [0] * len(FIELDS)
    for field, bits in reversed(found):
        width = _rest(found, field, widths[field]) if bits is None else bits
        placed.append(Piece(field, shift, width, place[field]))
        shift += width
        place[field] += width
    wrong = [f"{FIELDS[i]} ({place[i]} of {widths[i]})" for i in range(6) if place[i] != widths[i]]
    if wrong:
        raise TargetError(f"{spec.name}: address_map {text!r}: bits of {', '.join(wrong)}")
    return AddressMap(spec.organisation.access_bytes, tuple(placed), 1 << shift)


def _field_bits(spec: DramSpec) -> tuple[int, ...]:
    organisation = spec.organisation
    bursts = organisation.columns // organisation.burst_length
    counts = (
        organisation.channels,
        organisation.ranks,
        organisation.bank_groups,
        organisation.banks_per_group,
        organisation.rows,
        bursts,
    )
    return tuple(count.bit_length() - 1 for count in counts)


def _rest(found: list[tuple[int, int | None]], field: int, width: int) -> int:
    """Bits of the piece that leaves its width out; too many of them fail the sum check."""
    return max(0, width - sum(bits or 0 for other, bits in found if other == field))
