from pathlib import Path

import pytest
import torch
from conftest import CliRunner
from real_layouts import write_tiny_train

from challenge.errors import DataError
from challenge.generators.images import ImageDeck, RealImages, load_real_images
from challenge.prompts import find_prompts_dir, load_prompt_book
from challenge.seeds import derive_seed
from challenge.spec import CIFAR100, TINYIMAGENET

PLACE = (0, "cifar100", 7)  # run seed, data set, class


def seeds(rounds: range) -> list[int]:
    """The seeds of a class's rounds, as the scheduler derives them."""
    return [derive_seed(*PLACE, round_index, 0) for round_index in rounds]


def test_each_image_is_dealt_once_before_any_comes_again() -> None:
    deck = ImageDeck(5, *PLACE)
    cards = [deck.card(seed) for seed in seeds(range(15))]
    for start in (0, 5, 10):
        assert sorted(cards[start : start + 5]) == [0, 1, 2, 3, 4]
    assert cards[:5] != cards[5:10]


def test_a_resumed_run_is_dealt_what_comes_next() -> None:
    deck = ImageDeck(500, *PLACE)
    whole = [deck.card(seed) for seed in seeds(range(500))]
    resumed = ImageDeck(500, *PLACE)
    assert [resumed.card(seed) for seed in seeds(range(300, 500))] == whole[300:]


def test_the_run_seed_picks_the_order() -> None:
    orders = []
    for run_seed in (0, 0, 1):
        deck = ImageDeck(500, run_seed, "cifar100", 7)
        rounds = [derive_seed(run_seed, "cifar100", 7, index, 0) for index in range(20)]
        orders.append([deck.card(seed) for seed in rounds])
    assert orders[0] == orders[1] != orders[2]


def test_a_seed_of_no_round_is_answered_too() -> None:
    deck = ImageDeck(5, *PLACE)
    assert deck.card(12) == 2
    assert sorted(deck.card(seed) for seed in seeds(range(5))) == [0, 1, 2, 3, 4]


def test_a_prompt_gets_an_image_of_its_class(cifar_train_dir: Path) -> None:
    book = load_prompt_book(CIFAR100, find_prompts_dir(None))
    generator = RealImages(cifar_train_dir, [book], run_seed=0)
    prompts = [book.prompts_for(label)[0] for label in (99, 0, 53)]
    images = generator.generate(prompts, [1, 2, 3], generator.image_size(32))
    assert images.shape == (3, 3, 32, 32)
    assert (images[:, 2, 31, 31] * 255).round().tolist() == [99, 0, 53]
    with pytest.raises(ValueError, match="no class of cifar100"):
        generator.generate(["a photo of nothing"], [0], 32)


def test_the_order_of_the_labels_does_not_change_a_class(tmp_path: Path) -> None:
    write_tiny_train(tmp_path)
    book = load_prompt_book(TINYIMAGENET, find_prompts_dir(None), "wnids-txt")
    generator = RealImages(tmp_path, [book], run_seed=0)
    (image,) = generator.generate([book.prompts_for(0)[0]], [0], 64)
    # n02124075, the first of wnids.txt, is at place 32 of the sorted wnids
    assert int((image[0, 0, 0] * 255).round()) == 32
    assert "1 a class without repeats, copies after that" in str(generator.description.note)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder .*nowhere.*cifar-100-python"):
        load_real_images(f"images:{tmp_path}/nowhere", [], 0)


def test_a_run_deals_all_training_images_through_the_same_runner(
    cifar_train_dir: Path, tmp_path: Path, run_cli: CliRunner
) -> None:
    out = tmp_path / "run"
    flags = ("--dataset", "cifar100", "--ipc", "3", "--augment", "none", "--limit-s", "60")
    code, _, errors = run_cli(
        "generate", "--model", f"images:{cifar_train_dir}", *flags, "--out", out
    )
    assert code == 0
    assert "3 a class without repeats" in errors
    images = torch.load(out / "cifar100.pt", weights_only=True)
    blue = images[:, 2, 31, 31] * CIFAR100.std[2] + CIFAR100.mean[2]
    assert (blue * 255).round().tolist() == [label for label in range(100) for _ in range(3)]
    red = ((images[:, 0, 0, 0] * CIFAR100.std[0] + CIFAR100.mean[0]) * 255).round()
    dealt = red.view(100, 3).sort(dim=1).values[3:].tolist()
    assert dealt == [[0, 100, 200]] * 97  # the first three classes hold a black one, made again
