"""Shapes of published networks as layer lists, for published_latencies.py: facts of their papers and configurations.

A test holds every total to the published number of multiply-accumulates. Activations that TensorRT does not fuse into
the convolution (SiLU, hard swish, leaky ReLU) are layers of their own.
"""

from math import prod

from .layers import Layer, Shape, Sketch


def _act(net: Sketch, x: Shape, out: int, kernel=3, stride=1, groups=1) -> Shape:
    """A convolution with an activation that is a layer of its own."""
    return net.elementwise(net.conv(x, out, kernel, stride, groups))


# --- EfficientViT ---


def _mbconv(net: Sketch, x: Shape, out: int, stride=1, expand=4) -> Shape:
    y = _act(net, x, x[0] * expand, 1) if expand > 1 else x
    y = _act(net, y, y[0], 3, stride, groups=y[0])
    return net.conv(y, out, 1, summed=stride == 1 and out == x[0])


def _linear_attention(net: Sketch, x: Shape, head: int) -> Shape:
    """ReLU linear attention at two scales: the tokens, and their 5x5 neighbourhoods."""
    heads, tokens = x[0] // head, x[1] * x[2]
    qkv = net.conv(x, 3 * x[0], 1)
    net.conv(net.conv(qkv, 3 * x[0], 5, groups=3 * x[0]), 3 * x[0], 1, groups=3 * heads)
    both = (2 * x[0], x[1], x[2])
    for _ in range(3):  # q and k through ReLU, v padded with ones
        net.elementwise(both)
    net.product(head + 1, tokens, head, 2 * heads)
    net.product(head + 1, head, tokens, 2 * heads)
    net.elementwise(both, 3)  # the division
    return net.conv(both, x[0], 1, summed=True)


def _efficientvit(widths: list[int], depths: list[int], head: int, size: int) -> tuple[Sketch, list[Shape]]:
    net = Sketch()
    x = _act(net, (3, size, size), widths[0], stride=2)
    for _ in range(depths[0]):
        x = _mbconv(net, x, widths[0], expand=1)
    maps = []
    for stage in (1, 2, 3, 4):
        x = _mbconv(net, x, widths[stage], 2)
        for _ in range(depths[stage] - (stage < 3)):
            if stage > 2:
                x = _linear_attention(net, x, head)
            x = _mbconv(net, x, widths[stage])
        maps.append(x)
    return net, maps


def efficientvit(widths: list[int], depths: list[int], head: int, hidden: list[int], size: int) -> list[Layer]:
    net, maps = _efficientvit(widths, depths, head, size)
    x = net.elementwise(_act(net, maps[-1], hidden[0], 1), 1)
    net.linear(net.elementwise(net.linear((x[0], 1, 1), hidden[1]), 4), 1000)
    return net.layers


def efficientvit_seg(widths: list[int], depths: list[int], head: int, width: int, blocks: int, size=512) -> list[Layer]:
    net, maps = _efficientvit(widths, depths, head, size)
    x = (width, *maps[1][1:])
    for level in maps[1:]:
        net.conv(level, width, 1)
        net.elementwise(x, 3)  # resized and summed
    for _ in range(blocks):
        x = _mbconv(net, x, width)
    net.conv(x, 150, 1)
    return net.layers


# --- transformers ---


def _mlp(net: Sketch, x: Shape, hidden: int) -> Shape:
    y = net.elementwise(net.linear(net.elementwise(x), hidden))
    return net.elementwise(net.linear(y, x[0]), 3)


def _encoder(net: Sketch, x: Shape, heads: int, mlp: int, windows=1) -> Shape:
    """A pre-norm transformer block."""
    net.linear(net.elementwise(x), 3 * x[0])
    net.elementwise(net.linear(net.attention(x, x[0], heads, windows), x[0]), 3)
    return _mlp(net, x, mlp)


def swin_b(size=224) -> list[Layer]:
    net = Sketch()
    x = net.elementwise(net.conv((3, size, size), 128, 4, 4))
    for stage, (depth, heads) in enumerate(zip((2, 2, 18, 2), (4, 8, 16, 32), strict=True)):
        if stage:
            x = net.linear(net.elementwise((4 * x[0], x[1] // 2, x[2] // 2), 4), 2 * x[0])
        for _ in range(depth):
            windows = prod(x[1:]) // 49
            net.elementwise(x, 4)  # cut into windows and put together again
            net.elementwise((heads * windows, 49, 49))  # position bias
            _encoder(net, x, heads, 4 * x[0], windows)
    net.linear((net.elementwise(x)[0], 1, 1), 1000)
    return net.layers


def convnext(widths: list[int], depths: list[int], size=224) -> list[Layer]:
    net = Sketch()
    x = net.elementwise(net.conv((3, size, size), widths[0], 4, 4))
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        if stage:
            x = net.conv(net.elementwise(x), width, 2, 2)
        for _ in range(depth):
            net.elementwise(net.conv(x, width, 7, groups=width), 4)  # norm, and the transposes around the MLP
            _mlp(net, x, 4 * width)
    net.linear((x[0], 1, 1), 1000)
    return net.layers


def segformer(depths: list[int], decoder: int, size=512) -> list[Layer]:
    net = Sketch()
    maps: list[Shape] = []
    x: Shape = (3, size, size)
    for depth, width, heads, ratio in zip(depths, (64, 128, 320, 512), (1, 2, 5, 8), (8, 4, 2, 1), strict=True):
        x = net.elementwise(net.conv(x, width, 3 if maps else 7, 2 if maps else 4), 4)
        for _ in range(depth):
            q = net.linear(net.elementwise(x), width)
            few = net.conv(q, width, ratio, ratio) if ratio > 1 else q
            net.linear(net.elementwise(few), 2 * width)
            n, m = prod(x[1:]), prod(few[1:])
            net.product(n, width // heads, m, heads)
            net.elementwise((heads, n, m))
            net.product(n, m, width // heads, heads)
            net.elementwise(x, 4)  # transposes of q and y
            net.elementwise(net.linear(x, width), 3)
            y = net.conv(net.linear(net.elementwise(x), 4 * width), 4 * width, 3, groups=4 * width)
            net.elementwise(net.linear(net.elementwise(y, 6), width), 3)  # GELU and transposes
        maps.append(x)
    full = (decoder, *maps[0][1:])
    for level in maps:
        net.linear(level, decoder)
        net.elementwise(full)
    net.conv(net.conv((4 * decoder, *full[1:]), decoder, 1), 150, 1)
    return net.layers


def mobilevit_s(size=256) -> list[Layer]:
    net = Sketch()
    x = _mbconv(net, _act(net, (3, size, size), 16, stride=2), 32)
    for i, stride in enumerate((2, 1, 1)):
        x = _mbconv(net, x, 64, stride if i == 0 else 1)
    for out, dim, depth in ((96, 144, 2), (128, 192, 4), (160, 240, 3)):
        x = _mbconv(net, x, out, 2)
        y = net.linear(_act(net, x, out), dim)
        net.elementwise(y, 4)  # unfold and fold
        for _ in range(depth):
            _encoder(net, y, 4, 2 * dim, windows=4)
        y = _act(net, y, out, 1)
        x = _act(net, (2 * out, *x[1:]), out)
    net.linear((_act(net, x, 640, 1)[0], 1, 1), 1000)
    return net.layers


def rfdetr(size: int, decoders: int) -> list[Layer]:
    """A DINOv2-small backbone on 16x16 patches in 2x2 windows but for every third block, and a two-stage decoder."""
    net = Sketch()
    x = net.conv((3, size, size), 384, 16, 16)
    for i in range(12):
        _encoder(net, x, 6, 1536, windows=1 if i % 3 == 2 else 4)
    y = _act(net, (4 * 384, *x[1:]), 256, 1)
    for _ in range(6):
        _act(net, (128, *x[1:]), 128)
    y = net.elementwise(_act(net, (5 * 128, *y[1:]), 256, 1))
    net.linear(net.elementwise(net.linear(y, 256)), 91)
    net.linear(net.linear(net.linear(y, 256), 256), 4)
    queries: Shape = (256, 300, 1)
    for _ in range(decoders):
        net.linear(queries, 768)
        net.elementwise(net.linear(net.attention(queries, 256, 8), 256), 5)
        net.linear(y, 256)
        net.linear(queries, 96)
        net.elementwise(queries, 12)  # sampling at learnt offsets, and its weights
        net.elementwise(net.linear(queries, 256), 3)
        _mlp(net, queries, 2048)
    net.linear(queries, 91)
    net.linear(net.linear(net.linear(queries, 256), 256), 4)
    return net.layers


# --- YOLO ---


def _c2f(net: Sketch, x: Shape, out: int, n: int, residual=False) -> Shape:
    half = out // 2
    _act(net, x, out, 1)
    for _ in range(n):
        y = _act(net, _act(net, (half, *x[1:]), half), half)
        if residual:
            net.elementwise(y, 3)
    return _act(net, ((2 + n) * half, *x[1:]), out, 1)


def _c3(net: Sketch, x: Shape, out: int, n: int, residual=False) -> Shape:
    half = out // 2
    _act(net, x, half, 1)
    y = _act(net, x, half, 1)
    for _ in range(n):
        y = _act(net, _act(net, y, half, 1), half)
        if residual:
            net.elementwise(y, 3)
    return _act(net, (out, *x[1:]), out, 1)


def _spp(net: Sketch, x: Shape) -> Shape:
    """Three poolings of half the channels, side by side with their input."""
    y = _act(net, x, x[0] // 2, 1)
    for _ in range(3):
        net.elementwise(y)
    return _act(net, (2 * x[0], *x[1:]), x[0], 1)


def _pyramid(net: Sketch, block, widths: list[int], depths: list[int], x: Shape, reduce: bool, n=1) -> list[Shape]:
    """Backbone from stride 2 on and path-aggregation neck: maps at strides 8, 16, 32. reduce: 1x1 before going up."""
    maps = []
    for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        x = block(net, _act(net, x, width, stride=2), width, depth, True)
        if i == 3:
            x = _spp(net, x)
        maps.append(x)
    fine, mid, top = maps[1:]
    if reduce:
        top = _act(net, top, mid[0], 1)
    net.elementwise((top[0], *mid[1:]))
    mid = block(net, (top[0] + mid[0], *mid[1:]), mid[0], n)
    if reduce:
        mid = _act(net, mid, fine[0], 1)
    net.elementwise((mid[0], *fine[1:]))
    out = [block(net, (mid[0] + fine[0], *fine[1:]), fine[0], n)]
    for skip, width in ((mid, widths[2]), (top, widths[3])):
        y = _act(net, out[-1], out[-1][0], stride=2)
        out.append(block(net, (y[0] + skip[0], *y[1:]), width, n))
    return out


def _yolo8_head(net: Sketch, levels: list[Shape]) -> list[Layer]:
    for x in levels:
        for width, out in ((64, 64), (max(levels[0][0], 80), 80)):
            net.elementwise(net.conv(_act(net, _act(net, x, width), width), out, 1))
    net.elementwise((64, sum(prod(x[1:]) for x in levels), 1), 4)  # box distributions to boxes
    return net.layers


def yolov8(widths: list[int], depths: list[int], neck: int, size=640) -> list[Layer]:
    net = Sketch()
    x = _act(net, (3, size, size), widths[0] // 2, stride=2)
    return _yolo8_head(net, _pyramid(net, _c2f, widths, depths, x, reduce=False, n=neck))


def yolov5nu(size=640) -> list[Layer]:
    net = Sketch()
    x = _act(net, (3, size, size), 16, 6, 2)
    return _yolo8_head(net, _pyramid(net, _c3, [32, 64, 128, 256], [1, 2, 3, 1], x, reduce=True))


def yolox_s(size=640) -> list[Layer]:
    net = Sketch()
    x = _act(net, (12, size // 2, size // 2), 32)
    for level in _pyramid(net, _c3, [64, 128, 256, 512], [1, 3, 3, 1], x, reduce=True):
        y = _act(net, level, 128, 1)
        for outs in ((80,), (4, 1)):
            branch = _act(net, _act(net, y, 128), 128)
            for out in outs:
                net.elementwise(net.conv(branch, out, 1))
    return net.layers
