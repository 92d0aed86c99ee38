"""Networks of the planning literature, built as ONNX models from their published definitions.

``NETWORKS`` maps a name to a function without arguments that returns a model. Batch
normalisation is folded into the convolutions, as exporters do for inference; weights are
``ConstantOfShape`` nodes, so the files are small and run as they are.
"""

from collections.abc import Callable

import onnx

from benchmarks.networks.convnets import densenet121, hrnet_w18, lraspp_mobilenet_v3, randwire_ws
from benchmarks.networks.nas import amoebanet_d, darts_v2, nasnet_a_large, pnasnet5_large
from benchmarks.networks.resnets import deeplabv3_resnet50, fcn_resnet50, resnet50, resnext50
from benchmarks.networks.transformers import transformer_base, vit_b16
from benchmarks.networks.video import r2plus1d_18, s3d

HAND_DESIGNED: dict[str, Callable[[], onnx.ModelProto]] = {
    "ResNet-50": resnet50,
    "DenseNet-121": densenet121,
    "ResNeXt-50": resnext50,
    "R(2+1)D-18": r2plus1d_18,
    "S3D": s3d,
    "FCN-ResNet50": fcn_resnet50,
    "LR-ASPP": lraspp_mobilenet_v3,
    "DeepLabV3-ResNet50": deeplabv3_resnet50,
    "ViT-B/16": vit_b16,
    "Transformer": transformer_base,
    "HRNet-W18": hrnet_w18,
}
NAS: dict[str, Callable[[], onnx.ModelProto]] = {
    "PNASNet-5": pnasnet5_large,
    "AmoebaNet-D": amoebanet_d,
    "NASNet-A": nasnet_a_large,
    "DARTS": darts_v2,
    "RandWire-WS": randwire_ws,
}
NETWORKS = HAND_DESIGNED | NAS
