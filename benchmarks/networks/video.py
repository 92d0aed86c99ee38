"""Video networks on 16 frames of 224 x 224."""

import onnx

from benchmarks.networks.builder import Net, Value

FRAMES = (1, 3, 16, 224, 224)


def r2plus1d_18() -> onnx.ModelProto:
    """ResNet-18 of (2+1)-dimensional convolutions.

    Source: "A Closer Look at Spatiotemporal Convolutions for Action Recognition", Section 3.5:
    the middle width keeps the parameter count of the 3-D convolution.
    """
    net = Net("r2plus1d_18", FRAMES)
    x = net.conv(net.x, 45, (1, 7, 7), (1, 2, 2), relu=True)
    x = net.conv(x, 64, (3, 1, 1), relu=True)
    for stage, width in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage and block == 0 else 1
            y = _conv2plus1d(net, _conv2plus1d(net, x, width, stride, relu=True), width)
            skip = x if stride == 1 else net.conv(x, width, 1, stride)
            x = net.relu(net.add(y, skip))
    return net.model(net.classifier(x, 400))


def s3d() -> onnx.ModelProto:
    """Separable 3-D Inception.

    Source: "Rethinking Spatiotemporal Feature Learning: Speed-Accuracy Trade-offs in Video
    Classification", Figure 6; widths of Inception-v1.
    """
    net = Net("s3d", FRAMES)
    x = _separable(net, net.x, 64, 7, 2)
    x = _spatial_pool(net, x)
    x = _separable(net, net.conv(x, 64, relu=True), 192, 3)
    x = _spatial_pool(net, x)
    for widths in ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)):
        x = _mixed(net, x, widths)
    x = net.pool("MaxPool", x, 3, 2)
    for widths in (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ):
        x = _mixed(net, x, widths)
    x = net.pool("MaxPool", x, 3, 2)
    for widths in ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)):
        x = _mixed(net, x, widths)
    return net.model(net.classifier(x, 400))


def _conv2plus1d(net: Net, x: Value, width: int, stride: int = 1, relu: bool = False) -> Value:
    channels = net.shapes[x][1]
    middle = channels * width * 27 // (channels * 9 + 3 * width)
    y = net.conv(x, middle, (1, 3, 3), (1, stride, stride), relu=True)
    return net.conv(y, width, (3, 1, 1), (stride, 1, 1), relu=relu)


def _separable(net: Net, x: Value, width: int, kernel: int, stride: int = 1) -> Value:
    y = net.conv(x, width, (1, kernel, kernel), (1, stride, stride), relu=True)
    return net.conv(y, width, (kernel, 1, 1), (stride, 1, 1), relu=True)


def _spatial_pool(net: Net, x: Value) -> Value:
    batch, channels, frames, height, width = net.shapes[x]
    return net.node(
        "MaxPool",
        [x],
        (batch, channels, frames, (height - 1) // 2 + 1, (width - 1) // 2 + 1),
        kernel_shape=[1, 3, 3],
        strides=[1, 2, 2],
        pads=[0, 1, 1, 0, 1, 1],
    )


def _mixed(net: Net, x: Value, widths: tuple[int, ...]) -> Value:
    direct, reduce3, out3, reduce5, out5, pooled = widths
    return net.concat(
        [
            net.conv(x, direct, relu=True),
            _separable(net, net.conv(x, reduce3, relu=True), out3, 3),
            _separable(net, net.conv(x, reduce5, relu=True), out5, 3),
            net.conv(net.pool("MaxPool", x, 3), pooled, relu=True),
        ]
    )
