"""Input intervals that sliding windows and resampling need for an output interval."""

from dataclasses import dataclass

from stowplan.ir.graph import Graph, Interval, Operator
from stowplan.passes.view_rules import integers


@dataclass(frozen=True, slots=True)
class Window:
    """A kernel sliding along one dimension.

    Attributes:
        extent: of the input.
        kernel: taps.
        stride: step between windows.
        dilation: step between taps.
        before: padding in front.
    """

    extent: int
    kernel: int
    stride: int
    dilation: int
    before: int

    def source(self, out: Interval) -> Interval:
        """Input elements the outputs ``out`` of a convolution or pooling read."""
        lower = out[0] * self.stride - self.before
        upper = (out[1] - 1) * self.stride - self.before + self.dilation * (self.kernel - 1) + 1
        return clip(lower, upper, self.extent)

    def transposed_source(self, out: Interval) -> Interval:
        """Input elements that reach the outputs ``out`` of a transposed convolution."""
        reach = self.dilation * (self.kernel - 1)
        lower = -(-(out[0] + self.before - reach) // self.stride)
        upper = (out[1] - 1 + self.before) // self.stride + 1
        return clip(lower, upper, self.extent)


def clip(lower: int, upper: int, extent: int) -> Interval:
    """The interval inside ``[0, extent)``; a window in the padding keeps its neighbour."""
    lower = min(max(lower, 0), extent - 1)
    return lower, min(max(upper, lower + 1), extent)


def windows_of(graph: Graph, op: Operator, kernel: tuple[int, ...]) -> tuple[Window, ...] | None:
    """One window per spatial dimension of an NCHW operator; None if its attributes are odd."""
    source = graph.tensor[op.inputs[0]].shape[2:]
    result = graph.tensor[op.outputs[0]].shape[2:]
    rank = len(source)
    strides = integers(op, "strides") or (1,) * rank
    dilations = integers(op, "dilations") or (1,) * rank
    pads = integers(op, "pads") or (0,) * (2 * rank)
    if len(result) != rank or len(kernel) != rank or len(pads) != 2 * rank:
        return None
    if len(strides) != rank or len(dilations) != rank or 0 in source:
        return None
    before = _before(op, source, result, kernel, strides, dilations, pads)
    if before is None:
        return None
    return tuple(
        Window(*each) for each in zip(source, kernel, strides, dilations, before, strict=True)
    )


def _before(
    op: Operator,
    source: tuple[int, ...],
    result: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    pads: tuple[int, ...],
) -> tuple[int, ...] | None:
    """Padding in front of each dimension.

    Source: ONNX operator specification, Conv, attribute auto_pad.
    """
    mode = op.attribute("auto_pad", "NOTSET")
    if mode == "NOTSET":
        return pads[: len(source)]
    if mode == "VALID":
        return (0,) * len(source)
    if mode not in ("SAME_UPPER", "SAME_LOWER") or op.kind == "ConvTranspose":
        return None
    total = [
        max(0, (out - 1) * s + d * (k - 1) + 1 - extent)
        for out, s, d, k, extent in zip(result, strides, dilations, kernel, source, strict=True)
    ]
    return tuple(t // 2 if mode == "SAME_UPPER" else t - t // 2 for t in total)


def resampled(out: Interval, result: int, source: int) -> Interval:
    """Input elements a Resize reads, whatever its coordinate convention.

    All conventions of ONNX place output ``o`` within one element of ``o * source / result``; cubic
    interpolation reaches two elements beyond.
    """
    if result == source:
        return out
    return clip(out[0] * source // result - 3, -(-out[1] * source // result) + 3, source)
