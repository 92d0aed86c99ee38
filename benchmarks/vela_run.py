"""Compile a network written by ``benchmarks.vela_network`` with Arm Vela.

    python -m venv peer && peer/bin/pip install ethos-u-vela
    peer/bin/python benchmarks/vela_run.py network.json 262144

Runs with the Python of Vela's environment and imports nothing of this project. The network is
written as an int8 TFLite file with seeded random weights, compiled for an Ethos-U65 with 512
multiply-accumulates and a dedicated SRAM of the size given, and Vela's own counts are printed.
"""

import argparse
import csv
import json
import random
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

flatbuffers: Any = import_module("flatbuffers")

CODES = {"add": 0, "avgpool": 1, "conv": 3, "depthwise": 4, "dense": 9, "maxpool": 17}
RESHAPE_CODE = 22
ACTIVATIONS = {"NONE": 0, "RELU": 1, "RELU6": 3}
INT8, INT32 = 9, 2
SCALE = 0.05


def main() -> None:
    """Compile one network for one SRAM size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", type=Path)
    parser.add_argument("sram_bytes", type=int)
    parser.add_argument("--accelerator", default="ethos-u65-512")
    parser.add_argument("--system", default="Ethos_U65_High_End")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "network.tflite"
        file.write_bytes(tflite(json.loads(arguments.network.read_text())))
        command = [str(Path(sys.executable).parent / "vela"), str(file)]
        command += ["--accelerator-config", arguments.accelerator]
        command += ["--config", "Arm/vela.ini", "--system-config", arguments.system]
        command += ["--memory-mode", "Dedicated_Sram"]
        command += ["--arena-cache-size", str(arguments.sram_bytes), "--output-dir", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr or done.stdout)
        (summary,) = Path(folder).glob("*summary*.csv")
        rows = list(csv.DictReader(summary.open()))
    print(json.dumps(rows[-1], indent=1))


def tflite(network: dict[str, Any]) -> bytes:
    """The network as a TFLite file."""
    writer = _Writer()
    made = {network["input"]: writer.tensor("input", network["shape"], INT8)}
    shapes = {network["input"]: network["shape"]}
    for layer in network["layers"]:
        sources = [made[name] for name in layer["inputs"]]
        made[layer["output"]] = writer.layer(layer, sources, shapes[layer["inputs"][0]])
        shapes[layer["output"]] = layer["shape"]
    return writer.finish(made[network["input"]], made[network["layers"][-1]["output"]])


class _Writer:
    """Builds the file table by table; slots are those of the TFLite schema, version 3; mutable."""

    def __init__(self) -> None:
        self._builder = flatbuffers.Builder(1 << 20)
        self._random = random.Random(0)
        self._tensors: list[int] = []
        self._operators: list[int] = []
        self._codes: list[int] = []
        self._buffers = [self._table({})]

    def tensor(self, name: str, shape: list[int], kind: int, data: bytes = b"") -> int:
        """Append a tensor; its number."""
        buffer = 0
        if data:
            buffer = len(self._buffers)
            self._buffers.append(self._table({0: ("offset", self._builder.CreateByteVector(data))}))
        scale = self._vector([SCALE * SCALE if kind == INT32 else SCALE], "Float32", 4)
        zero = self._vector([0], "Int64", 8)
        quantization = self._table({2: ("offset", scale), 3: ("offset", zero)})
        title = self._builder.CreateString(f"{name}_{len(self._tensors)}")
        fields = {
            0: ("offset", self._ints(shape)),
            1: ("int8", kind),
            2: ("uint32", buffer),
            3: ("offset", title),
            4: ("offset", quantization),
        }
        self._tensors.append(self._table(fields))
        return len(self._tensors) - 1

    def layer(self, layer: dict[str, Any], sources: list[int], before: list[int]) -> int:
        """Append a layer; the number of its result."""
        kind, shape = layer["kind"], layer["shape"]
        act = ("int8", ACTIVATIONS[layer["activation"]])
        if kind == "dense" and len(before) == 4:
            flat = [1, before[1] * before[2] * before[3]]
            sources = [self._reshape(sources[0], flat)]
            before = flat
        sources = sources + self._weights(layer, before)
        result = self.tensor(kind, shape, INT8)
        strides = {1: ("int32", layer["strides"][1]), 2: ("int32", layer["strides"][0])}
        slid = {0: ("int8", 0 if layer["padding"] == "SAME" else 1), **strides}
        filters = {3: ("int32", layer["kernel"][1]), 4: ("int32", layer["kernel"][0])}
        options: dict[str, tuple[int, dict[int, tuple[str, int]]]] = {
            "conv": (1, {**slid, 3: act}),
            "depthwise": (2, {**slid, 3: ("int32", 1), 4: act}),
            "maxpool": (5, {**slid, **filters, 5: act}),
            "avgpool": (5, {**slid, **filters, 5: act}),
            "dense": (8, {0: act}),
            "add": (11, {0: act}),
        }
        self._operator(CODES[kind], sources, result, *options[kind])
        return result

    def finish(self, source: int, result: int) -> bytes:
        """The file."""
        graph = {
            0: ("offset", self._offsets(self._tensors)),
            1: ("offset", self._ints([source])),
            2: ("offset", self._ints([result])),
            3: ("offset", self._offsets(self._operators)),
        }
        codes = [
            self._table({0: ("int8", code), 2: ("int32", 1), 3: ("int32", code)})
            for code in self._codes
        ]
        model = {
            0: ("uint32", 3),
            1: ("offset", self._offsets(codes)),
            2: ("offset", self._offsets([self._table(graph)])),
            4: ("offset", self._offsets(self._buffers)),
        }
        self._builder.Finish(self._table(model), file_identifier=b"TFL3")
        return bytes(self._builder.Output())

    def _weights(self, layer: dict[str, Any], before: list[int]) -> list[int]:
        channels, (height, width) = layer["shape"][-1], layer["kernel"]
        shapes = {
            "conv": [channels, height, width, before[-1]],
            "depthwise": [1, height, width, channels],
            "dense": [channels, before[-1]],
        }
        shape = shapes.get(layer["kind"])
        if shape is None:
            return []
        count = 1
        for extent in shape:
            count *= extent
        weights = self.tensor("weights", shape, INT8, self._random.randbytes(count))
        return [weights, self.tensor("bias", [channels], INT32, bytes(4 * channels))]

    def _reshape(self, source: int, shape: list[int]) -> int:
        result = self.tensor("flat", shape, INT8)
        raw = b"".join(extent.to_bytes(4, "little") for extent in shape)
        target = self.tensor("shape", [len(shape)], INT32, raw)
        options = {0: ("offset", self._ints(shape))}
        self._operator(RESHAPE_CODE, [source, target], result, 17, options)
        return result

    def _operator(
        self,
        code: int,
        sources: list[int],
        result: int,
        option_kind: int,
        options: dict[int, tuple[str, int]],
    ) -> None:
        if code not in self._codes:
            self._codes.append(code)
        fields = {
            0: ("uint32", self._codes.index(code)),
            1: ("offset", self._ints(sources)),
            2: ("offset", self._ints([result])),
            3: ("uint8", option_kind),
            4: ("offset", self._table(options)),
        }
        self._operators.append(self._table(fields))

    def _table(self, fields: dict[int, tuple[str, int]]) -> int:
        builder = self._builder
        builder.StartObject(max(fields, default=-1) + 1)
        for slot, (kind, value) in fields.items():
            if kind == "offset":
                builder.PrependUOffsetTRelativeSlot(slot, value, 0)
            else:
                getattr(builder, f"Prepend{kind.capitalize()}Slot")(slot, value, 0)
        return int(builder.EndObject())

    def _vector(self, values: list[Any], kind: str, width: int) -> int:
        self._builder.StartVector(width, len(values), width)
        for value in reversed(values):
            getattr(self._builder, f"Prepend{kind}")(value)
        return int(self._builder.EndVector())

    def _ints(self, values: list[int]) -> int:
        return self._vector(values, "Int32", 4)

    def _offsets(self, values: list[int]) -> int:
        return self._vector(values, "UOffsetTRelative", 4)


if __name__ == "__main__":
    main()
