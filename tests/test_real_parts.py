import pytest
import torch
from made_up_images import PER_CLASS, SPEC, MadeUpImages

from challenge.errors import DataError
from challenge.measures.real_parts import RealParts


def rows(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def test_the_parts_never_meet_and_stay_the_same() -> None:
    parts = RealParts(SPEC, MadeUpImages())
    for index in range(SPEC.num_classes):
        teaching = rows(parts.teaching(index))
        reference, baseline = (
            rows(part(index, PER_CLASS)) for part in (parts.reference, parts.baseline)
        )
        sizes = (len(teaching), len(reference), len(baseline))
        assert sizes == (PER_CLASS // 2, PER_CLASS // 4, PER_CLASS // 4)
        assert len(teaching | reference | baseline) == sum(sizes)
    again = RealParts(SPEC, MadeUpImages())
    assert torch.equal(parts.reference(1, 7), again.reference(1, 7))
    assert torch.equal(parts.reference(1, 9)[:7], parts.reference(1, 7))


def test_other_images_have_another_fingerprint() -> None:
    ours, other = MadeUpImages(), MadeUpImages()
    other.by_class = other.by_class.flip(-1)
    assert RealParts(SPEC, ours).fingerprint == RealParts(SPEC, MadeUpImages()).fingerprint
    assert RealParts(SPEC, ours).fingerprint != RealParts(SPEC, other).fingerprint


def test_too_few_images_for_three_parts_are_told() -> None:
    with pytest.raises(DataError, match="3 training images of class 0 of CIFAR-100, expected 4"):
        RealParts(SPEC, MadeUpImages(per_class=3))
