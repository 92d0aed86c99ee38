"""Schedule a network written by ``benchmarks.stream_network`` with Stream.

    python -m venv peer
    peer/bin/pip install stream-dse==0.0.8 zigzag-dse==2.5.4 "pandas<2.3" "numpy<2" \\
        "networkx<3.3" plotly rtree
    peer/bin/python -P -W ignore benchmarks/stream_run.py network.onnx 262144
        [--rows all] [--until 13] [--mode 4]

Runs with the Python of Stream's environment and imports nothing of this project. The machine is
``edge-npu`` as far as Stream can say it: one core of 32 x 32 multipliers, 128 lanes for pooling and
128 for element-wise work, all three on one activation memory of the size given, a weight memory of
512 KiB, 16 bytes per cycle to and from DRAM through one port. One JSON object is printed: bytes
that Stream's schedule moves over the DRAM port, by kind, its latency, and seconds.

``--rows N`` cuts every layer into N bands of rows (``all``: single rows), ``1`` leaves them whole.
``--until N`` does so for the nodes before number N of the file only, the others stay whole.
``--mode 4`` also cuts output channels until the weights of a layer fit the weight memory. Stream
reserves 16 bits for every result of a convolution; ``--sum-bits 8`` (the default) reserves what is
kept, as sums never leave ``edge-npu``'s array. ``--factors`` bounds the loops whose orders Stream
tries within a node; fewer are quicker.
"""

import argparse
import json
import logging
import sys
from collections import Counter
from importlib import import_module
from time import perf_counter, process_time
from types import ModuleType
from typing import Any

BYTE = 8
WEIGHT_BYTES = 512 * 1024
DRAM_BITS_PER_CYCLE = 16 * BYTE
SRAM_BITS_PER_CYCLE = 16 * 32 * BYTE
DRAM_BYTES = 1 << 34
ARRAY, POOLING, SIMD, OFFCHIP = range(4)
MAPPING = "stream_run_mapping"
POOLS = ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
# As edge-npu's energy table; one allocation is possible for every layer, so nothing hangs on them.
MAC_PJ, SRAM_PJ_PER_BYTE, DRAM_PJ_PER_BYTE = 0.34, 1.9, 64.0


def main() -> None:
    """Schedule one network for one memory size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network")
    parser.add_argument("scratchpad_bytes", type=int)
    parser.add_argument("--rows", default="all")
    parser.add_argument("--mode", type=int, choices=(1, 4), default=1)
    parser.add_argument("--until", type=int, default=0)
    parser.add_argument("--factors", type=int, default=6)
    parser.add_argument("--sum-bits", type=int, default=BYTE)
    parser.add_argument("--order", choices=("memory", "latency"), default="memory")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    began, began_cpu = perf_counter(), process_time()
    schedule, costs = run(arguments)
    row = {
        "network": arguments.network,
        "scratchpad_bytes": arguments.scratchpad_bytes,
        "rows": arguments.rows,
        "until": arguments.until,
        "mode": arguments.mode,
        "order": arguments.order,
        "sum_bits": arguments.sum_bits,
        "factors": arguments.factors,
        "nodes": schedule.workload.number_of_nodes(),
        **{kind: bits // BYTE for kind, bits in moved_bits(schedule, costs).items()},
        "cycles": int(schedule.latency),
        "wall_s": round(perf_counter() - began, 1),
        "cpu_s": round(process_time() - began_cpu, 1),
    }
    print(json.dumps(row))


def run(arguments: argparse.Namespace) -> tuple[Any, Any]:
    """Stream's evaluation of the schedule, and its costs of every kind of node."""
    stages, zigzag = library("stream.classes.stages"), library("zigzag.classes.stages.Stage")
    record_directions(library("stream.classes.cost_model.communication_manager"))
    costs: dict[Any, Any] = {}

    def keep(callables: list[Any], **options: Any) -> Any:
        costs.update(options["node_hw_performances"])
        return stages.InterCoreMappingStage(callables, **options)

    def narrow(callables: list[Any], **options: Any) -> Any:
        for node in options["workload"].nodes():
            vars(node).get("attrs", {}).get("operand_precision", {})["O"] = arguments.sum_bits
        return stages.GenerateCNWorkloadHybridStage(callables, **options)

    pipeline = [
        stages.StreamONNXModelParserStage,
        narrow,
        stages.IntraCoreMappingStage,
        keep,
    ]
    main_stage = zigzag.MainStage(
        pipeline,
        accelerator=machine(arguments.scratchpad_bytes),
        workload_path=arguments.network,
        mapping_path=mapping(),
        loma_lpf_limit=arguments.factors,
        nb_ga_individuals=16,
        nb_ga_generations=16,
        plot_hof=False,
        plot_file_name=False,
        **cuts(arguments),
        scheduler_candidate_selection=arguments.order,
        operands_to_prefetch=[],
    )
    return main_stage.run()[0][0], costs


def cuts(arguments: argparse.Namespace) -> dict[str, Any]:
    """How fine layers are cut, in Stream's words."""
    rows = arguments.rows if arguments.rows == "all" else int(arguments.rows)
    loops = [] if rows == 1 else [("OY", rows)]
    if not arguments.until:
        return {"cn_define_mode": arguments.mode, "hint_loops": loops}
    return {"cn_define_mode": 3, "hint_loops": [loops, []], "layer_cutoffs": [arguments.until]}


def library(name: str) -> Any:
    """A module of the peer's environment."""
    try:
        return import_module(name)
    except ImportError as error:
        sys.exit(f"{error}: run this with a Python that has stream-dse (how: this file's top)")


def mapping() -> str:
    """Name of a module that tells Stream which core works on which kind of layer."""
    module = ModuleType(MAPPING)
    cores = {"default": ARRAY, "Add": SIMD, "Mul": SIMD} | dict.fromkeys(POOLS, POOLING)
    vars(module)["mapping"] = {kind: {"core_allocation": core} for kind, core in cores.items()}
    sys.modules[MAPPING] = module
    return MAPPING


def record_directions(module: Any) -> None:
    """Make Stream remember the sender of every transfer, which its events do not tell."""
    original = module.CommunicationManager.update_links

    def update_links(self: Any, tensor: Any, sender: Any, *others: Any) -> Any:
        sender_id = sender if isinstance(sender, int) else sender.id
        vars(self).setdefault("moved", []).append((tensor, sender_id == OFFCHIP))
        return original(self, tensor, sender, *others)

    module.CommunicationManager.update_links = update_links


def moved_bits(schedule: Any, costs: Any) -> Counter[str]:
    """Bits over the DRAM port: transfers of tensors, and operands read or written in place."""
    bits: Counter[str] = Counter()
    for tensor, is_read in schedule.accelerator.communication_manager.moved:
        constant = tensor.layer_operand in tensor.origin.constant_operands
        bits[_kind(constant, tensor.memory_operand, is_read)] += tensor.size
    for node in schedule.workload.nodes():
        # Equal nodes have different hashes in Stream, so that looking one up would not find it.
        cost = next(next(iter(found.values())) for same, found in costs.items() if same == node)
        links = node.memory_operand_links
        for operand in (name for name in links if links[name] in node.too_large_operands):
            moves = cost.memory_word_access[operand][-1]
            constant = operand in node.constant_operands
            for is_read, words in (
                (True, moves.rd_out_to_low + moves.rd_out_to_high),
                (False, moves.wr_in_by_low + moves.wr_in_by_high),
            ):
                kind = "streamed_" + _kind(constant, links[operand], is_read)
                bits[kind] += round(words * DRAM_BITS_PER_CYCLE)
    return bits


def _kind(constant: bool, memory_operand: str, is_read: bool) -> str:
    if not constant:
        return "activations_read" if is_read else "activations_written"
    return "weights_read" if memory_operand == "I2" else "input_read"


def machine(scratchpad_bytes: int) -> Any:
    """The accelerator, as the module docstring says."""
    accelerator = library("stream.classes.hardware.architecture.accelerator")
    mesh = library("stream.inputs.examples.hardware.nocs.mesh_2d")
    shared = memory("activations", scratchpad_bytes, SRAM_BITS_PER_CYCLE, SRAM_PJ_PER_BYTE)
    array = array_core(shared)
    pooling = lanes_core(POOLING, shared, (("I1", "O"), ("I2",)))
    simd = lanes_core(SIMD, shared, (("I1", "I2", "O"),))
    graph = mesh.get_2d_mesh([array], 1, 1, SRAM_BITS_PER_CYCLE, 0, pooling, simd, offchip_core())
    return accelerator.Accelerator("edge-npu", graph, offchip_core_id=OFFCHIP)


def memory(name: str, size_bytes: int, bits_per_cycle: int, pj_byte: float, **ports: int) -> Any:
    """A memory with a port for reads and one for writes unless said otherwise."""
    module = library("zigzag.classes.hardware.architecture.memory_instance")
    cost = pj_byte * bits_per_cycle / BYTE
    ports = ports or {"r_port": 1, "w_port": 1, "rw_port": 0}
    return module.MemoryInstance(
        name=name,
        size=size_bytes * BYTE,
        r_bw=bits_per_cycle,
        w_bw=bits_per_cycle,
        r_cost=cost,
        w_cost=cost,
        **ports,
    )


def array_core(shared: Any) -> Any:
    """32 x 32 multipliers: input channels by output channels, or channels of a depthwise layer."""
    hierarchy, array = units({"D1": 32, "D2": 32}, MAC_PJ)
    weights = memory("weight_registers", 64, BYTE, 0.05)
    sums = memory("sum_registers", 2, 2 * BYTE, 0.05, r_port=2, w_port=2, rw_port=0)
    hierarchy.add_memory(weights, ("I2",), ports(("I2",)), {(0, 0)})
    written = {"fh": "w_port_1", "tl": "r_port_1", "fl": "w_port_2", "th": "r_port_2"}
    hierarchy.add_memory(sums, ("O",), (written,), {(0, 1)})
    buffer = memory("weights", WEIGHT_BYTES, SRAM_BITS_PER_CYCLE, SRAM_PJ_PER_BYTE)
    hierarchy.add_memory(buffer, ("I2",), ports(("I2",)), "all")
    hierarchy.add_memory(shared, ("I1", "O"), ports(("I1", "O")), "all")
    return core(ARRAY, array, hierarchy, [{"D1": ("K", 32), "D2": ("C", 32)}, {"D1": ("G", 32)}])


def lanes_core(number: int, shared: Any, levels: tuple[tuple[str, ...], ...]) -> Any:
    """128 lanes across channels; operands of the first level lie in the shared memory."""
    hierarchy, array = units({"D1": 128}, 0.1)
    hierarchy.add_memory(shared, levels[0], ports(levels[0]), "all")
    for operands in levels[1:]:
        registers = memory("window_registers", 16, 3 * BYTE, 0.0)
        hierarchy.add_memory(registers, operands, ports(operands), "all")
    return core(number, array, hierarchy, [{"D1": ("K", 128)}])


def offchip_core() -> Any:
    """DRAM, with one port for both directions."""
    hierarchy, array = units({"D1": 1, "D2": 1}, float("inf"))
    port = {"r_port": 0, "w_port": 0, "rw_port": 1}
    dram = memory("dram", DRAM_BYTES, DRAM_BITS_PER_CYCLE, DRAM_PJ_PER_BYTE, **port)
    operands = ("I1", "I2", "O")
    hierarchy.add_memory(dram, operands, ports(operands, "rw_port_1", "rw_port_1"), "all")
    return core(OFFCHIP, array, hierarchy, None)


def units(dimensions: dict[str, int], energy_pj: float) -> tuple[Any, Any]:
    """An empty memory hierarchy, and the array of multipliers that it feeds."""
    parts = "zigzag.classes.hardware.architecture."
    unit = library(parts + "operational_unit").Multiplier([BYTE, BYTE], energy_pj, 0)
    array = library(parts + "operational_array").MultiplierArray(unit, dimensions)
    return library(parts + "memory_hierarchy").MemoryHierarchy(operational_array=array), array


def ports(
    operands: tuple[str, ...], read: str = "r_port_1", write: str = "w_port_1"
) -> tuple[dict[str, str | None], ...]:
    """Which port serves which direction, for each operand."""
    down: dict[str, str | None] = {"fh": write, "tl": read, "fl": None, "th": None}
    return tuple(down | {"fl": write, "th": read} if op == "O" else down for op in operands)


def core(number: int, array: Any, hierarchy: Any, dataflows: list[Any] | None) -> Any:
    """A core of Stream's."""
    module = library("zigzag.classes.hardware.architecture.core")
    return module.Core(number, array, hierarchy, dataflows)


if __name__ == "__main__":
    main()
