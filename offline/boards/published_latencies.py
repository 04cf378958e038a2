"""Published speeds on Jetson boards, and the networks they were measured with: what the latency model is fitted to."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from .layers import Layer
from .reference_networks import (
    convnext,
    efficientvit,
    efficientvit_seg,
    mobilevit_s,
    rfdetr,
    segformer,
    swin_b,
    yolov5nu,
    yolov8,
    yolox_s,
)

EFFICIENTVIT = "Cai et al., arXiv 2205.14756, tables 2 and 4, and its repository"


@dataclass(frozen=True)
class Network:
    """family: networks of one design, left out together. gmac: as published; source: where its shapes come from."""

    family: str
    write: Callable[[], list[Layer]]
    gmac: float
    source: str


@dataclass(frozen=True)
class Point:
    """One measurement, batch 1. timing: inference (alone), transfer (copies to and from the GPU included) or pipeline
    (with pre- and postprocessing on the CPU)."""

    network: str
    target: str
    precision: str
    ms: float
    timing: str
    source: str


_B1 = ([16, 32, 64, 128, 256], [1, 2, 3, 3, 4], 16)
_B2 = ([24, 48, 96, 192, 384], [1, 3, 4, 4, 6], 32)
_B3 = ([32, 64, 128, 256, 512], [1, 4, 6, 6, 9], 32)
_CLASSIFIERS = {"B1": (*_B1, [1536, 1600]), "B2": (*_B2, [2304, 2560]), "B3": (*_B3, [2304, 2560])}
_CONVNEXT = "Liu et al., arXiv 2201.03545"
_SEGFORMER = "Xie et al., arXiv 2105.15203"
_YOLO8 = "model table and yolov8.yaml of the Ultralytics documentation"
_RFDETR = "Robinson et al., arXiv 2511.09554, and its configuration"
NETWORKS = {
    f"EfficientViT-{b}@{size}": Network("EfficientViT", partial(efficientvit, *_CLASSIFIERS[b], size), g, EFFICIENTVIT)
    for b, size, g in (
        ("B1", 224, 0.52),
        ("B1", 288, 0.86),
        ("B2", 224, 1.6),
        ("B2", 256, 2.1),
        ("B3", 224, 4.0),
        ("B3", 288, 6.5),
    )
} | {
    "EfficientViT-seg-B1@512": Network("EfficientViT", partial(efficientvit_seg, *_B1, 64, 3), 3.1, EFFICIENTVIT),
    "EfficientViT-seg-B2@512": Network("EfficientViT", partial(efficientvit_seg, *_B2, 96, 3), 9.1, EFFICIENTVIT),
    "Swin-B@224": Network("Swin", swin_b, 15.4, "Liu et al., arXiv 2103.14030"),
    "ConvNeXt-T@224": Network("ConvNeXt", partial(convnext, [96, 192, 384, 768], [3, 3, 9, 3]), 4.5, _CONVNEXT),
    "ConvNeXt-S@224": Network("ConvNeXt", partial(convnext, [96, 192, 384, 768], [3, 3, 27, 3]), 8.7, _CONVNEXT),
    "ConvNeXt-B@224": Network("ConvNeXt", partial(convnext, [128, 256, 512, 1024], [3, 3, 27, 3]), 15.4, _CONVNEXT),
    "SegFormer-B1@512": Network("SegFormer", partial(segformer, [2, 2, 2, 2], 256), 15.9, _SEGFORMER),
    "SegFormer-B2@512": Network("SegFormer", partial(segformer, [3, 4, 6, 3], 768), 62.4, _SEGFORMER),
    "MobileViT-S@256": Network("MobileViT", mobilevit_s, 2.0, "Mehta and Rastegari, arXiv 2110.02178"),
    "RF-DETR-nano@384": Network("RF-DETR", partial(rfdetr, 384, 2), 31.9 / 2, _RFDETR),
    "RF-DETR-small@512": Network("RF-DETR", partial(rfdetr, 512, 3), 59.8 / 2, _RFDETR),
    "RF-DETR-medium@576": Network("RF-DETR", partial(rfdetr, 576, 4), 78.8 / 2, _RFDETR),
    "YOLOv8n@640": Network("YOLO", partial(yolov8, [32, 64, 128, 256], [1, 2, 2, 1], 1), 8.7 / 2, _YOLO8),
    "YOLOv8s@640": Network("YOLO", partial(yolov8, [64, 128, 256, 512], [1, 2, 2, 1], 1), 28.6 / 2, _YOLO8),
    "YOLOv8m@640": Network("YOLO", partial(yolov8, [96, 192, 384, 576], [2, 4, 4, 2], 2), 78.9 / 2, _YOLO8),
    "YOLOv5nu@640": Network("YOLO", yolov5nu, 7.7 / 2, "model table of the Ultralytics documentation"),
    "YOLOX-S@640": Network("YOLO", yolox_s, 26.8 / 2, "Ge et al., arXiv 2107.08430"),
}

_HAN = "arXiv 2205.14756: TensorRT fp16, transfer included"
_UNTRACED = "TensorRT; first source not traced, so what its time includes is assumed"
_Q = "Qengineering/YoloV8-TensorRT-Jetson_Nano: inference only, frames per second"
_IDEIN = "Idein/aicast_jetson_benchmark: trtexec, LeakyReLU"
_THE = "the0807/YOLOv8-ONNX-TensorRT: inference only"
_ROBO = "Roboflow Inference documentation, benchmarks: images per second of the whole server"
POINTS = (
    [
        Point(name, "jetson-nano", "fp16", ms, "transfer", _HAN)
        for name, ms in (
            ("EfficientViT-B1@224", 24.8),
            ("EfficientViT-B1@288", 34.5),
            ("EfficientViT-B2@224", 50.6),
            ("EfficientViT-B2@256", 58.5),
            ("EfficientViT-B3@224", 101),
            ("EfficientViT-B3@288", 141),
            ("EfficientViT-seg-B1@512", 110),
            ("EfficientViT-seg-B2@512", 212),
            ("Swin-B@224", 240),
            ("ConvNeXt-T@224", 87.9),
            ("ConvNeXt-S@224", 146),
            ("ConvNeXt-B@224", 211),
            ("SegFormer-B1@512", 389),
            ("SegFormer-B2@512", 920),
        )
    ]
    + [
        Point(
            "MobileViT-S@256",
            "jetson-nano",
            "fp16",
            53,
            "inference",
            _UNTRACED,
        ),
        Point("YOLOv8n@640", "jetson-nano", "fp16", 1000 / 19, "inference", _Q),
        Point("YOLOv8s@640", "jetson-nano", "fp16", 1000 / 9.25, "inference", _Q),
        Point("YOLOv5nu@640", "jetson-nano", "fp16", 1000 / 20, "inference", _Q),
        Point("YOLOX-S@640", "jetson-nano", "fp16", 93.7, "inference", _IDEIN),
        Point("YOLOX-S@640", "jetson-nano", "fp32", 153.3, "inference", _IDEIN),
        Point("YOLOX-S@640", "jetson-orin-nano", "fp32", 20.9, "inference", _IDEIN),
        Point("YOLOX-S@640", "jetson-orin-nano", "fp16", 10.7, "inference", _IDEIN),
        Point("YOLOX-S@640", "jetson-orin-nano", "int8", 8.6, "inference", _IDEIN),
    ]
    + [
        Point(name, "jetson-orin-nano", precision, ms, "inference", _THE)
        for name, times in (("YOLOv8n", (7.3, 5.8)), ("YOLOv8s", (11.4, 8.2)), ("YOLOv8m", (23.6, 17.1)))
        for name, precision, ms in zip((f"{name}@640",) * 2, ("fp16", "int8"), times, strict=True)
    ]
    + [
        Point(name, "jetson-orin-nx", "fp16", 1000 / fps, "pipeline", _ROBO)
        for name, fps in (
            ("RF-DETR-nano@384", 78.5),
            ("RF-DETR-small@512", 52.5),
            ("RF-DETR-medium@576", 44),
            ("YOLOv8n@640", 89),
            ("YOLOv8s@640", 69.5),
            ("YOLOv8m@640", 44.5),
        )
    ]
)
