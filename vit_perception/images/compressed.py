"""sensor_msgs/CompressedImage -> pixels: jpeg and png, as image_transport writes them.

A file of a few bytes may claim billions of pixels. So this module reads size, and whatever else costs time, from the
header, and refuses too much before a decoder sees the data.
"""

import re
import struct

import cv2
import numpy as np

from ..errors import ImageError

MAX_PIXELS = 1 << 24  # 4K video has 8 million; decoded in colour and 16 bits this many take 100 MB
MAX_SCANS = 64  # of a progressive jpeg, which is decoded once for each; encoders write about 10
_MAX_SEGMENTS = 1000  # before a jpeg's frame header, padding bytes included
_MAX_CHUNKS = 1 << 16  # of a png; encoders write one for every 8 KB or more
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_FRAME = (0xFFC0, 0xFFC1, 0xFFC2)  # baseline, extended, progressive; nobody sends the others
_TABLES = {0xFFC4, 0xFFDB, 0xFFDD, 0xFFFE} | set(range(0xFFE0, 0xFFF0))  # Huffman, quantisation, restart, texts, APPn
_MARKER = re.compile(b"\xff[^\x00\xff\xd0-\xd7]")  # in coded data: neither a stuffed byte, padding nor a restart
_CHECK = "check the camera driver"


def decode(msg):
    """Pixels of a CompressedImage, as they were stored: no orientation of Exif, no scaling.

    Returns:
        (image, encoding): uint8 or uint16, (H, W), or (H, W, 3) in the order bgr, or rgb if the format says so;
        the encoding that `format` names, such as 'mono8', or '' if it names none.

    Raises:
        ImageError: neither jpeg nor png, cut off, too large, or damaged.
    """
    encoding, rest = _parse(msg.format)
    try:
        data = bytes(memoryview(msg.data))
    except TypeError:
        raise ImageError("image data is no array of bytes but a {}".format(type(msg.data).__name__)) from None
    if data.startswith(_PNG):
        width, height = _png_size(data)
    elif data.startswith(_JPEG):
        width, height = _jpeg_size(data)
    else:
        raise ImageError(
            "compressed image is neither jpeg nor png (format '{}', {} bytes); publish one of them".format(
                _short(msg.format), len(data)
            )
        )
    if width * height > MAX_PIXELS:
        raise ImageError(
            "compressed image claims {} x {} pixels, more than the {} that are decoded".format(
                width, height, MAX_PIXELS
            )
        )
    try:
        image = cv2.imdecode(np.frombuffer(msg.data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as e:
        raise ImageError("compressed image cannot be decoded: {}".format(" ".join(str(e).split())[:200])) from e
    if image is None or image.shape[:2] != (height, width) or image.dtype not in (np.uint8, np.uint16):
        raise ImageError("compressed image of {} bytes is damaged; {}".format(len(data), _CHECK))
    if image.ndim == 3 and image.shape[2] == 4:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)
    if image.ndim == 3 and image.shape[2] != 3:
        raise ImageError("compressed image has {} channels; publish gray or colour".format(image.shape[2]))
    return image, "rgb" if "compressed rgb" in rest and image.ndim == 3 else encoding


def cut_off(data):
    """Whether a jpeg or png (bytes) has no end. Decoders fill up what is missing, and say nothing; other files fail."""
    if data.startswith(_PNG):
        return b"IEND" not in data
    return data.startswith(_JPEG) and not _jpeg_ends(data, 2)


def _parse(text):
    """('mono8', 'jpeg compressed mono8') of 'mono8; jpeg compressed mono8'; ('', 'jpeg') of 'jpeg'."""
    if "compressedDepth" in text:
        raise ImageError("compressedDepth images ('{}') are not supported; publish raw or png".format(_short(text)))
    first, _, rest = text.partition(";")
    return (first.strip(), rest) if rest else ("", first)


def _short(text):
    return " ".join(text.split())[:60]


def _png_size(data):
    """(width, height) from the header. OpenCV takes memory for what a chunk claims to hold: every chunk is checked."""
    if len(data) < 33 or data[8:16] != b"\0\0\0\rIHDR":
        raise ImageError("png image of {} bytes has no header; {}".format(len(data), _CHECK))
    at = 8
    for _ in range(_MAX_CHUNKS):
        if at + 12 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        if kind in _ANIMATION:
            raise ImageError("png image is an animation; publish single images")
        if kind == b"IEND" and at <= len(data):
            return struct.unpack_from(">II", data, 16)
    raise ImageError("png image of {} bytes is cut off or damaged; check the network's limits".format(len(data)))


def _jpeg_size(data):
    """(width, height) from the frame header. Stricter than decoders, so that they cannot find another one."""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        if at + 10 > len(data):
            break
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == 0xFFFF:  # padding
            at += 1
        elif marker in _FRAME:
            bits, height, width, channels = struct.unpack_from(">BHHB", data, at + 4)
            if bits != 8 or channels not in (1, 3) or not width or not height:
                text = (
                    "jpeg image of {} x {} pixels, {} channels of {} bits is not supported; publish 8-bit gray or ycc"
                )
                raise ImageError(text.format(width, height, channels, bits))
            _check_jpeg_body(data, at)
            return width, height
        elif marker in _TABLES and length >= 2:
            at += 2 + length
        else:
            break
    raise ImageError("jpeg image of {} bytes has no usable header; {}".format(len(data), _CHECK))


def _check_jpeg_body(data, at):
    if data.count(b"\xff\xda", at, data.find(b"\xff\xd9", at)) > MAX_SCANS:
        raise ImageError("jpeg image has more than {} scans; {}".format(MAX_SCANS, _CHECK))
    if not _jpeg_ends(data, at):  # decoders fill what is missing with gray: obstacles would vanish
        raise ImageError("jpeg image is cut off after {} bytes; check the network's limits".format(len(data)))


def _jpeg_ends(data, at):
    """Whether a jpeg, from a marker at `at` on, has its end. What is behind it is not looked at: frame buffers have a
    rest of another image there, and cameras a preview."""
    scans = 0
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None or found.group() == b"\xff\xd8":  # the next image begins
            return False
        if found.group() == b"\xff\xd9" and scans:
            return True
        at = found.start() + 2
        scans += found.group() == b"\xff\xda"
        if at + 2 > len(data) or scans > MAX_SCANS:
            return False
        at += struct.unpack_from(">H", data, at)[0]
    return False
