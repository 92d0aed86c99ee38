"""Kernels of the label search; ``ilp.search`` states the method and prepares the arrays.

Sets are rows of 64-bit words, bit ``v % 64`` of word ``v // 64`` for element v. WO, WV and WS are
the words of a set of operators, storages and sequences. A *layer* holds the labels of equally many
sequences in *buckets*, one per set of operators done; a bucket's labels form a list of ascending
cost.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

ONE = np.uint64(1)
LOST, LIMIT, MADE, CAPACITY, MOST_SETS, WIDTH, FREE_MOVES = range(7)
"""Entries of the run's state: least cost cut off, cost that is too much, labels made; options."""
STATE = 7
SLOTS, BUCKETS, ALIVE, FREE = range(4)
"""Entries of a layer's counters: slots and buckets in use, labels, head of the free slots."""
COUNTERS = 4
BEFORE, AFTER = range(2)

# Counting references to the arrays of a tuple at each call would take most of the time.
_kernel = njit(cache=True, nogil=True, _nrt=False)  # pyright: ignore[reportCallIssue]


class Region(NamedTuple):
    """Operators to be ordered and the storages whose residence is to be decided.

    Storages with one user are not among them: they come and go with it, inside ``demand``. A last
    operator bit that no operator owns stands for uses and writes after the region.
    """

    demand: Ints  # [O] bytes of everything an operator uses
    use: Words  # [O, WV]
    written: Words  # [O, WV]
    use_start: Ints  # [O + 1] into use_list
    use_list: Ints
    match_start: Ints  # [O + 1] into saved and taken; an empty matching comes first
    saved: Ints  # [K] bytes saved by outputs that replace inputs
    taken: Words  # [K, WV] the inputs replaced
    size: Ints  # [V] bytes of space
    cost: Ints  # [V] bytes moved by one load or store
    kept: Ints  # [V] 1: DRAM must hold it at the end
    users: Words  # [V, WO]
    writers: Words  # [V, WO]
    seq_start: Ints  # [S + 1] into seq_list
    seq_list: Ints
    members: Words  # [S, WO]
    before: Words  # [S, WO]
    next_start: Ints  # [S + 1] into next_list: sequences that may become ready
    next_list: Ints
    need: Words  # [S, WV] storages of the list needed from outside
    updated: Words  # [S, WV] those of them it changes
    extra: Ints  # [S] most bytes held beyond them
    result_start: Ints  # [S + 1] into result_list: what it defines that outlives it
    result_list: Ints


class Layer(NamedTuple):
    """Labels and buckets."""

    resident: Words  # [N, WV]
    copied: Words  # [N, WV]
    cost: Ints
    bytes: Ints  # space of the resident storages
    next: Ints  # next label of the bucket, or next free slot
    bucket: Ints
    parent: Ints  # label of the layer before
    sequence: Ints
    mark: Words  # [N] recognises the label among those that running the sequence makes
    done: Words  # [B, WO]
    ready: Words  # [B, WS]
    head: Ints  # first label, -1
    live: Ints  # bytes of the live storages
    place: Ints  # of the bucket in the table
    table: Ints  # hash table of buckets, -1
    counters: Ints


class Scratch(NamedTuple):
    """Labels made inside one sequence, and work space."""

    resident: Words  # [M, WV]
    copied: Words  # [M, WV]
    cost: Ints
    bytes: Ints
    parent: Ints
    matching: Ints
    done: Words  # [2, WO] operators done before and after the current one
    sets: Words  # [2, WO] operators done before and after the current sequence
    dead: Words  # [WV]
    mask: Words  # [WV]
    candidates: Ints  # [V, 3] size, eviction cost, storage
    rest: Ints  # [V + 1] bytes of the candidates from here on
    stack: Ints  # [depth, 5] position, left, cost, chosen count, last chosen
    chosen: Ints  # [V]


@_kernel
def _has(rows, row, bit):  # type: ignore[no-untyped-def]
    return (rows[row, bit >> 6] >> np.uint64(bit & 63)) & ONE != 0


@_kernel
def _set(rows, row, bit):  # type: ignore[no-untyped-def]
    rows[row, bit >> 6] |= ONE << np.uint64(bit & 63)


@_kernel
def _clear(rows, row, bit):  # type: ignore[no-untyped-def]
    rows[row, bit >> 6] &= ~(ONE << np.uint64(bit & 63))


@_kernel
def _within(inner, i, outer, j):  # type: ignore[no-untyped-def]
    """Whether row i of ``inner`` is a subset of row j of ``outer``."""
    for w in range(inner.shape[1]):  # noqa: SIM110 (a generator does not compile)
        if inner[i, w] & ~outer[j, w]:
            return False
    return True


@_kernel
def _lowest(word):  # type: ignore[no-untyped-def]
    """Position of the lowest set bit."""
    position = 0
    if not word & np.uint64(0xFFFFFFFF):
        position += 32
        word >>= np.uint64(32)
    if not word & np.uint64(0xFFFF):
        position += 16
        word >>= np.uint64(16)
    if not word & np.uint64(0xFF):
        position += 8
        word >>= np.uint64(8)
    if not word & np.uint64(0xF):
        position += 4
        word >>= np.uint64(4)
    if not word & np.uint64(0x3):
        position += 2
        word >>= np.uint64(2)
    if not word & ONE:
        position += 1
    return position


@_kernel
def _store_is_free(region, v, done, at):  # type: ignore[no-untyped-def]
    """Storing it now is the one compulsory store: it is an output in its final form."""
    return region.kept[v] == 1 and _within(region.writers, v, done, at)


@_kernel
def _eviction_cost(region, v, copied, row, done, at):  # type: ignore[no-untyped-def]
    """Bytes that evicting it moves: back again in any case, out unless that is free."""
    if _has(copied, row, v) or _store_is_free(region, v, done, at):
        return region.cost[v]
    return 2 * region.cost[v]


@_kernel
def _dominates(region, done, at, slack, labels, a, others, b):  # type: ignore[no-untyped-def]
    """Whether label a of ``slack`` less cost can imitate label b of ``others``."""
    if slack < 0:
        return False
    for w in range(labels.resident.shape[1]):
        word = labels.resident[a, w] & ~others.resident[b, w]
        while word:
            slack -= region.cost[64 * w + _lowest(word)]
            if slack < 0:
                return False
            word &= word - ONE
        word = others.copied[b, w] & ~labels.copied[a, w]
        while word:
            v = 64 * w + _lowest(word)
            if not _store_is_free(region, v, done, at):
                slack -= region.cost[v]
                if slack < 0:
                    return False
            word &= word - ONE
    return True


@_kernel
def _push(region, scratch, first, count, parent, matching, cost, used):  # type: ignore[no-untyped-def]
    """Keep the label in row ``count`` unless one of the rows from ``first`` on dominates it."""
    for i in range(first, count):
        slack = cost - scratch.cost[i]
        if _dominates(region, scratch.done, AFTER, slack, scratch, i, scratch, count):
            return count
    scratch.cost[count] = cost
    scratch.bytes[count] = used
    scratch.parent[count] = parent
    scratch.matching[count] = matching
    return count + 1


@_kernel
def _list_candidates(region, scratch, at, o):  # type: ignore[no-untyped-def]
    """Resident storages that ``o`` does not use, largest first, then cheapest."""
    rows, count = scratch.candidates, 0
    for w in range(scratch.resident.shape[1]):
        word = scratch.resident[at, w] & ~region.use[o, w]
        while word:
            v = 64 * w + _lowest(word)
            word &= word - ONE
            size = region.size[v]
            cost = _eviction_cost(region, v, scratch.copied, at, scratch.done, BEFORE)
            i = count
            while i > 0 and (
                rows[i - 1, 0] < size or (rows[i - 1, 0] == size and rows[i - 1, 1] > cost)
            ):
                rows[i, 0], rows[i, 1], rows[i, 2] = rows[i - 1, 0], rows[i - 1, 1], rows[i - 1, 2]
                i -= 1
            rows[i, 0], rows[i, 1], rows[i, 2] = size, cost, v
            count += 1
    scratch.rest[count] = 0
    for i in range(count - 1, -1, -1):
        scratch.rest[i] = scratch.rest[i + 1] + rows[i, 0]
    return count


@_kernel
def _least_eviction(scratch, count, excess):  # type: ignore[no-untyped-def]
    """Bytes that freeing ``excess`` bytes moves at least."""
    ratio = 2.0
    for i in range(count):
        ratio = min(ratio, scratch.candidates[i, 1] / scratch.candidates[i, 0])
    return np.int64(excess * ratio * (1 - 1e-12))


@_kernel
def _evict_sets(region, scratch, at, o, matching, count, first, end, paid, left, base, state):  # type: ignore[no-untyped-def]
    """Push a label per inclusion-minimal set of candidates that frees ``left`` bytes.

    Row ``end`` holds the taken inputs' mask in ``scratch.mask``; ``base`` is the space of what is
    neither a candidate nor dead. Returns the end of the labels.
    """
    stack, rows, limit = scratch.stack, scratch.candidates, state[LIMIT]
    room = scratch.resident.shape[0]
    stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3], stack[0, 4] = 0, left, 0, 0, 0
    depth, sets, steps, most = 1, 0, 0, state[MOST_SETS]
    while depth:
        depth -= 1
        i, need, cost, many, last = (
            stack[depth, 0],
            stack[depth, 1],
            stack[depth, 2],
            stack[depth, 3],
            stack[depth, 4],
        )
        if last:
            scratch.chosen[many - 1] = last - 1
        if need <= 0:
            # Largest first, so the last one chosen is the smallest: minimal if it is needed.
            if many == 0 or need + rows[scratch.chosen[many - 1], 0] > 0:
                if end >= room:
                    state[LOST] = min(state[LOST], paid + cost)
                    continue
                sets += 1
                freed = 0
                for w in range(scratch.dead.shape[0]):
                    scratch.resident[end, w] = (
                        (scratch.resident[at, w] | region.use[o, w])
                        & ~scratch.dead[w]
                        & ~scratch.mask[w]
                    )
                    scratch.copied[end, w] = scratch.copied[at, w] | scratch.mask[w]
                for k in range(many):
                    v = rows[scratch.chosen[k], 2]
                    freed += rows[scratch.chosen[k], 0]
                    _clear(scratch.resident, end, v)
                    _set(scratch.copied, end, v)
                for w in range(scratch.dead.shape[0]):
                    scratch.copied[end, w] &= ~(region.written[o, w] | scratch.dead[w])
                end = _push(region, scratch, first, end, at, matching, paid + cost, base - freed)
            continue
        if need > scratch.rest[i]:
            continue
        steps += 1
        if sets >= most or steps > 64 * most:
            state[LOST] = min(state[LOST], paid + _least_eviction(scratch, count, left))
            return end
        # The taken branch is looked at first; a later branch must not disturb its choices.
        stack[depth, 0], stack[depth, 4] = i + 1, 0
        depth += 1
        if paid + cost + rows[i, 1] < limit:
            stack[depth, 0], stack[depth, 1] = i + 1, need - rows[i, 0]
            stack[depth, 2], stack[depth, 3] = cost + rows[i, 1], many + 1
            stack[depth, 4] = i + 1
            depth += 1
    return end


@_kernel
def _run_operator(region, scratch, at, o, first, end, state):  # type: ignore[no-untyped-def]
    """Push every useful label that follows from running ``o`` on row ``at``; the new end."""
    cost, limit = scratch.cost[at], state[LIMIT]
    if cost >= limit:
        return end
    words = scratch.dead.shape[0]
    others, used, alive = scratch.bytes[at], np.int64(0), np.int64(0)
    for w in range(words):
        scratch.dead[w] = 0
    for k in range(region.use_start[o], region.use_start[o + 1]):
        v = region.use_list[k]
        if _has(scratch.resident, at, v):
            others -= region.size[v]
        if _within(region.users, v, scratch.done, AFTER):
            scratch.dead[v >> 6] |= ONE << np.uint64(v & 63)
        else:
            alive += region.size[v]
    excess = region.demand[o] + others - state[CAPACITY]
    used = others + alive
    if excess <= 0:
        if end >= scratch.resident.shape[0]:
            state[LOST] = min(state[LOST], cost)
            return end
        for w in range(words):
            scratch.resident[end, w] = (scratch.resident[at, w] | region.use[o, w]) & ~scratch.dead[
                w
            ]
            scratch.copied[end, w] = scratch.copied[at, w] & ~(
                region.written[o, w] | scratch.dead[w]
            )
        return _push(region, scratch, first, end, at, -1, cost, used)
    count = _list_candidates(region, scratch, at, o)
    for k in range(region.match_start[o], region.match_start[o + 1]):
        paid, base = cost, used
        for w in range(words):
            scratch.mask[w] = region.taken[k, w] & ~scratch.dead[w]
            word = scratch.mask[w]
            while word:
                v = 64 * w + _lowest(word)
                word &= word - ONE
                paid += _eviction_cost(region, v, scratch.copied, at, scratch.done, BEFORE)
                base -= region.size[v]
        if paid < limit:
            end = _evict_sets(
                region, scratch, at, o, k, count, first, end, paid,
                max(excess - region.saved[k], 0), base, state,
            )  # fmt: skip
    return end


@_kernel
def run_sequence(region, scratch, i, state):  # type: ignore[no-untyped-def]
    """Run sequence ``i`` on the label in row 0; rows [first, end) are what follows.

    Row AFTER of ``scratch.done`` holds the operators done before.
    """
    first, end = 0, 1
    for k in range(region.seq_start[i], region.seq_start[i + 1]):
        o = region.seq_list[k]
        for w in range(scratch.done.shape[1]):
            scratch.done[BEFORE, w] = scratch.done[AFTER, w]
        _set(scratch.done, AFTER, o)
        start = end
        # The bucket compares the labels of the last operator; those before it are compared here.
        compared = start if k + 1 < region.seq_start[i + 1] else 1 << 30
        for at in range(first, start):
            end = _run_operator(region, scratch, at, o, compared, end, state)
        first = start
    return first, end


@_kernel
def _is_free(region, layer, n, i, done, capacity):  # type: ignore[no-untyped-def]
    """Whether running sequence ``i`` at once costs nothing; ``ilp.search`` says why."""
    if layer.bytes[n] + region.extra[i] > capacity:
        return False
    for w in range(region.need.shape[1]):
        if region.need[i, w] & ~layer.resident[n, w] or region.updated[i, w] & layer.copied[n, w]:
            return False
    if region.result_start[i] == region.result_start[i + 1]:
        return True
    for w in range(done.shape[1]):
        done[AFTER, w] = done[BEFORE, w] | region.members[i, w]
    size, reload, spill = np.int64(0), np.int64(0), np.int64(0)
    for k in range(region.result_start[i], region.result_start[i + 1]):
        v = region.result_list[k]
        size += region.size[v]
        reload += region.cost[v]
        spill += region.cost[v] * (1 if _store_is_free(region, v, done, AFTER) else 2)
    replaced = np.int64(0)
    for w in range(region.need.shape[1]):
        word = region.need[i, w]
        while word:
            v = 64 * w + _lowest(word)
            word &= word - ONE
            if not _within(region.users, v, done, AFTER):
                continue
            replaced += region.size[v]
            price = _eviction_cost(region, v, layer.copied, n, done, BEFORE)
            if reload > region.cost[v] or spill > price:
                return False
    return replaced > 0 and size <= replaced


@_kernel
def _mix(rows, row):  # type: ignore[no-untyped-def]
    """Hash of a row."""
    key = np.uint64(0x9E3779B97F4A7C15)
    for w in range(rows.shape[1]):
        key ^= rows[row, w] + np.uint64(0x9E3779B97F4A7C15) + (key << np.uint64(6))
        key *= np.uint64(0xBF58476D1CE4E5B9)
        key ^= key >> np.uint64(29)
    return key


@_kernel
def mark_of(labels, n):  # type: ignore[no-untyped-def]
    """Hash of a label."""
    sets = _mix(labels.resident, n) * np.uint64(3) + _mix(labels.copied, n)
    return sets * np.uint64(5) + np.uint64(labels.cost[n])


@_kernel
def _slot(layer, done, at):  # type: ignore[no-untyped-def]
    """Place in the hash table where row ``at`` of ``done`` is, or belongs."""
    mask = np.uint64(layer.table.shape[0] - 1)
    place = _mix(done, at) & mask
    while layer.table[place] >= 0:
        b = layer.table[place]
        same = True
        for w in range(done.shape[1]):
            if layer.done[b, w] != done[at, w]:
                same = False
                break
        if same:
            return place
        place = (place + ONE) & mask
    return place


@_kernel
def _live_change(region, i, done):  # type: ignore[no-untyped-def]
    """Change of the bytes of live storages by running sequence ``i``."""
    change = np.int64(0)
    for k in range(region.seq_start[i], region.seq_start[i + 1]):
        o = region.seq_list[k]
        for j in range(region.use_start[o], region.use_start[o + 1]):
            v = region.use_list[j]
            seen = False
            for x in range(region.seq_start[i], k):
                if _has(region.use, region.seq_list[x], v):
                    seen = True
            if seen:
                continue
            begun = False
            for w in range(done.shape[1]):
                if region.users[v, w] & done[BEFORE, w]:
                    begun = True
            dies = _within(region.users, v, done, AFTER)
            if begun and dies:
                change -= region.size[v]
            elif not begun and not dies:
                change += region.size[v]
    return change


@_kernel
def _open(region, layer, source, origin, i, done):  # type: ignore[no-untyped-def]
    """Bucket of row AFTER of ``done``, reached by sequence ``i`` from bucket ``origin``."""
    place = _slot(layer, done, AFTER)
    if layer.table[place] >= 0:
        return layer.table[place]
    b = layer.counters[BUCKETS]
    layer.counters[BUCKETS] += 1
    layer.table[place] = b
    layer.place[b] = place
    for w in range(done.shape[1]):
        layer.done[b, w] = done[AFTER, w]
    for w in range(layer.ready.shape[1]):
        layer.ready[b, w] = source.ready[origin, w]
    _clear(layer.ready, b, i)
    for k in range(region.next_start[i], region.next_start[i + 1]):
        j = region.next_list[k]
        if _within(region.before, j, done, AFTER):
            _set(layer.ready, b, j)
    layer.head[b] = -1
    layer.live[b] = source.live[origin] + _live_change(region, i, done)
    return b


@_kernel
def _add(region, layer, b, scratch, row, parent, sequence, state):  # type: ignore[no-untyped-def]
    """Put a label into bucket ``b`` unless it is dominated; drop what it dominates."""
    cost = scratch.cost[row]
    before, at = -1, layer.head[b]
    while at >= 0 and layer.cost[at] <= cost:
        if _dominates(region, layer.done, b, cost - layer.cost[at], layer, at, scratch, row):
            return
        before, at = at, layer.next[at]
    place = before
    while at >= 0:
        following = layer.next[at]
        if _dominates(region, layer.done, b, layer.cost[at] - cost, scratch, row, layer, at):
            if before < 0:
                layer.head[b] = following
            else:
                layer.next[before] = following
            layer.next[at] = layer.counters[FREE]
            layer.counters[FREE] = at
            layer.counters[ALIVE] -= 1
        else:
            before = at
        at = following
    new = layer.counters[FREE]
    if new >= 0:
        layer.counters[FREE] = layer.next[new]
    else:
        new = layer.counters[SLOTS]
        layer.counters[SLOTS] += 1
    layer.counters[ALIVE] += 1
    state[MADE] += 1
    for w in range(layer.resident.shape[1]):
        layer.resident[new, w] = scratch.resident[row, w]
        layer.copied[new, w] = scratch.copied[row, w]
    layer.cost[new] = cost
    layer.bytes[new] = scratch.bytes[row]
    layer.bucket[new] = b
    layer.parent[new] = parent
    layer.sequence[new] = sequence
    layer.mark[new] = mark_of(layer, new)
    if place < 0:
        layer.next[new] = layer.head[b]
        layer.head[b] = new
    else:
        layer.next[new] = layer.next[place]
        layer.next[place] = new


@njit(cache=True, nogil=True)
def narrow(layer, state):  # type: ignore[no-untyped-def]
    """Keep the most promising labels, in order of their buckets; note the least cost cut off."""
    alive, buckets, width = layer.counters[ALIVE], layer.counters[BUCKETS], state[WIDTH]
    listed, count = np.empty(alive, np.int64), 0
    for b in range(buckets):
        at = layer.head[b]
        while at >= 0:
            listed[count] = at
            count += 1
            at = layer.next[at]
    if count > width:
        by_live = np.argsort(layer.live[layer.bucket[listed]], kind="mergesort")
        by_cost = np.argsort(layer.cost[listed[by_live]], kind="mergesort")
        ranked = by_live[by_cost]
        state[LOST] = min(state[LOST], layer.cost[listed[ranked[width]]])
        kept = np.sort(ranked[:width])
        listed = listed[kept]
        count = width
    _gather(layer, listed)
    return layer.cost[:count].max() if count else np.int64(0)


@_kernel
def clear_table(layer):  # type: ignore[no-untyped-def]
    """Empty the hash table."""
    for b in range(layer.counters[BUCKETS]):
        layer.table[layer.place[b]] = -1


@njit(cache=True, nogil=True)
def _gather(layer, listed):  # type: ignore[no-untyped-def]
    """Make ``listed``, sorted by bucket and cost, the layer's only labels, in slots from 0 on."""
    count = listed.shape[0]
    layer.resident[:count] = layer.resident[listed]
    layer.copied[:count] = layer.copied[listed]
    layer.cost[:count] = layer.cost[listed]
    layer.bytes[:count] = layer.bytes[listed]
    layer.bucket[:count] = layer.bucket[listed]
    layer.parent[:count] = layer.parent[listed]
    layer.sequence[:count] = layer.sequence[listed]
    layer.mark[:count] = layer.mark[listed]
    clear_table(layer)
    used, previous = -1, np.int64(-1)
    for n in range(count):
        b = layer.bucket[n]
        layer.next[n] = -1
        if b != previous:
            used += 1
            previous = b
            layer.done[used] = layer.done[b]
            layer.ready[used] = layer.ready[b]
            layer.live[used] = layer.live[b]
            layer.head[used] = n
            layer.place[used] = _slot(layer, layer.done, used)
            layer.table[layer.place[used]] = used
        else:
            layer.next[n - 1] = n
        layer.bucket[n] = used
    layer.counters[SLOTS] = count
    layer.counters[ALIVE] = count
    layer.counters[BUCKETS] = used + 1
    layer.counters[FREE] = -1


@njit(cache=True, nogil=True)
def make_room(layer, state):  # type: ignore[no-untyped-def]
    """Cut a full layer; labels that its kept ones undercut need not be made any more."""
    full = layer.counters[ALIVE] > state[WIDTH]
    worst = narrow(layer, state)
    if full:
        state[LIMIT] = min(state[LIMIT], worst + 1)
        state[LOST] = min(state[LOST], state[LIMIT])


@_kernel
def load(scratch, layer, n):  # type: ignore[no-untyped-def]
    """Copy label ``n`` to row 0."""
    for w in range(layer.resident.shape[1]):
        scratch.resident[0, w] = layer.resident[n, w]
        scratch.copied[0, w] = layer.copied[n, w]
    scratch.cost[0] = layer.cost[n]
    scratch.bytes[0] = layer.bytes[n]


@_kernel
def expand(region, source, target, scratch, state, low, high):  # type: ignore[no-untyped-def]
    """Append one sequence to labels [low, high) of ``source``; the label at which room ended.

    That label has to be expanded again; what it gave already is recognised by domination.
    """
    done, room = scratch.sets, target.cost.shape[0]
    for n in range(low, high):
        if source.cost[n] >= state[LIMIT]:
            continue
        origin = source.bucket[n]
        for x in range(done.shape[1]):
            done[BEFORE, x] = source.done[origin, x]
        only = -1
        if state[FREE_MOVES]:
            for w in range(source.ready.shape[1]):
                word = source.ready[origin, w]
                while word and only < 0:
                    i = 64 * w + _lowest(word)
                    word &= word - ONE
                    if _is_free(region, source, n, i, done, state[CAPACITY]):
                        only = i
        for w in range(source.ready.shape[1]):
            word = source.ready[origin, w]
            while word:
                i = 64 * w + _lowest(word)
                word &= word - ONE
                if only >= 0 and i != only:
                    continue
                load(scratch, source, n)
                for x in range(done.shape[1]):
                    scratch.done[AFTER, x] = done[BEFORE, x]
                first, end = run_sequence(region, scratch, i, state)
                for x in range(done.shape[1]):
                    done[AFTER, x] = done[BEFORE, x] | region.members[i, x]
                if max(target.counters[SLOTS] + end - first, target.counters[BUCKETS] + 1) > room:
                    return n
                b = np.int64(-1)
                for row in range(first, end):
                    if scratch.cost[row] >= state[LIMIT]:
                        continue
                    if b < 0:
                        b = _open(region, target, source, origin, i, done)
                    _add(region, target, b, scratch, row, n, i, state)
    return high
