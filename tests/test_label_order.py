import torch

from challenge.class_names import class_order
from challenge.label_order import order_by_matching, order_title

CLASSES, PER_CLASS = 200, 3
RNG = torch.Generator().manual_seed(0)
KNOWN = torch.randn(CLASSES * PER_CLASS, 3, 16, 16, generator=RNG)
PLACES = torch.arange(CLASSES).repeat_interleave(PER_CLASS)


def official(order: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """The known images shuffled and a little off, with labels that mean ``order``."""
    shuffled = torch.randperm(len(KNOWN), generator=torch.Generator().manual_seed(1))
    label_of = torch.empty(CLASSES, dtype=torch.int64)
    label_of[torch.tensor(order)] = torch.arange(CLASSES)
    return KNOWN[shuffled] + 0.02, label_of[PLACES[shuffled]]


def test_each_order_is_found_and_named() -> None:
    own = (*range(1, CLASSES), 0)
    for order, title in (
        (class_order("tinyimagenet", "sorted"), "sorted wnids"),
        (class_order("tinyimagenet", "wnids-txt"), "the raw order of wnids.txt"),
        (own, "an order of its own"),
    ):
        found = order_by_matching(*official(order), KNOWN, PLACES, CLASSES)
        assert found == order
        assert order_title("tinyimagenet", order) == title


def test_other_images_have_no_order() -> None:
    images, labels = official(tuple(range(CLASSES)))
    other = torch.randn(images.shape, generator=torch.Generator().manual_seed(5))
    assert order_by_matching(other, labels, KNOWN, PLACES, CLASSES) is None


def test_labels_that_lack_a_class_have_no_order() -> None:
    images, labels = official(tuple(range(CLASSES)))
    some = labels > 0
    assert order_by_matching(images[some], labels[some], KNOWN, PLACES, CLASSES) is None


def test_labels_that_do_not_agree_have_no_order() -> None:
    images, labels = official(tuple(range(CLASSES)))
    by_label = labels.argsort(stable=True)
    mixed = labels.clone()
    mixed[by_label[::PER_CLASS]] = (labels[by_label[::PER_CLASS]] + 1) % CLASSES
    assert order_by_matching(images, mixed, KNOWN, PLACES, CLASSES) is None
