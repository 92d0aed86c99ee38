"""The table of operator kinds covers the standard the installed onnx defines."""

import onnx.defs

from stowplan.ir.operator_kinds import KINDS, MICROSOFT, Category, category


def test_every_standard_kind_is_listed() -> None:
    standard = {s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == ""}
    assert standard <= {name for domain, name in KINDS if not domain}


def test_rows_are_unique_sorted_and_keyed_by_themselves() -> None:
    assert list(KINDS) == sorted(KINDS)
    assert all(key == (kind.domain, kind.name) for key, kind in KINDS.items())


def test_only_control_flow_and_sequences_stay_out() -> None:
    left_out = {kind.name for kind in KINDS.values() if not kind.imported}
    assert {"If", "Loop", "Scan", "SequenceAt"} <= left_out
    assert all(kind.note for kind in KINDS.values() if not kind.imported)
    assert all(kind.imported for kind in KINDS.values() if kind.domain == MICROSOFT)


def test_category_of_known_and_unknown_kinds() -> None:
    assert category("QLinearConv") is Category.CONV
    assert category("QGemm", MICROSOFT) is Category.MATMUL
    assert category("QGemm") is Category.OTHER
    assert category("Magic", "com.example") is Category.OTHER
