"""Observation and network in Numba: what the next decision looks like, and what to do about it.

The network is small enough to be evaluated at every decision. Two encoders, one of the memory's
profile and one of the decisions to come, feed a head with a policy and a value. All layers are
dense with rectifiers; weights are 32-bit floats.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from stowplan.rl_mapper import game_kernels as game

Floats = NDArray[np.float32]

BINS = 24
AHEAD = 8
PER_DECISION = 14
SCALARS = 16
SPAN = 6
PROFILE = 2 * BINS + 2 * SPAN
OBSERVATION = PROFILE + AHEAD * PER_DECISION + SCALARS
HIDDEN = 64
CODE = 16
EMBEDDED = 32
JOINED = 2 * EMBEDDED + SCALARS


class Network(NamedTuple):
    """Weights; a layer of n inputs and m outputs is [n + 1, m], the last row being the bias.

    Attributes:
        profile: memory-profile encoder [PROFILE + 1, 32].
        token: encoder of one decision to come [14 + 1, 16].
        sequence: encoder of their sequence [8 * 16 + 1, 32].
        first: first layer of the head [32 + 32 + 16 + 1, 64].
        second: second layer of the head [64 + 1, 64].
        out: logits of Copy, NoCopy and Drop, and the value [64 + 1, 4].
    """

    profile: Floats
    token: Floats
    sequence: Floats
    first: Floats
    second: Floats
    out: Floats


LAYERS = {
    "profile": (PROFILE, EMBEDDED),
    "token": (PER_DECISION, CODE),
    "sequence": (AHEAD * CODE, EMBEDDED),
    "first": (JOINED, HIDDEN),
    "second": (HIDDEN, HIDDEN),
    "out": (HIDDEN, game.ACTIONS + 1),
}
"""(inputs, outputs) of every layer by name."""


@numba.njit(cache=True)
def describe(rules: game.Rules, scale_cycles: float, out: Floats) -> None:
    """What is known of every decision before the game begins, into ``out`` [A, 14]."""
    rate = float(rules.limits[game.BANDWIDTH])
    capacity = float(rules.limits[game.CAPACITY])
    latency = rules.limits[game.LATENCY]
    steps = rules.step.shape[0] - 1
    direct = np.zeros(steps + 1, dtype=np.int64)
    for a in range(rules.decision.shape[0]):
        direct[rules.decision[a, game.STEP]] += rules.decision[a, game.DIRECT_BYTES]
    for a in range(rules.decision.shape[0]):
        row = rules.decision[a]
        t, v = row[game.STEP], row[game.STORAGE]
        size = rules.storage[v, game.SIZE]
        compute = rules.step[t, game.COMPUTE]
        dram = direct[t] / rate
        own = row[game.DIRECT_BYTES] / rate
        after, before = row[game.NEXT], row[game.PREVIOUS]
        out[a, 0] = row[game.DEFINES]
        out[a, 1] = row[game.WRITES]
        out[a, 2] = min(2.0, size / capacity)
        out[a, 3] = np.log1p(own) / 12.0
        out[a, 4] = np.log1p(float(compute)) / 12.0
        out[a, 5] = np.log1p(dram) / 12.0
        out[a, 6] = own / (dram + 1.0)
        out[a, 7] = compute / (compute + dram + 1.0)
        saved = max(dram, compute) - max(dram - own, compute)
        out[a, 8] = np.log1p(saved) / 12.0
        out[a, 9] = 0.0 if after < 0 else 1.0 / (rules.decision[after, game.STEP] - t + 1.0)
        out[a, 10] = 0.0 if before < 0 else 1.0 / (t - rules.decision[before, game.STEP] + 1.0)
        out[a, 11] = rules.storage[v, game.IN_DRAM]
        out[a, 12] = row[game.TAKES] >= 0
        out[a, 13] = np.log1p(rules.limits[game.LOAD_BYTES] / rate + latency) / 12.0


@numba.njit(cache=True)
def observe(
    rules: game.Rules, state: game.State, known: Floats, mask: NDArray[np.bool_], out: Floats
) -> None:
    """The position before the next decision, into ``out`` [OBSERVATION]."""
    out[:] = 0.0
    a = state.scalar[0, game.CURSOR]
    t = rules.decision[a, game.STEP]
    _profile(rules, state, t, out)
    base = PROFILE
    for k in range(AHEAD):
        if a + k < rules.decision.shape[0]:
            v = rules.decision[a + k, game.STORAGE]
            for j in range(PER_DECISION):
                out[base + j] = known[a + k, j]
            # Where a storage is now matters more than how it was reached.
            out[base + 10] *= 1.0 if state.hold[v, game.ADDRESS] >= 0 else -1.0
        base += PER_DECISION
    _scalars(rules, state, a, t, mask, out[base:])


@numba.njit(cache=True)
def _profile(rules: game.Rules, state: game.State, t: int, out: Floats) -> None:
    """Per address bin what is taken now and what waits for its next use; bandwidth around now."""
    width = rules.limits[game.CAPACITY] / BINS
    for n in range(state.time[t, game.SEGMENTS_BEFORE], state.scalar[0, game.SEGMENTS]):
        row = state.segment[n]
        if row[game.END] > t:
            _spread(row[game.LOW] / width, row[game.HIGH] / width, 1.0, out[:BINS])
    newest = state.scalar[0, game.STAYS]
    for n in range(newest - 1, max(-1, newest - 1 - game.WAITING_STAYS), -1):
        v = state.stay[n, game.S_STORAGE]
        if state.hold[v, game.STAY] != n or state.hold[v, game.ADDRESS] < 0:
            continue
        after = rules.decision[state.hold[v, game.SEEN], game.NEXT]
        if after >= 0:
            near = 1.0 / max(1, rules.decision[after, game.STEP] - t + 1)
            low = state.hold[v, game.ADDRESS] / width
            high = (state.hold[v, game.ADDRESS] + rules.storage[v, game.SIZE]) / width
            _spread(low, high, near, out[BINS : 2 * BINS])
    rate = float(rules.limits[game.BANDWIDTH])
    for k in range(SPAN):
        if t - 1 - k >= 0:
            spare = state.time[t - 1 - k, game.SPARE] / rate
            out[2 * BINS + k] = np.log1p(spare) / 12.0
        if t + k < rules.step.shape[0] - 1:
            cycles = float(state.time[t + k, game.CYCLES_OF])
            out[2 * BINS + SPAN + k] = np.log1p(cycles) / 12.0


@numba.njit(cache=True)
def _spread(low: float, high: float, weight: float, out: Floats) -> None:
    """Add ``weight`` to the bins that [low, high) covers, in proportion."""
    for b in range(max(0, int(low)), min(BINS, int(high) + 1)):
        out[b] += weight * max(0.0, min(high, b + 1.0) - max(low, float(b)))


@numba.njit(cache=True)
def _scalars(
    rules: game.Rules,
    state: game.State,
    a: int,
    t: int,
    mask: NDArray[np.bool_],
    out: Floats,
) -> None:
    v = rules.decision[a, game.STORAGE]
    rate = float(rules.limits[game.BANDWIDTH])
    total = rules.decision.shape[0]
    out[0] = a / total
    for action in range(game.ACTIONS):
        out[1 + action] = mask[action]
    # What each legal choice gains at once, as a share of the step.
    cycles = float(state.time[t, game.CYCLES_OF]) + 1.0
    for action in range(game.ACTIONS):
        if mask[action]:
            gained = game.play(rules, state, action)
            out[4 + action] = max(-2.0, min(2.0, gained / cycles))
            game.undo(state)
    out[7] = state.hold[v, game.ADDRESS] >= 0
    out[8] = state.hold[v, game.VALID] >= 0
    out[9] = np.log1p(state.time[t, game.DIRECT] / rate) / 12.0
    out[10] = state.time[t, game.READS] > 0
    out[11] = rules.step[t, game.COMPUTE] / cycles
    spare = 0.0
    for i in range(max(0, t - 32), t):
        spare += state.time[i, game.SPARE]
    charge = rules.storage[v, game.MOVED_BYTES] + rules.limits[game.LOAD_BYTES]
    out[12] = min(4.0, spare / (charge + 1.0)) / 4.0
    out[13] = min(1.0, (t - state.hold[v, game.UNTIL] + 1.0) / 64.0)
    out[14] = state.time[t, game.STALLED] / rate / cycles
    out[15] = rules.storage[v, game.SIZE] / float(rules.limits[game.CAPACITY])


@numba.njit(cache=True)
def encode(profile: Floats, token: Floats, sequence: Floats, seen: Floats, out: Floats) -> None:
    """Codes of memory and of the decisions to come, then the scalars, into ``out`` [JOINED]."""
    dense(profile, seen[:PROFILE], out[:EMBEDDED], True)
    codes = np.empty(AHEAD * CODE, dtype=np.float32)
    for k in range(AHEAD):
        at = PROFILE + k * PER_DECISION
        dense(token, seen[at : at + PER_DECISION], codes[k * CODE : (k + 1) * CODE], True)
    dense(sequence, codes, out[EMBEDDED : 2 * EMBEDDED], True)
    out[2 * EMBEDDED :] = seen[PROFILE + AHEAD * PER_DECISION :]


@numba.njit(cache=True)
def forward(network: Network, seen: Floats, out: Floats) -> None:
    """Logits and value of an observation [OBSERVATION], into ``out`` [4]."""
    joined = np.empty(JOINED, dtype=np.float32)
    encode(network.profile, network.token, network.sequence, seen, joined)
    first = np.empty(HIDDEN, dtype=np.float32)
    second = np.empty(HIDDEN, dtype=np.float32)
    dense(network.first, joined, first, True)
    dense(network.second, first, second, True)
    dense(network.out, second, out, False)


@numba.njit(cache=True, fastmath=True)
def dense(layer: Floats, inputs: Floats, out: Floats, rectify: bool) -> None:
    """A layer's outputs [m] of inputs [n], negative ones as 0 if ``rectify``."""
    last = layer.shape[0] - 1
    for j in range(layer.shape[1]):
        out[j] = layer[last, j]
    for i in range(last):
        x = inputs[i]
        if x != 0.0:
            for j in range(layer.shape[1]):
                out[j] += x * layer[i, j]
    if rectify:
        for j in range(layer.shape[1]):
            out[j] = max(out[j], np.float32(0.0))


@numba.njit(cache=True)
def play_policy(
    rules: game.Rules,
    state: game.State,
    network: Network,
    known: Floats,
    temperature: float,
    seed: int,
) -> int:
    """Play from here to the end by the policy; the decisions made, those taken back included.

    Args:
        rules: the game.
        state: any position.
        network: the weights.
        known: from :func:`describe`.
        temperature: 0 plays the likeliest action, larger ones sample.
        seed: of the sampling.
    """
    np.random.seed(seed)
    mask = np.zeros(game.ACTIONS, dtype=np.bool_)
    seen = np.empty(OBSERVATION, dtype=np.float32)
    out = np.empty(game.ACTIONS + 1, dtype=np.float32)
    made = 0
    while state.scalar[0, game.CURSOR] < rules.decision.shape[0]:
        if game.legal(rules, state, mask) == 0:
            game.back_up(rules, state)
            continue
        made += 1
        observe(rules, state, known, mask, seen)
        forward(network, seen, out)
        best = -1
        highest = -np.inf
        for action in range(game.ACTIONS):
            if not mask[action]:
                continue
            score = float(out[action])
            if temperature > 0.0:
                # The largest of logits with Gumbel noise is a sample of their softmax.
                score -= temperature * np.log(-np.log(np.random.random() + 1e-12) + 1e-12)
            if score > highest:
                best, highest = action, score
        game.play(rules, state, best)
    return made


@numba.njit(cache=True)
def record(
    rules: game.Rules,
    state: game.State,
    known: Floats,
    actions: game.Ints,
    observations: Floats,
    masks: NDArray[np.bool_],
    cycles: game.Ints,
) -> int:
    """Play ``actions`` [A] from the start and note each position; how many could be played.

    Fills ``observations`` [A, OBSERVATION], ``masks`` [A, 3] and the latency before each decision,
    ``cycles`` [A].
    """
    game.reset(rules, state)
    for a in range(actions.shape[0]):
        game.legal(rules, state, masks[a])
        if not masks[a, actions[a]]:
            return a
        observe(rules, state, known, masks[a], observations[a])
        cycles[a] = state.scalar[0, game.CYCLES]
        game.play(rules, state, actions[a])
    return int(actions.shape[0])
