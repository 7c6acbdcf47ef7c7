"""Encoded pictures: what can be seen from their bytes, and how they become tensors."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from tfprune.backend import tf

_FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP")
FIRST_BYTES = (b"\xff\xd8", b"\x89P", b"GI", b"BM")


def decode(content: tf.Tensor, channels: int) -> tf.Tensor:
    """Decode JPEG, PNG, GIF (first frame) or BMP bytes to uint8 of shape (height, width, channels)."""
    # GIF and BMP decode to three channels only, so grey is made from colour.
    picture = tf.io.decode_image(content, channels=3 if channels == 1 else channels, expand_animations=False)
    return tf.image.rgb_to_grayscale(picture) if channels == 1 else picture


def problem(content: bytes) -> str | None:
    """Return what is wrong with a picture, or None; cheap, since no pixel is decoded."""
    from PIL import Image, UnidentifiedImageError  # only this check needs it

    if not content:
        return "is empty"
    try:
        with Image.open(BytesIO(content), formats=None) as picture:
            kind, mode = picture.format, picture.mode
            picture.verify()
    except UnidentifiedImageError:
        return "is not a picture"
    except Exception as error:  # Pillow raises whatever a broken chunk leads to, SyntaxError included
        return f"is corrupt: {error}"
    if kind not in _FORMATS:
        return f"is {kind}; expected JPEG, PNG, GIF or BMP"
    if kind == "BMP" and mode != "RGB":
        return f"is a BMP of mode {mode}, which TensorFlow does not read; save it as PNG"
    if kind in ("JPEG", "MPO") and b"\xff\xd9" not in content:
        return "is a truncated JPEG"
    return None


def width_and_height(path: Path) -> tuple[int, int]:
    """The size in pixels of a picture that has no `problem`; no pixel is decoded."""
    from PIL import Image

    with Image.open(path) as picture:
        return picture.size
