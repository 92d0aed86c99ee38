"""Offline packing of the stays of a finished play; ``packing`` says how."""

import numba
import numpy as np

from stowplan.rl_mapper import game_kernels as kernels


@numba.njit(cache=True, nogil=True)
def pack(
    rules: kernels.Rules,
    state: kernels.State,
    capacity_bytes: int,
    rounds: int,
    hints: kernels.Ints,
) -> int:
    """Pack the stays of a finished play into ``hints`` [A + 1]; bytes x steps left over."""
    count = state.scalar[0, kernels.STAYS]
    begun = np.empty(count, dtype=np.int64)
    group = np.empty(count, dtype=np.int64)
    _groups(rules, state, begun, group)
    address = np.empty(count, dtype=np.int64)
    weight = np.zeros(count, dtype=np.float64)
    for n in range(count):
        weight[group[n]] += _area(rules, state, n)
    lost = least = np.inf
    for _ in range(rounds):
        lost = 0.0
        address[:] = -1
        for g in np.argsort(-weight):
            if group[g] != g:
                continue
            low = _lowest(rules, state, group, address, g, capacity_bytes)
            for n in range(count if low >= 0 else 0):
                if group[n] == g:
                    address[n] = low
            if low < 0:
                lost += _area(rules, state, g)
                # Ahead of all that were placed before it this time, and of more next time.
                weight[g] = 2.0 * weight[g] + 1.0
        if lost < least:
            least = lost
            for n in range(count):
                hints[begun[n]] = address[n]
        if least == 0.0:
            break
    return 0 if count == 0 else int(least)


@numba.njit(cache=True, nogil=True)
def _area(rules: kernels.Rules, state: kernels.State, n: int) -> float:
    row = state.stay[n]
    size = rules.storage[row[kernels.S_STORAGE], kernels.SIZE]
    return float(size) * (row[kernels.S_END] - row[kernels.S_RESERVED])


@numba.njit(cache=True, nogil=True)
def _groups(
    rules: kernels.Rules, state: kernels.State, begun: kernels.Ints, group: kernels.Ints
) -> None:
    """The decision that began each stay, and the first stay of those that share its address."""
    latest = np.full(rules.storage.shape[0], -1, dtype=np.int64)
    n = 0
    for a in range(rules.decision.shape[0]):
        row = rules.decision[a]
        action = state.action[a]
        if action == kernels.DROP or (action == kernels.NOCOPY and not row[kernels.DEFINES]):
            continue
        begun[n] = a
        group[n] = n
        source = row[kernels.TAKES]
        if row[kernels.DEFINES] and source >= 0 and latest[source] >= 0:
            before = latest[source]
            if state.stay[before, kernels.S_END] == row[kernels.STEP] + 1:
                group[n] = group[before]
        latest[row[kernels.STORAGE]] = n
        n += 1


@numba.njit(cache=True, nogil=True)
def _lowest(
    rules: kernels.Rules,
    state: kernels.State,
    group: kernels.Ints,
    address: kernels.Ints,
    g: int,
    capacity_bytes: int,
) -> int:
    """The lowest address at which all stays of group ``g`` are free; -1 if there is none."""
    count = group.shape[0]
    # Addresses in (low, high) are not free for the group.
    low = np.empty(16, dtype=np.int64)
    high = np.empty(16, dtype=np.int64)
    found = 0
    largest = 0
    for n in range(count):
        if group[n] != g:
            continue
        own = state.stay[n]
        size = rules.storage[own[kernels.S_STORAGE], kernels.SIZE]
        largest = max(largest, size)
        for m in range(count):
            row = state.stay[m]
            apart = (
                row[kernels.S_RESERVED] >= own[kernels.S_END]
                or row[kernels.S_END] <= own[kernels.S_RESERVED]
            )
            if address[m] < 0 or apart:
                continue
            if found == low.shape[0]:
                low = np.concatenate((low, np.empty_like(low)))
                high = np.concatenate((high, np.empty_like(high)))
            low[found] = address[m] - size
            high[found] = address[m] + rules.storage[row[kernels.S_STORAGE], kernels.SIZE]
            found += 1
    reached = 0
    for i in np.argsort(low[:found]):
        if low[i] >= reached:
            break
        reached = max(reached, high[i])
    return reached if reached + largest <= capacity_bytes else -1
