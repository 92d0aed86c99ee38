"""What a network sees of a finished play, and the changes it proposes.

A *change* consists of one or two *moves*. A move changes the wishes of one decision, of both ends
of a gap between uses, or of a storage's uses from some decision on. The network estimates for every
move of every decision how much it is worth alone, as the first of two, and as the second after a
given first; changes are drawn in proportion. All layers are dense with rectifiers.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from stowplan.rl_mapper import game_kernels as game
from stowplan.rl_mapper import improve_kernels as plain
from stowplan.rl_mapper import network_kernels as layers

Floats = NDArray[np.float32]

MOVES = 10
"""Moves of a decision: four wishes for it, then Drop or ON_CHIP for the whole chain of uses, for
the rest of it, and at the far end of the gap that begins here."""
WISHES = 4
DYNAMIC = 48
FEATURES = layers.PER_DECISION + DYNAMIC
RELATION = 10
HIDDEN = 64
SECOND = 48
JOINED = 2 * HIDDEN + RELATION + MOVES
OUTPUTS = 2 * MOVES + 1
REACH = 128
"""Decisions around the first move among which the second is looked for."""
SPARE_STEPS = 64
LARGEST = 3.0
"""Features are cut off here."""


class ChangeNetwork(NamedTuple):
    """Weights; a layer of n inputs and m outputs is [n + 1, m], the last row being the bias.

    Attributes:
        decision: encoder of a decision in its play [FEATURES + 1, 64].
        alone: first layer of the head for single and first moves [64 + 1, 48].
        alone_out: log worth of each move alone, then as the first of two, then the logit of a
            near-optimal play having the decision on chip [48 + 1, 21].
        second: first layer of the head for second moves; the decision, the one moved first, how
            they relate and the first move [64 + 64 + 10 + 10 + 1, 48].
        second_out: log worth of each move as the second [48 + 1, 10].
    """

    decision: Floats
    alone: Floats
    alone_out: Floats
    second: Floats
    second_out: Floats


LAYERS = {
    "decision": (FEATURES, HIDDEN),
    "alone": (HIDDEN, SECOND),
    "alone_out": (SECOND, OUTPUTS),
    "second": (JOINED, SECOND),
    "second_out": (SECOND, MOVES),
}
"""(inputs, outputs) of every layer by name."""


@numba.njit(cache=True, nogil=True)
def move(rules: game.Rules, wishes: game.Ints, a: int, number: int, first: int) -> int:
    """Make a move in ``wishes``; the first decision changed so far, ``first`` being it before."""
    if number < WISHES:
        return plain.assign(wishes, a, number, first)
    wish = game.DROP if number % 2 == 0 else game.ON_CHIP
    kind = (number - WISHES) // 2
    if kind == 2:
        # Both ends of one gap between uses: what evicting or keeping a storage needs.
        after = rules.decision[a, game.NEXT]
        first = plain.assign(wishes, a, game.ON_CHIP, first)
        return plain.assign(wishes, after, wish, first) if after >= 0 else first
    while kind == 0 and rules.decision[a, game.PREVIOUS] >= 0:
        a = rules.decision[a, game.PREVIOUS]
    while a >= 0:
        first = plain.assign(wishes, a, wish, first)
        a = rules.decision[a, game.NEXT]
    return first


@numba.njit(cache=True, nogil=True)
def _toggled(rules: game.Rules, state: game.State, a: int) -> float:
    """Cycles of its step between the access being direct and on chip, all else as it is."""
    t = rules.decision[a, game.STEP]
    rate = float(rules.limits[game.BANDWIDTH])
    time = state.time[t]
    dropped = state.action[a] == game.DROP
    own, read = rules.decision[a, game.DIRECT_BYTES], rules.decision[a, game.DIRECT_READ]
    without = time[game.DIRECT] - (own if dropped else 0)
    reads = time[game.READS] - (read if dropped else 0)
    latency = float(rules.limits[game.LATENCY])
    streamed = rules.step[t, game.STREAMED]
    compute = float(rules.step[t, game.COMPUTE])
    off = max(compute, (without + streamed) / rate) + (latency if reads > 0 else 0.0)
    on = max(compute, (without + own + streamed) / rate)
    return on + (latency if reads + read > 0 else 0.0) - off


@numba.njit(cache=True, nogil=True)
def describe_play(
    rules: game.Rules, state: game.State, known: Floats, wishes: game.Ints, out: Floats
) -> None:
    """Features of every decision of the finished play in ``state``, into ``out`` [A, FEATURES]."""
    total = rules.decision.shape[0]
    steps = rules.step.shape[0] - 1
    capacity = float(rules.limits[game.CAPACITY])
    rate = float(rules.limits[game.BANDWIDTH])
    cycles = float(state.scalar[0, game.CYCLES])
    mean = cycles / max(1, steps) + 1.0
    free = np.full(steps + 1, capacity)
    for n in range(state.scalar[0, game.SEGMENTS]):
        row = state.segment[n]
        for t in range(row[game.BEGIN], min(steps + 1, row[game.END])):
            free[t] -= row[game.HIGH] - row[game.LOW]
    worth = np.zeros(total)
    density = np.zeros(total)
    # Per step the best gap that is not kept, and the least that is, in cycles per byte and step.
    wanted = np.zeros(steps + 1)
    kept = np.full(steps + 1, np.inf)
    for a in range(total):
        worth[a] = max(0.0, _toggled(rules, state, a))
        before, t = rules.decision[a, game.PREVIOUS], rules.decision[a, game.STEP]
        begin = t if before < 0 else rules.decision[before, game.STEP]
        size = float(rules.storage[rules.decision[a, game.STORAGE], game.SIZE])
        density[a] = worth[a] / (size + 1.0) / (t - begin + 1)
        if before < 0:
            continue
        for i in range(begin, t + 1):
            if state.action[a] == game.NOCOPY:
                kept[i] = min(kept[i], density[a])
            elif size <= capacity:
                wanted[i] = max(wanted[i], density[a])
    spare = np.zeros(steps + 2)
    compute = direct = stalled = 0.0
    for t in range(steps):
        spare[t + 1] = spare[t] + state.time[t, game.SPARE]
        compute += rules.step[t, game.COMPUTE]
        direct += state.time[t, game.DIRECT] / rate
        stalled += (state.time[t, game.STALLED] + state.time[t, game.WAITED]) / rate
    for a in range(total):
        row = rules.decision[a]
        t, v = row[game.STEP], row[game.STORAGE]
        size = float(rules.storage[v, game.SIZE]) + 1.0
        out[a, : layers.PER_DECISION] = known[a]
        x = out[a, layers.PER_DECISION :]
        x[:] = 0.0
        x[state.action[a]] = 1.0
        x[3 + wishes[a]] = 1.0
        before, after = row[game.PREVIOUS], row[game.NEXT]
        if before >= 0:
            x[7 + state.action[before]] = 1.0
            x[10] = np.log1p(float(t - rules.decision[before, game.STEP])) / 4.0
        if after >= 0:
            x[11 + state.action[after]] = 1.0
            x[14] = np.log1p(float(rules.decision[after, game.STEP] - t)) / 4.0
        own = float(state.time[t, game.CYCLES_OF]) + 1.0
        x[15] = np.log(own / mean) / 3.0
        x[16] = rules.step[t, game.COMPUTE] / own
        x[17] = state.time[t, game.DIRECT] / rate / own
        x[18] = state.time[t, game.STALLED] / rate / own
        x[19] = state.time[t, game.WAITED] / rate / own
        x[20] = min(4.0, state.time[t, game.QUEUED] / rate / own) / 4.0
        x[21] = min(2.0, state.time[t, game.SPARE] / rate / own)
        x[22] = np.log1p(1000.0 * worth[a] / cycles) / 2.0
        x[23] = min(2.0, worth[a] / own)
        x[24] = min(4.0, free[t] / size) / 4.0
        charge = rules.storage[v, game.MOVED_BYTES] + rules.limits[game.LOAD_BYTES] + 1.0
        x[25] = min(4.0, (spare[t] - spare[max(0, t - 8)]) / charge) / 4.0
        x[26] = min(4.0, (spare[t] - spare[max(0, t - SPARE_STEPS)]) / charge) / 4.0
        chain, onchip, b = 0, 0, a
        while b >= 0:
            chain += 1
            onchip += state.action[b] != game.DROP
            b = rules.decision[b, game.PREVIOUS]
        b = after
        while b >= 0:
            chain += 1
            onchip += state.action[b] != game.DROP
            b = rules.decision[b, game.NEXT]
        x[27] = np.log1p(float(chain)) / 3.0
        x[28] = onchip / chain
        x[29] = a / total
        x[30] = compute / cycles
        x[31] = direct / cycles
        x[32] = stalled / cycles
        x[33] = rules.storage[v, game.OUT_DRAM]
        x[34] = np.log(density[a] * capacity * steps / cycles + 1e-3) / 7.0
        if before >= 0:
            _gap(rules, before, a, free, wanted, kept, float(density[a]), size, x[35:40])
            x[40] = min(4.0, (spare[t] - spare[rules.decision[before, game.STEP]]) / charge) / 4.0
        if after >= 0:
            _gap(rules, a, after, free, wanted, kept, float(density[after]), size, x[41:46])
            x[46] = np.log1p(1000.0 * worth[after] / cycles) / 2.0
        x[47] = np.log1p(charge / rate / own) / 4.0
        for j in range(FEATURES):
            out[a, j] = max(-LARGEST, min(LARGEST, out[a, j]))


@numba.njit(cache=True, nogil=True)
def _gap(
    rules: game.Rules,
    left: int,
    right: int,
    free: NDArray[np.float64],
    wanted: NDArray[np.float64],
    kept: NDArray[np.float64],
    density: float,
    size: float,
    out: Floats,
) -> None:
    """Space in the gap between two uses, and how what it is worth compares with other gaps."""
    least, most, cheapest, mean = np.inf, 0.0, np.inf, 0.0
    begin, end = rules.decision[left, game.STEP], rules.decision[right, game.STEP]
    for t in range(begin, end + 1):
        least = min(least, free[t])
        mean += free[t]
        most = max(most, wanted[t])
        cheapest = min(cheapest, kept[t])
    out[0] = min(2.0, least / size)
    out[1] = min(4.0, mean / (end - begin + 1) / size) / 4.0
    own = density + 1e-9
    out[2] = max(-2.0, min(2.0, np.log((most + 1e-9) / own) / 4.0))
    out[3] = (
        2.0 if cheapest == np.inf else max(-2.0, min(2.0, np.log((cheapest + 1e-9) / own) / 4.0))
    )
    out[4] = cheapest == np.inf


@numba.njit(cache=True, nogil=True)
def relate(rules: game.Rules, first: int, second: int, out: Floats) -> None:
    """How the decision of a second move relates to that of the first, into ``out`` [RELATION]."""
    one, two = rules.decision[first], rules.decision[second]
    t, u = one[game.STEP], two[game.STEP]
    away = float(u - t)
    out[0] = away / (8.0 + abs(away))
    out[1] = np.log1p(abs(away)) / 4.0
    out[2] = t == u
    out[3] = one[game.STORAGE] == two[game.STORAGE]
    before, after = one[game.PREVIOUS], one[game.NEXT]
    begin = t if before < 0 else rules.decision[before, game.STEP]
    end = t if after < 0 else rules.decision[after, game.STEP]
    before, after = two[game.PREVIOUS], two[game.NEXT]
    start = u if before < 0 else rules.decision[before, game.STEP]
    stop = u if after < 0 else rules.decision[after, game.STEP]
    out[4] = max(0, min(t, u) - max(begin, start)) / (t - begin + 1.0)
    out[5] = max(0, min(end, stop) - max(t, u)) / (end - t + 1.0)
    out[6] = max(0, min(t, stop) - max(begin, u)) / (t - begin + 1.0)
    out[7] = max(0, min(end, u) - max(t, start)) / (end - t + 1.0)
    sizes = rules.storage[two[game.STORAGE], game.SIZE] + 1.0
    ratio = np.log(sizes / (rules.storage[one[game.STORAGE], game.SIZE] + 1.0))
    out[8] = max(-2.0, min(2.0, ratio / 2.0))
    out[9] = ratio >= 0.0


@numba.njit(cache=True, nogil=True)
def weigh(
    network: ChangeNetwork, seen: Floats, codes: Floats, worth: Floats, sharpness: float
) -> None:
    """Codes [A, 64] of decisions; what their moves are worth, and chances of being on chip [A, 21].

    What moves are worth is raised to the power ``sharpness``.
    """
    hidden = np.empty(SECOND, dtype=np.float32)
    for a in range(seen.shape[0]):
        layers.dense(network.decision, seen[a], codes[a], True)
        layers.dense(network.alone, codes[a], hidden, True)
        layers.dense(network.alone_out, hidden, worth[a], False)
        for m in range(2 * MOVES):
            worth[a, m] = np.exp(sharpness * min(10.0, worth[a, m]))
        worth[a, 2 * MOVES] = 1.0 / (1.0 + np.exp(-worth[a, 2 * MOVES]))


@numba.njit(cache=True, nogil=True)
def weigh_second(
    rules: game.Rules,
    network: ChangeNetwork,
    codes: Floats,
    first: int,
    number: int,
    worth: Floats,
    sharpness: float,
) -> int:
    """What moves are worth after move ``number`` of decision ``first``.

    Fills ``worth`` [2 * REACH + 1, 10] and returns the decision of its first row.
    """
    begin = max(0, first - REACH)
    end = min(codes.shape[0], first + REACH + 1)
    joined = np.zeros(JOINED, dtype=np.float32)
    hidden = np.empty(SECOND, dtype=np.float32)
    joined[HIDDEN : 2 * HIDDEN] = codes[first]
    joined[2 * HIDDEN + RELATION + number] = 1.0
    worth[:] = 0.0
    for a in range(begin, end):
        joined[:HIDDEN] = codes[a]
        relate(rules, first, a, joined[2 * HIDDEN : 2 * HIDDEN + RELATION])
        layers.dense(network.second, joined, hidden, True)
        layers.dense(network.second_out, hidden, worth[a - begin], False)
        for m in range(MOVES):
            worth[a - begin, m] = np.exp(sharpness * min(10.0, worth[a - begin, m]))
    return begin
