import pytest
import torch
from fault_sets import ArrayImages, as_set
from made_up_images import PER_CLASS, SPEC, MadeUpImages

from challenge.errors import SubmissionError
from challenge.measures import measure
from challenge.measures.features import PixelSpace
from challenge.measures.image_sets import ImageSet
from challenge.measures.measure import measure_set
from challenge.measures.real_parts import RealParts

CPU = torch.device("cpu")
REAL = MadeUpImages()
PARTS = RealParts(SPEC, REAL)
SPACE = PixelSpace(PARTS)


def measured(made: ImageSet, **more: int) -> dict[str, object]:
    return measure_set(made, PARTS, SPACE, CPU, lambda done, of: None, **more)


def test_made_and_real_are_compared_in_equal_numbers() -> None:
    made = as_set("many", REAL.by_class, SPEC)
    assert measured(made)["compared_per_class"] == PER_CLASS // 4  # what the real quarters have
    assert measured(made, per_class=7)["compared_per_class"] == 7
    few = measured(as_set("few", REAL.by_class[:, :3], SPEC))
    assert few["compared_per_class"] == 3
    assert few["images"] == 12


def test_what_three_images_a_class_cannot_tell_is_left_empty() -> None:
    found = measured(as_set("few", REAL.by_class[:, :3], SPEC))
    classes = found["classes"]
    assert isinstance(classes, list)
    assert classes[0]["made"]["precision"] is None
    assert classes[0]["made"]["kid"] is not None
    overall = found["overall"]
    assert isinstance(overall, dict)
    assert overall["made"]["precision"] is not None
    assert overall["made"]["told_right"] is None  # pixels know no classes
    means = found["classes_mean"]
    assert isinstance(means, dict)
    assert means["real"]["coverage"] is None


def test_the_mean_of_the_classes_is_their_mean() -> None:
    found = measured(as_set("many", REAL.by_class, SPEC), per_class=10)
    classes, means = found["classes"], found["classes_mean"]
    assert isinstance(classes, list)
    assert isinstance(means, dict)
    for group in ("made", "real"):
        values = [each[group]["vendi"] for each in classes]
        assert means[group]["vendi"] == pytest.approx(sum(values) / len(values))


def test_duplicates_are_looked_for_among_all_images_and_named() -> None:
    by_class = REAL.by_class.clone()
    by_class[2, 150] = by_class[1, 3]  # in another class
    found = measured(as_set("twins", by_class, SPEC), per_class=5)["near_duplicates"]
    assert isinstance(found, dict)
    assert found["searched"] == SPEC.num_classes * PER_CLASS
    (pair,) = (each for each in found["most_alike"] if each["alike"] > 0.9999)
    assert [(each["label"], each["place"]) for each in pair["images"]] == [(1, 3), (2, 150)]
    assert pair["images"][0]["class"] == "aquarium_fish"


def test_a_very_large_set_is_searched_in_part_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "MOST_SEARCHED", 200)
    found = measured(as_set("many", REAL.by_class, SPEC), per_class=5)["near_duplicates"]
    assert isinstance(found, dict)
    assert found["searched"] == 160


def test_a_class_without_images_is_told_by_name() -> None:
    images = ArrayImages(REAL.by_class)
    images.counts = (5, 0, 5, 5)
    made = as_set("hole", REAL.by_class, SPEC)
    hole = ImageSet(made.path, SPEC, made.what, images)
    with pytest.raises(SubmissionError, match=r"no image of class 1 \(aquarium_fish\)"):
        measured(hole)
