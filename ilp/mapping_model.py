"""Integer program that bounds the memory-mapping problem from below; times in cycles.

Sets: accesses ``a`` (``v(a)`` storage, ``t(a)`` step), the one before and after on the same storage
``p(a)``, ``n(a)``; steps ``t``; slots ``g`` (``mapping_instance``), ``g(t)`` that of a step.

Variables:

* ``x[a]`` binary: the storage is on chip while the step runs; else it is accessed in DRAM;
* ``k[a]`` binary: it stays on chip from ``a`` to ``n(a)``;
* ``l[a] = x[a] - k[p(a)]``: a LOAD brings it for ``a`` (no LOAD where it is defined);
* ``s[w]`` binary per write: a STORE writes to DRAM what ``w`` wrote on chip;
* ``z[t]`` binary: the step reads in DRAM;
* ``run[t]``, ``lead[t]``: how long the step runs, and when it begins after its slot does;
* ``T[g]``: how long a slot lasts; one more slot at the end for STOREs;
* ``f[a,g]``, ``q[a,g]``: DRAM's time, and that of a channel, that the LOAD for ``a`` takes
  in slot ``g``; ``f0[a]``, ``q0[a]`` before ``t(a)`` begins in its own slot;
* ``r[a,g]`` binary for large storages: the LOAD for ``a`` has begun by the end of slot ``g``;
* ``h[w,g]``: DRAM's time that the STORE of ``w`` takes;
* ``held[w,t]`` binary for large storages: what ``w`` wrote is on chip in step ``t`` only because it
  is not stored yet.

Minimise the sum of ``T`` subject to:

1. *Stays.* ``k[a] <= x[a]``, ``k[a] <= x[n(a)]``; what exceeds the memory has ``x = 0``.
2. *Current copies.* ``s[w] >= x[w] - k[a]`` for ``w`` and every access ``a`` up to the next write:
   whatever finds it not on chip reads DRAM. ``s[w] >= x[w]`` where DRAM must hold it in the end.
3. *Space.* In every step, what is accessed on chip, stays over it, or is being loaded fits. Of a
   LOAD under way ``r`` counts, at least the share already loaded. Results that may take the place
   of operands do not count together with those that end here. When a step begins, what has left but
   is not stored yet is there, too: ``held[w,t]``, at least the share not stored; LOADs that have
   begun in earlier slots count beside it.
4. *Steps.* ``run[t] >= z[t] read + compute``, ``>= z[t] read + direct bytes / DRAM's rate``,
   ``>= z[t] read + on-chip bytes / banks' rate``; ``z[t] >= 1 - x[a]`` for each ``a`` that reads.
5. *Slots.* ``lead[t] >= lead[u] + run[u]`` for the steps ``u`` it waits for;
   ``T[g] >= lead[t] + run[t]``.
6. *DRAM.* All that a slot moves takes ``T[g]`` at most; LOADs before its step ``lead[t]``.
7. *Queue.* The same of the channels of LOADs, whose set-up and latency count too; ``f <= q``.
8. *Windows.* The ``f`` and ``q`` of a LOAD add up to its whole. It begins after the last write, and
   after ``p(a)`` if that is on chip. Slots more than ``REACH`` before its use are one pool, of
   which only DRAM's time and the space of what has been loaded count.
9. *STOREs* run after their write and are complete before a step that reads DRAM; ``h0[w,g]`` is
   what they do before the step of slot ``g`` begins. Those later than ``REACH`` slots after the
   write are one pool.

Every plan of the order in which an operand that lies on chip is accessed there is a solution whose
objective is at most the plan's latency, so the optimum and every dual bound are lower bounds.
Addresses, the alignment of windows to steps, the order of queues and how transfers share DRAM with
direct accesses are left out.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from stowplan.ilp.mapping_instance import MappingInstance
from stowplan.ilp.matrix import Matrix, Terms

REACH = 12
"""Slots before a use, and after a write, in which transfers are told apart."""
RESERVING = 1 / 64
"""Share of fast memory from which on a LOAD under way takes all of its place or nothing."""


@dataclass(slots=True)
class MappingModel:
    """The program and where its variables are; filled by :func:`build_mapping`, then only read.

    Attributes:
        instance: the problem.
        matrix: the program.
        x: column of ``x[a]`` [A].
        k: column of ``k[a]``, -1 where there is no next access [A].
        s: column of ``s[w]``, -1 where none is needed [A].
        z: column of ``z[t]`` [T].
        run: column of ``run[t]`` [T].
        lead: column of ``lead[t]`` [T].
        length: column of ``T[g]`` [G + 1].
        dram: terms of 6 per slot [G + 1].
        queue: terms of 7 per slot [G + 1].
        loading: per step, terms of 3 for LOADs under way [T].
        reserved: per access (first step of a slot, column of ``r[a,g]``) [A].
        begun: per step, terms of 3 for LOADs that began in earlier slots [T].
        held: per step, terms of 3 for what waits for its STORE [T].
        holding: per access (step, column of ``held[w,t]``), what keeps it there after it [A].
        giving: per step, the same of operands whose place a result may take [T].
        alone: whether a slot has a single step [G + 1].
        due: per step, the columns ``f0``, ``q0`` of its LOADs [T].
        stored_first: per slot, the columns ``h0`` [G + 1].
        pool_in: DRAM's time that LOADs of small storages from afar, and streamed weights, take, by
            the last slot they may use [G + 1].
        pool_large: the same of large storages [G + 1].
        pool_out: DRAM's time of late STOREs, by the first slot they may use [G + 1].
    """

    instance: MappingInstance
    matrix: Matrix
    x: list[int] = field(default_factory=list)
    k: list[int] = field(default_factory=list)
    s: list[int] = field(default_factory=list)
    z: list[int] = field(default_factory=list)
    run: list[int] = field(default_factory=list)
    lead: list[int] = field(default_factory=list)
    length: list[int] = field(default_factory=list)
    dram: list[Terms] = field(default_factory=list)
    queue: list[Terms] = field(default_factory=list)
    loading: list[Terms] = field(default_factory=list)
    reserved: list[list[tuple[int, int]]] = field(default_factory=list)
    begun: list[Terms] = field(default_factory=list)
    held: list[Terms] = field(default_factory=list)
    holding: list[list[tuple[int, int]]] = field(default_factory=list)
    giving: list[Terms] = field(default_factory=list)
    alone: list[bool] = field(default_factory=list)
    due: list[list[tuple[int, int]]] = field(default_factory=list)
    stored_first: list[list[int]] = field(default_factory=list)
    pool_in: list[Terms] = field(default_factory=list)
    pool_large: list[Terms] = field(default_factory=list)
    pool_out: list[Terms] = field(default_factory=list)


def build_mapping(instance: MappingInstance, integer: bool) -> MappingModel:
    """The program of the module docstring; with ``integer`` off, its linear relaxation."""
    built = MappingModel(instance, Matrix())
    _choices(built, integer)
    _copies(built)
    _steps(built)
    _loads(built, integer)
    _stores(built, integer)
    _bandwidth(built)
    _space(built)
    return built


def load_terms(built: MappingModel, access: int) -> Terms:
    """``l[a]``."""
    row = built.instance.accesses[access]
    if row.defines:
        return []
    kept = built.k[row.before] if row.before >= 0 else -1
    return [(built.x[access], 1.0)] + ([(kept, -1.0)] if kept >= 0 else [])


def _choices(built: MappingModel, integer: bool) -> None:
    """Columns, and 1."""
    instance, matrix = built.instance, built.matrix
    for a, access in enumerate(instance.accesses):
        most = 1.0 if instance.fits(a) else 0.0
        built.x.append(matrix.column(0.0, most, integer=integer))
        built.k.append(matrix.column(0.0, most, integer=integer) if access.after >= 0 else -1)
        ends = instance.storages[access.storage].ends_in_dram
        stored = access.writes and (access.after >= 0 or ends)
        built.s.append(matrix.column(0.0, most, integer=False) if stored else -1)
    for a, access in enumerate(instance.accesses):
        if access.after >= 0:
            matrix.at_least([(built.x[a], 1.0), (built.k[a], -1.0)], 0.0)
            matrix.at_least([(built.x[access.after], 1.0), (built.k[a], -1.0)], 0.0)
    for _ in range(instance.slots + 1):
        built.length.append(matrix.column(cost=1.0))
        built.dram.append([])
        built.queue.append([])
        built.pool_in.append([])
        built.pool_large.append([])
        built.pool_out.append([])
    built.loading = [[] for _ in instance.steps]
    built.begun = [[] for _ in instance.steps]
    built.held = [[] for _ in instance.steps]
    built.holding = [[] for _ in instance.accesses]
    built.giving = [[] for _ in instance.steps]
    sizes = Counter(step.slot for step in instance.steps)
    built.alone = [sizes[g] == 1 for g in range(instance.slots + 1)]
    built.stored_first = [[] for _ in range(instance.slots + 1)]
    built.due = [[] for _ in instance.steps]
    built.reserved = [[] for _ in instance.accesses]


def _copies(built: MappingModel) -> None:
    """2."""
    instance, matrix = built.instance, built.matrix
    for w, stored in enumerate(built.s):
        if stored < 0:
            continue
        own = [(stored, 1.0), (built.x[w], -1.0)]
        for a in _seen(instance, w):
            if built.k[a] >= 0:
                matrix.at_least([*own, (built.k[a], 1.0)], 0.0)
            elif _kept_in_end(instance, a):
                matrix.at_least(own, 0.0)


def _steps(built: MappingModel) -> None:
    """4, 5 and what steps add to 6."""
    instance, matrix, pace = built.instance, built.matrix, built.instance.pace
    rate, banks = pace.dram_bytes_per_cycle, pace.bank_bytes_per_cycle
    for step in instance.steps:
        read = matrix.column(0.0, 1.0)
        run = matrix.column(float(step.compute_cycles))
        lead = matrix.column()
        built.z.append(read)
        built.run.append(run)
        built.lead.append(lead)
        base = [(run, 1.0), (read, -float(pace.read_cycles))]
        matrix.at_least(base, float(step.compute_cycles))
        direct, onchip = 0.0, []
        saved: Terms = []
        for a in step.accesses:
            access = instance.accesses[a]
            direct += access.direct_bytes / rate
            saved.append((built.x[a], access.direct_bytes / rate))
            if banks:
                onchip.append((built.x[a], -access.onchip_bytes / banks))
            if access.read_bytes:
                matrix.at_least([(read, 1.0), (built.x[a], 1.0)], 1.0)
        matrix.at_least([*base, *saved], direct)
        if banks:
            matrix.at_least([*base, *onchip], 0.0)
        for u in step.waits:
            matrix.at_least([(lead, 1.0), (built.lead[u], -1.0), (built.run[u], -1.0)], 0.0)
        matrix.at_least([(built.length[step.slot], 1.0), (lead, -1.0), (run, -1.0)], 0.0)
        # Time in DRAM is direct - saved; the constant goes to a column fixed to one.
        built.dram[step.slot] += [(column, -weight) for column, weight in saved]
        built.dram[step.slot].append((matrix.one, direct))
        if step.streamed_bytes:
            built.pool_in[step.slot].append((matrix.one, step.streamed_bytes / rate))


def _loads(built: MappingModel, integer: bool) -> None:
    """8, and what LOADs add to 3, 6 and 7."""
    instance = built.instance
    for a, access in enumerate(instance.accesses):
        if not access.defines and instance.fits(a):
            _load(built, a, integer)
    for t, due in enumerate(built.due):
        if due:
            lead, channels = built.lead[t], float(instance.pace.load_channels)
            built.matrix.at_least([(lead, channels), *((q, -1.0) for _, q in due)], 0.0)


def _load(built: MappingModel, a: int, integer: bool) -> None:
    instance, matrix, pace = built.instance, built.matrix, built.instance.pace
    access = instance.accesses[a]
    storage = instance.storages[access.storage]
    moving = storage.moved_bytes / pace.dram_bytes_per_cycle
    busy = moving + pace.load_cycles
    own = instance.steps[access.step].slot
    written = instance.last_write(a)
    first = 0
    if written >= 0:
        after = instance.accesses[written].step + 1
        first = instance.steps[after].slot if after <= access.step else own
    near = max(first, own - REACH)
    wanted = load_terms(built, a)
    moved: Terms = [(column, -moving * weight) for column, weight in wanted]
    taken: Terms = [(column, -busy * weight) for column, weight in wanted]
    # The place is taken in the last step of a slot by what has been loaded until then.
    ends = _last_steps(instance)
    space = storage.size_bytes / pace.capacity_bytes
    loaded: Terms = []
    before = access.before if access.before >= 0 and access.before != written else -1
    if near > first:
        column = matrix.column()
        pool = built.pool_in if space < RESERVING else built.pool_large
        pool[near - 1].append((column, moving))
        moved.append((column, moving))
        taken.append((column, busy))
        loaded.append((column, -1.0))
    for g in range(near, own):
        f, q = matrix.column(), matrix.column()
        moved.append((f, 1.0))
        taken.append((q, 1.0))
        built.dram[g].append((f, 1.0))
        built.queue[g].append((q, 1.0))
        matrix.at_least([(q, 1.0), (f, -1.0)], 0.0)
        loaded.append((q, -1.0 / busy))
        reserved = matrix.column(0.0, 1.0, integer=integer and space >= RESERVING)
        matrix.at_least([(reserved, 1.0), *loaded], 0.0)
        built.reserved[a].append((ends[g - 1] + 1 if g else 0, reserved))
        if ends[g] < access.step:
            built.loading[ends[g]].append((reserved, space))
        if ends[g] + 1 < access.step:
            built.begun[ends[g] + 1].append((reserved, space))
        if before >= 0 and g == instance.steps[instance.accesses[before].step].slot:
            # Not before the last access if that is on chip.
            matrix.at_most([(reserved, 1.0), (built.x[before], 1.0)], 1.0)
    f, q = matrix.column(), matrix.column()
    moved.append((f, 1.0))
    taken.append((q, 1.0))
    built.dram[own].append((f, 1.0))
    built.queue[own].append((q, 1.0))
    matrix.at_least([(q, 1.0), (f, -1.0)], 0.0)
    built.due[access.step].append((f, q))
    matrix.equal(moved, 0.0)
    matrix.equal(taken, 0.0)


def _last_steps(instance: MappingInstance) -> list[int]:
    ends = [0] * instance.slots
    for t, step in enumerate(instance.steps):
        ends[step.slot] = t
    return ends


def _stores(built: MappingModel, integer: bool) -> None:
    """9, and what STOREs add to 3 and 6."""
    instance, matrix = built.instance, built.matrix
    for w, stored in enumerate(built.s):
        if stored >= 0 and instance.fits(w):
            _store(built, w, integer)
    for t, step in enumerate(instance.steps):
        moved = [f for f, _ in built.due[t]]
        if built.alone[step.slot]:
            moved += built.stored_first[step.slot]
        if moved:
            matrix.at_least([(built.lead[t], 1.0), *((column, -1.0) for column in moved)], 0.0)


def _store(built: MappingModel, w: int, integer: bool) -> None:
    instance, matrix, steps = built.instance, built.matrix, built.instance.steps
    access = instance.accesses[w]
    moving = instance.storages[access.storage].moved_bytes
    time = moving / instance.pace.dram_bytes_per_cycle
    after = access.step + 1
    first = steps[after].slot if after < len(steps) else instance.slots
    last = min(instance.slots, first + REACH)
    # What is stored before the step of a slot begins, and in the whole slot.
    early, whole = [], []
    for g in range(first, last + 1):
        before, rest = matrix.column(), matrix.column()
        built.stored_first[g].append(before)
        built.dram[g] += [(before, 1.0), (rest, 1.0)]
        early.append([(before, 1.0)])
        whole.append([(before, 1.0), (rest, 1.0)])

    def stored_by(step: int) -> Terms:
        """Until ``step`` begins, or until its slot ends if it is not alone there."""
        slot = steps[step].slot
        known = [term for terms in whole[: slot - first] for term in terms]
        return known + (early if built.alone[slot] else whole)[slot - first]

    terms: Terms = [term for both in whole for term in both] + [(built.s[w], -time)]
    if last < instance.slots:
        late = matrix.column()
        terms.append((late, 1.0))
        built.pool_out[last + 1].append((late, 1.0))
    matrix.at_least(terms, 0.0)
    share = _share(instance, w)
    for a in _seen(instance, w):
        following = instance.accesses[a].after
        if following < 0 and not _kept_in_end(instance, a):
            continue
        kept: Terms = [(built.k[a], time)] if following >= 0 else []
        until = instance.accesses[following].step if following >= 0 else len(steps)
        begins = instance.accesses[a].step
        replaced = a != w and a in steps[begins].replaced
        for t in range(begins if replaced else begins + 1, until):
            if steps[t].slot > last:
                break
            held = matrix.column(0.0, 1.0, integer=integer and share >= RESERVING)
            matrix.at_least([(held, time), *stored_by(t), (built.x[w], -time), *kept], 0.0)
            (built.giving if t == begins else built.held)[t].append((held, share))
            built.holding[a].append((t, held))
        if following >= 0 and steps[until].slot <= last:
            matrix.at_least([*stored_by(until), (built.x[w], -time), *kept], 0.0)


def _seen(instance: MappingInstance, write: int) -> Iterable[int]:
    """``write`` and the accesses after it that see what it wrote."""
    yield write
    a = instance.accesses[write].after
    while a >= 0 and not instance.accesses[a].writes:
        yield a
        a = instance.accesses[a].after


def _kept_in_end(instance: MappingInstance, access: int) -> bool:
    """Whether it is the last of its storage, which DRAM must hold in the end."""
    row = instance.accesses[access]
    return row.after < 0 and instance.storages[row.storage].ends_in_dram


def _space(built: MappingModel) -> None:
    """3."""
    instance, matrix = built.instance, built.matrix
    passing: list[Terms] = [[] for _ in instance.steps]
    for a, access in enumerate(instance.accesses):
        if access.after >= 0 and instance.fits(a):
            for t in range(access.step + 1, instance.accesses[access.after].step):
                passing[t].append((built.k[a], _share(instance, a)))
    for t, step in enumerate(instance.steps):
        common = passing[t] + [
            (built.x[a], _share(instance, a))
            for a in step.accesses
            if a not in step.replaced and a not in step.replacing and instance.fits(a)
        ]
        old = [(built.x[a], _share(instance, a)) for a in step.replaced if instance.fits(a)]
        new = [(built.x[a], _share(instance, a)) for a in step.replacing if instance.fits(a)]
        stay = [
            (built.k[a], _share(instance, a))
            for a in step.replaced
            if built.k[a] >= 0 and instance.fits(a)
        ]
        early = built.held[t] + built.begun[t]
        matrix.at_most([*common, *old, *built.loading[t]], 1.0)
        if built.held[t]:
            matrix.at_most([*common, *old, *early], 1.0)
        if new:
            matrix.at_most([*common, *new, *stay, *built.loading[t]], 1.0)
        if new and (built.held[t] or built.giving[t]):
            matrix.at_most([*common, *new, *stay, *built.giving[t], *early], 1.0)


def _share(instance: MappingInstance, access: int) -> float:
    """Share of fast memory that the storage of ``access`` takes."""
    storage = instance.storages[instance.accesses[access].storage]
    return storage.size_bytes / instance.pace.capacity_bytes


def _bandwidth(built: MappingModel) -> None:
    """6, 7 and the pools."""
    matrix, instance = built.matrix, built.instance
    terms: list[Terms] = [[(length, 1.0)] for length in built.length]
    _pool_in(built, built.pool_in, terms, 0.0)
    _pool_in(built, built.pool_large, terms, _least_share(built))
    late = -1
    for g, owed in enumerate(built.pool_out):
        if late >= 0 or owed:
            behind, rest = matrix.column(), matrix.column()
            terms[g].append((behind, -1.0))
            before = [(late, 1.0)] if late >= 0 else []
            matrix.equal([*owed, *before, (behind, -1.0), (rest, -1.0)], 0.0)
            late = rest
        matrix.at_least(terms[g] + [(column, -weight) for column, weight in built.dram[g]], 0.0)
        if built.queue[g]:
            queue = [(column, -weight) for column, weight in built.queue[g]]
            length = (built.length[g], float(instance.pace.load_channels))
            matrix.at_least([length, *queue], 0.0)
    if late >= 0:
        matrix.at_most([(late, 1.0)], 0.0)


def _pool_in(built: MappingModel, due: list[Terms], terms: list[Terms], share: float) -> None:
    """What slots move in advance, less what was due by then, is at hand.

    Args:
        built: the program.
        due: DRAM's time by the last slot it may be in [G + 1].
        terms: what DRAM does in a slot, to which this adds [G + 1].
        share: of fast memory that a cycle's worth of it takes.
    """
    matrix, early = built.matrix, -1
    last = max((g for g, own in enumerate(due) if own), default=-1)
    ends = _last_steps(built.instance)
    for g in range(last + 1):
        ahead, rest = matrix.column(), matrix.column()
        terms[g].append((ahead, -1.0))
        known: Terms = [(ahead, 1.0)] + ([(early, 1.0)] if early >= 0 else [])
        matrix.equal([*known, (rest, -1.0), *((c, -weight) for c, weight in due[g])], 0.0)
        if share:
            built.loading[ends[g]] += [(column, share) for column, _ in known]
        early = rest


def _least_share(built: MappingModel) -> float:
    """Share of fast memory that a cycle's worth of a large storage takes at least."""
    pace = built.instance.pace
    sizes = [s for s in built.instance.storages if s.size_bytes >= RESERVING * pace.capacity_bytes]
    dense = min((s.size_bytes / s.moved_bytes for s in sizes), default=0.0)
    return dense * pace.dram_bytes_per_cycle / pace.capacity_bytes
