import pytest
import torch

from challenge.embedded_training.looks import LOOKS, asked_looks, glance_at, shown_looks


def names(flags: torch.Tensor) -> list[str]:
    return [name for name, flag in zip(LOOKS, flags.tolist(), strict=True) if flag]


def framed(border: tuple[int, int, int], inner: tuple[int, int, int]) -> torch.Tensor:
    """A square of 32 pixels with a border of 4."""
    image = torch.tensor(border, dtype=torch.uint8)[:, None, None].repeat(1, 32, 32)
    image[:, 4:28, 4:28] = torch.tensor(inner, dtype=torch.uint8)[:, None, None]
    return image


@pytest.mark.parametrize(
    ("border", "inner", "expected"),
    [
        ((250, 250, 250), (200, 20, 20), ["light"]),
        ((20, 20, 20), (200, 20, 20), ["dark"]),
        ((60, 120, 60), (200, 20, 20), ["green"]),
        ((80, 120, 200), (200, 20, 20), ["blue"]),
        ((200, 150, 90), (20, 200, 20), ["warm"]),
        ((120, 120, 120), (130, 130, 130), ["grey"]),
        ((250, 250, 250), (200, 200, 200), ["grey", "light"]),
        ((120, 130, 125), (200, 20, 20), []),
    ],
)
def test_a_look_is_told_from_the_border_and_the_colours(
    border: tuple[int, int, int], inner: tuple[int, int, int], expected: list[str]
) -> None:
    assert names(shown_looks(framed(border, inner)[None])[0]) == expected


def test_the_border_alone_is_glanced_at() -> None:
    glance = glance_at(framed((51, 102, 204), (255, 0, 255))[None])
    assert glance.border[0].tolist() == pytest.approx([0.2, 0.4, 0.8], abs=1e-4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a photo of  in grass", ["green"]),
        ("A BLACK AND WHITE PHOTO of a", ["grey"]),
        (" swimming underwater", ["blue"]),
        (" on ice at night", ["light", "dark"]),
        (" with a nice sealing, drying", []),  # whole words only
    ],
)
def test_a_look_is_asked_for_by_whole_words(text: str, expected: list[str]) -> None:
    assert names(asked_looks(text)) == expected
