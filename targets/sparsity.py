"""Sparse weights on the array: terms of a sum left after zeros are skipped. Cycles only.

*Structured.* Of every ``block`` consecutive weights of a sum at most ``kept`` are not zero; the
array multiplies those and picks their activations. A sum of ``k`` terms has ``kept * floor(k /
block) + min(kept, k mod block)`` left.

*Run-length.* Every weight is stored with the number of zeros before it, at most ``L = 2^run_bits -
1``; after ``L`` further zeros a zero itself is stored. Weights are not zero with probability ``d``
independently, so a stored one stands for ``(1 - (1 - d)^(L + 1)) / d`` weights on average and a
sum of ``k`` terms has ``ceil(k d / (1 - (1 - d)^(L + 1)))`` left. Columns of the array are taken
to be equally long: what unequal columns wait for each other is not counted.

Source: structured: Mishra et al., "Accelerating Sparse Deep Neural Networks", 2021 (2 of 4);
run-length with stored zeros: Han et al., "EIE: Efficient Inference Engine on Compressed Deep Neural
Network", ISCA 2016, section III (4-bit runs). The average is that of a renewal process whose steps
are geometric, cut off at ``L + 1``.
"""

from math import ceil

from stowplan.targets.target import Array


def kept_terms(array: Array, terms: int) -> int:
    """Terms of a sum of ``terms`` weights that the array works on."""
    sparsity = array.weight_sparsity
    if sparsity.kind == "structured":
        blocks, rest = divmod(terms, sparsity.block)
        return min(sparsity.kept, sparsity.block) * blocks + min(sparsity.kept, rest)
    if sparsity.kind == "run_length":
        density = sparsity.density
        covered = 1 - (1 - density) ** (1 << sparsity.run_bits)
        # At least one is stored; the last bits of a quotient that is whole are rounding.
        return min(terms, max(1, ceil(terms * density / covered - 1e-9)))
    return terms
