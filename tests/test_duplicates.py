import pytest
import torch

from challenge.measures import duplicates
from challenge.measures.duplicates import find_duplicates, thumbnails


def noise(count: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 32, 32), generator=rng).to(torch.uint8)


@pytest.mark.parametrize("strip", [2048, 3])
def test_copies_are_found_also_mirrored_lighter_or_noisy(
    strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "STRIP", strip)
    images = noise(10)
    images[6] = (0.75 * images[5] + 0.25 * images[0]).to(torch.uint8)  # alike, but no copy
    images[7] = images[2].flip(2)
    images[8] = (images[3].float() * 0.6 + 40).to(torch.uint8)
    images[9] = (images[4].float() + 6 * torch.randn(3, 32, 32)).clamp(0, 255).to(torch.uint8)
    found = find_duplicates(thumbnails(images))
    assert {tuple(pair) for pair in found.pairs.tolist()} == {(2, 7), (3, 8), (4, 9)}
    assert found.images == 6
    assert found.alike.tolist() == sorted(found.alike.tolist(), reverse=True)
    assert not found.cut


def test_plain_images_are_no_copies_of_anything() -> None:
    plain = torch.full((4, 3, 32, 32), 200, dtype=torch.uint8)
    assert find_duplicates(thumbnails(plain)).images == 0


def test_a_set_of_one_image_is_told_without_all_its_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 10)
    found = find_duplicates(thumbnails(noise(1).expand(30, -1, -1, -1)))
    assert len(found.pairs) == 10
    assert found.cut
    assert found.images == 30
