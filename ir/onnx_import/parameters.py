"""Which inputs of a node are parameters rather than data.

A parameter with a constant value (the shape of a Reshape, the scale of a QuantizeLinear) is no
operand a plan would place: it goes into the operator's attributes under its input name.
"""

from collections.abc import Mapping

from onnx import NodeProto, defs

from stowplan.ir.onnx_import.tensors import Array
from stowplan.ir.operator_kinds import MICROSOFT

RECORDED_CAP_ELEMENTS = 256
"""Longer parameters (per-channel scales) are dropped without a record."""

_REDUCTIONS = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare"
_STANDARD: Mapping[str, str] = {
    "AffineGrid": "size",
    "BlackmanWindow": "size",
    "CenterCropPad": "shape",
    "Clip": "min max",
    "Col2Im": "image_shape block_shape",
    "ConstantOfShape": "input",
    "ConvInteger": "x_zero_point w_zero_point",
    "CumProd": "axis",
    "CumSum": "axis",
    "DFT": "dft_length axis",
    "DequantizeLinear": "x_scale x_zero_point",
    "Dropout": "ratio training_mode",
    "Expand": "shape",
    "HammingWindow": "size",
    "HannWindow": "size",
    "MatMulInteger": "a_zero_point b_zero_point",
    "MaxUnpool": "output_shape",
    "MelWeightMatrix": "num_mel_bins dft_length sample_rate lower_edge_hertz upper_edge_hertz",
    "NonMaxSuppression": "max_output_boxes_per_class iou_threshold score_threshold",
    "OneHot": "depth values",
    "Pad": "pads constant_value axes",
    "QLinearConv": "x_scale x_zero_point w_scale w_zero_point y_scale y_zero_point",
    "QLinearMatMul": "a_scale a_zero_point b_scale b_zero_point y_scale y_zero_point",
    "QuantizeLinear": "y_scale y_zero_point",
    "Range": "start limit delta",
    "Reshape": "shape",
    "Resize": "roi scales sizes",
    "STFT": "frame_step frame_length",
    "Slice": "starts ends axes steps",
    "Split": "split",
    "Squeeze": "axes",
    "Tile": "repeats tiles axis",
    "TopK": "K",
    "Trilu": "k",
    "Unsqueeze": "axes",
    "Upsample": "scales",
} | {f"Reduce{name}": "axes" for name in _REDUCTIONS.split()}
_ONE_INPUT = "X *X_scale *X_zero_point *Y_scale *Y_zero_point"
_TWO_INPUTS = """A *A_scale *A_zero_point B *B_scale *B_zero_point *C_scale *C_zero_point"""
_MICROSOFT: Mapping[str, str] = {
    "DequantizeBFP": "x *shape *strides",
    "DequantizeLinear": "x *x_scale *x_zero_point",
    "DequantizeWithOrder": "input *scale_input",
    "DynamicQuantizeLSTM": """X W R B sequence_lens initial_h initial_c P
        *W_scale *W_zero_point *R_scale *R_zero_point""",
    "DynamicQuantizeMatMul": "A B *b_scale *b_zero_point bias",
    "ExpandDims": "X *axis",
    "MatMulFpQ4": "A B *B_shape",
    "MatMulIntegerToFloat": "A B *a_scale *b_scale *a_zero_point *b_zero_point bias",
    "MulInteger": "A *A_zero_point B *B_zero_point",
    "Pad": "data *pads *value *axes",
    "QAttention": """input weight bias *input_scale *weight_scale mask_index
        *input_zero_point *weight_zero_point past""",
    "QEmbedLayerNormalization": """input_ids segment_ids word_embedding_quant
        position_embedding_quant segment_embedding gamma_quant beta_quant mask
        *word_embedding_scale *position_embedding_scale *segment_embedding_scale *gamma_scale
        *beta_scale *word_embedding_zero_point *position_embedding_zero_point
        *segment_embedding_zero_point *gamma_zero_point *beta_zero_point""",
    "QGemm": "A *a_scale *a_zero_point B *b_scale *b_zero_point C *y_scale *y_zero_point",
    "QLinearAdd": _TWO_INPUTS,
    "QLinearAveragePool": _ONE_INPUT,
    "QLinearGlobalAveragePool": _ONE_INPUT,
    "QLinearLeakyRelu": _ONE_INPUT,
    "QLinearMul": _TWO_INPUTS,
    "QLinearReduceMean": "data *data_scale *data_zero_point *reduced_scale *reduced_zero_point",
    "QLinearSigmoid": _ONE_INPUT,
    "QLinearSoftmax": _ONE_INPUT,
    "QLinearWhere": """condition X *x_scale *x_zero_point Y *y_scale *y_zero_point
        *z_scale *z_zero_point""",
    "QOrderedGelu": "X *scale_X *scale_Y",
    "QOrderedLayerNormalization": "X *scale_X scale B *scale_Y",
    "QOrderedMatMul": "A *scale_A B *scale_B *scale_Y bias C *scale_C",
    "QuantizeLinear": "x *y_scale *y_zero_point",
    "QuantizeWithOrder": "input *scale_input",
    "Range": "*start *limit *delta",
    "Trilu": "X *k",
}


def parameter_names(
    node: NodeProto, version: int, values: Mapping[str, Array]
) -> tuple[str | None, ...]:
    """Per input of ``node``: its name when it is a parameter, else None.

    Args:
        node: the node.
        version: opset version of the node's domain.
        values: small known values; they tell an index that picks one slice from a table of them.
    """
    count = len(node.input)
    if node.domain == MICROSOFT:
        return _microsoft(node.op_type, count)
    if node.domain:
        return (None,) * count
    if node.op_type == "Gather" and count > 1:
        index = values.get(node.input[1])
        return (None, "indices" if index is not None and index.size == 1 else None)
    wanted = _STANDARD.get(node.op_type, "").split()
    if not wanted or not defs.has(node.op_type, version, ""):
        return (None,) * count
    names = [each.name for each in defs.get_schema(node.op_type, version, "").inputs]
    names += [""] * (count - len(names))
    return tuple(name if name in wanted else None for name in names[:count])


def _microsoft(kind: str, count: int) -> tuple[str | None, ...]:
    if kind == "QLinearConcat":
        head = ("Y_scale", "Y_zero_point")[:count]
        tail = ((None, "X_scale", "X_zero_point")[(i - 2) % 3] for i in range(2, count))
        return (*head, *tail)
    names = _MICROSOFT.get(kind, "").split()
    names += [""] * (count - len(names))
    return tuple(name[1:] if name.startswith("*") else None for name in names[:count])
