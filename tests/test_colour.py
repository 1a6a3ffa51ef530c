"""The look of a set is measured and matched; what is grey stays grey."""

import pytest
import torch
from torch import Tensor

from challenge.colour import ColourMatch, measure_look
from challenge.spec import ColourLook

REAL = ColourLook(0.4, 0.6, (0.03, 0.01, -0.04))


def colourful(count: int, strength: float, spread: float = 0.5) -> Tensor:
    """Noise around grey: its colours differ from image to image by ``spread``."""
    rng = torch.Generator().manual_seed(0)
    grey = torch.randn(count, 1, 8, 8, generator=rng) * 0.08
    colour = torch.randn(count, 3, 8, 8, generator=rng)
    colour -= colour.mean(dim=1, keepdim=True)
    factor = strength * (torch.randn(count, 1, 1, 1, generator=rng) * spread).exp()
    return (0.5 + grey + 0.08 * factor * colour).clamp(0, 1)


def test_the_look_of_a_hand_made_image() -> None:
    image = torch.zeros(2, 3, 1, 2)
    image[:, :, 0, 1] = 0.4  # grey 0 and 0.4
    image[:, 0, 0, 0] += 0.3  # red 0.3 at the dark pixel: grey 0.1, colour 0.2, -0.1, -0.1
    look = measure_look(image)
    greys = torch.tensor([0.1, 0.4])
    colours = torch.tensor([0.2, 0.0, -0.1, 0.0, -0.1, 0.0])
    colours -= torch.tensor([0.1, 0.1, -0.05, -0.05, -0.05, -0.05])  # the balance
    assert look.saturation == pytest.approx(float(colours.std() / greys.std()), rel=1e-5)
    assert look.balance == pytest.approx((0.1, -0.05, -0.05), abs=1e-6)
    assert look.spread == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("strength", [0.2, 0.4, 0.9])
def test_a_matched_set_has_the_real_look(strength: float) -> None:
    images = colourful(600, strength)
    match = ColourMatch(measure_look(images), REAL)
    look = measure_look(match.apply(images, range(600)))
    assert look.saturation == pytest.approx(REAL.saturation, rel=0.12)
    assert look.balance == pytest.approx(REAL.balance, abs=0.01)


def test_a_set_with_too_little_spread_gets_what_is_missing() -> None:
    images = colourful(600, 0.4, spread=0.0)
    made = measure_look(images)
    match = ColourMatch(made, REAL)
    assert match.missing_spread == pytest.approx((0.6**2 - made.spread**2) ** 0.5)
    assert measure_look(match.apply(images, range(600))).spread == pytest.approx(0.6, abs=0.12)


def test_a_set_that_is_right_already_keeps_its_pixels() -> None:
    images = colourful(100, 0.4)
    match = ColourMatch(measure_look(images), measure_look(images))
    assert match.factor == 1.0
    assert torch.allclose(match.apply(images, range(100)), images, atol=1e-5)


def test_grey_images_stay_grey_but_for_the_balance() -> None:
    images = colourful(50, 0.0)
    matched = ColourMatch(measure_look(images), REAL).apply(images, range(50))
    assert ColourMatch(measure_look(images), REAL).factor == 4.0
    cast = (matched - matched.mean(dim=1, keepdim=True)).flatten(2).std(dim=2)
    assert float(cast.max()) < 1e-3


def test_an_image_depends_on_its_seed_and_not_on_its_batch() -> None:
    images = colourful(8, 0.2, spread=0.0)
    match = ColourMatch(measure_look(images), REAL)
    together = match.apply(images, range(8))
    alone = [match.apply(images[i : i + 1], [i]) for i in range(8)]
    assert torch.equal(together, torch.cat(alone))
    assert not torch.equal(together, match.apply(images, range(8, 16)))


def test_says_how_far_off_the_set_was() -> None:
    match = ColourMatch(ColourLook(0.8, 0.6, (0.0, 0.0, 0.0)), REAL)
    assert str(match).startswith("colours times 0.50: saturation was 0.80, real images have 0.40;")
    assert match.record()["factor"] == 0.5


def test_a_cast_is_replaced_by_the_real_balance() -> None:
    images = (colourful(300, 0.2) + torch.tensor([0.1, 0.0, -0.1]).view(3, 1, 1)).clamp(0, 1)
    match = ColourMatch(measure_look(images), REAL)
    assert measure_look(match.apply(images, range(300))).balance == pytest.approx(
        REAL.balance, abs=0.01
    )
