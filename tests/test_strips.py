import base64
import io

import pytest
import torch
from PIL import Image

from challenge.report.strips import bytes_of, spread, strip


def test_a_strip_is_its_images_side_by_side() -> None:
    images = torch.zeros((3, 3, 32, 32), dtype=torch.uint8)
    images[1, 0] = 255
    found = strip(images)
    assert found is not None
    assert (found.width, found.height, found.images) == (3 * 33 - 1, 32, 3)
    kind, _, content = found.uri.partition(",")
    assert kind == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        assert picture.size == (98, 32)
        red = picture.convert("RGB").getpixel((33 + 16, 16))
    assert isinstance(red, tuple)
    assert red == pytest.approx((255, 0, 0), abs=12)
    assert bytes_of([found, None]) == len(found.uri)
    assert strip(images[:0]) is None


def test_places_are_evenly_spread() -> None:
    assert spread(10, 5) == [0, 2, 4, 6, 8]
    assert spread(3, 5) == [0, 1, 2]
    assert spread(0, 5) == []
