"""Prompt books: the ones that come with the program are right, and their pools are as promised."""

import hashlib
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from prompt_books import ROOT, templates, write_book

from challenge.errors import PromptError
from challenge.prompts import PromptBook, find_prompts_dir, load_prompt_book
from challenge.spec import CIFAR100, DATASETS, TINYIMAGENET, DatasetSpec


@pytest.fixture(params=list(DATASETS.values()), ids=list(DATASETS))
def book(request: pytest.FixtureRequest) -> PromptBook:
    return load_prompt_book(request.param, ROOT / "prompts")


# The books that come with the program


def test_each_class_stands_at_the_place_of_its_label(book: PromptBook) -> None:
    assert [each.index for each in book.classes] == list(range(DATASETS[book.dataset].num_classes))


def test_no_two_classes_share_a_prompt(book: PromptBook) -> None:
    prompts = [prompt for each in book.classes for prompt in book.prompts_for(each.index)]
    assert len({prompt.casefold() for prompt in prompts}) == len(book.classes)


def test_nouns_are_short_and_have_no_article(book: PromptBook) -> None:
    for each in book.classes:
        words = each.prompt_noun.split()
        assert len(words) <= 7, each
        assert words[0].lower() not in {"a", "an", "the"}, each


def test_a_file_has_one_class_a_line(book: PromptBook) -> None:
    lines = book.path.read_text().splitlines()
    assert sum(line.startswith('    {"index": ') for line in lines) == len(book.classes)


def test_the_pool_of_a_class_is_its_filled_template() -> None:
    book = load_prompt_book(CIFAR100, ROOT / "prompts")
    assert book.classes[8].name == "bicycle"
    assert book.prompts_for(8) == ("a photo of bicycle",)


def test_all_prompts_come_in_label_order(book: PromptBook) -> None:
    prompts = book.all_prompts()
    assert len(prompts) == len(book.classes)
    assert [prompts[0], prompts[-1]] == [*book.prompts_for(0), *book.prompts_for(len(prompts) - 1)]


@pytest.mark.parametrize(
    ("spec", "name", "noun"),
    [
        (CIFAR100, "mouse", "mouse, small rodent"),
        (CIFAR100, "plain", "flat grassland plain"),
        (CIFAR100, "ray", "stingray fish"),
        (CIFAR100, "cup", "drinking cup"),
        (CIFAR100, "tractor", "farm tractor"),
        (TINYIMAGENET, "crane", "construction crane"),
        (TINYIMAGENET, "nail", "metal nail"),
        (TINYIMAGENET, "organ, pipe organ", "pipe organ"),
        (TINYIMAGENET, "plate", "plate of food"),
    ],
)
def test_a_name_with_two_meanings_is_asked_for_in_the_right_one(
    spec: DatasetSpec, name: str, noun: str
) -> None:
    book = load_prompt_book(spec, ROOT / "prompts")
    assert [each.prompt_noun for each in book.classes if each.name == name] == [noun]


def test_the_digest_is_that_of_the_file(book: PromptBook) -> None:
    assert book.sha256 == hashlib.sha256(book.path.read_bytes()).hexdigest()


# Label order


def test_wnids_txt_order_gives_each_class_the_label_of_its_line_in_wnids_txt() -> None:
    by_line = load_prompt_book(TINYIMAGENET, ROOT / "prompts", "wnids-txt")
    assert [each.wnids_txt_index for each in by_line.classes] == list(range(200))
    assert [each.index for each in by_line.classes] == list(range(200))
    assert by_line.classes[0].name == "Egyptian cat"
    assert by_line.prompts_for(1) == ("a photo of fishing reel",)


def test_cifar100_has_one_label_order_only() -> None:
    in_order = load_prompt_book(CIFAR100, ROOT / "prompts")
    assert load_prompt_book(CIFAR100, ROOT / "prompts", "wnids-txt") == in_order


# Pools of the diverse preset


@pytest.fixture(params=list(DATASETS.values()), ids=list(DATASETS))
def diverse(request: pytest.FixtureRequest) -> PromptBook:
    return load_prompt_book(request.param, ROOT / "prompts", preset="diverse", per_class=24)


def test_a_pool_has_as_many_distinct_prompts_as_asked_for_and_no_class_shares_one(
    diverse: PromptBook,
) -> None:
    prompts = [prompt.casefold() for prompt in diverse.all_prompts()]
    assert len(prompts) == 24 * len(diverse.classes)
    assert len(set(prompts)) == len(prompts)


def test_the_pools_of_the_default_size_have_no_small_one() -> None:
    book = load_prompt_book(CIFAR100, ROOT / "prompts", preset="diverse")
    assert min(len(book.prompts_for(index)) for index in range(100)) == 200


def test_prompts_are_short_and_hold_no_leftovers(diverse: PromptBook) -> None:
    for prompt in diverse.all_prompts():
        assert len(prompt.split()) <= 24, prompt
        assert prompt == prompt.strip()
        assert not set(prompt) & set("{}[]"), prompt
        assert "  " not in prompt
        assert " ," not in prompt, prompt


def test_the_shares_of_a_class_are_those_of_its_mix() -> None:
    book = load_prompt_book(CIFAR100, ROOT / "prompts", preset="diverse", per_class=100)
    phrases = Counter(dict(made.picks)["phrase"] for made in book.compositions(63))
    assert book.classes[63].name == "porcupine"
    assert abs(phrases["hedgehog"] - 62.2) <= 1
    assert abs(phrases["porcupine"] - 37.8) <= 1


def test_a_longer_pool_begins_with_the_shorter_one(diverse: PromptBook) -> None:
    longer = diverse.with_pool(60)
    for index in (0, 17, 99):
        assert longer.prompts_for(index)[:24] == diverse.prompts_for(index)
    assert longer.pool_sha256 != diverse.pool_sha256


def test_the_pool_of_a_class_is_the_same_in_both_label_orders() -> None:
    folder = ROOT / "prompts"
    by_wnid = load_prompt_book(TINYIMAGENET, folder, "sorted", "diverse", 5)
    by_line = load_prompt_book(TINYIMAGENET, folder, "wnids-txt", "diverse", 5)
    for each in by_wnid.classes[:20]:
        assert each.wnids_txt_index is not None
        assert by_line.prompts_for(each.wnids_txt_index) == by_wnid.prompts_for(each.index)


def test_plain_takes_nothing_from_the_mixes() -> None:
    plain = load_prompt_book(CIFAR100, ROOT / "prompts", preset="plain")
    assert plain.prompts_for(63) == ("a photo of porcupine",)


def test_name_only_is_the_bare_name_with_blanks() -> None:
    names = load_prompt_book(CIFAR100, ROOT / "prompts", preset="name-only")
    assert names.prompts_for(1) == ("aquarium fish",)
    names = load_prompt_book(TINYIMAGENET, ROOT / "prompts", preset="name-only")
    assert names.prompts_for(26) == ("golden retriever",)


def test_an_unknown_preset_names_the_templates_there_are() -> None:
    with pytest.raises(PromptError, match="no prompt preset 'odd'; its templates are name-only, "):
        load_prompt_book(CIFAR100, ROOT / "prompts", preset="odd")


# What a person may change


def test_another_noun_and_template_are_taken(tmp_path: Path) -> None:
    write_book(
        tmp_path,
        CIFAR100,
        lambda classes: classes[28].update(prompt_noun="silver goblet"),
        templates=templates(plain="{noun}, a snapshot"),
    )
    assert load_prompt_book(CIFAR100, tmp_path).prompts_for(28) == ("silver goblet, a snapshot",)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = write_book(tmp_path, CIFAR100)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_prompt_book(CIFAR100, tmp_path).classes[0].name == "apple"


def test_a_class_of_which_everything_is_excluded_is_an_error(tmp_path: Path) -> None:
    write_book(tmp_path, CIFAR100, exclude=[["photo of apple"]])
    book = load_prompt_book(CIFAR100, tmp_path)
    with pytest.raises(
        PromptError, match=r"class 0 \('apple'\) has no prompt left in preset 'plain'"
    ):
        book.prompts_for(0)


def test_a_template_of_ones_own_is_a_preset(tmp_path: Path) -> None:
    write_book(tmp_path, CIFAR100, templates=templates(mine="{phrase} in the rain"))
    book = load_prompt_book(CIFAR100, tmp_path, preset="mine", per_class=50)
    assert set(book.prompts_for(63)) == {"hedgehog in the rain", "porcupine in the rain"}


# Where the books are


def test_takes_the_given_folder(tmp_path: Path) -> None:
    assert find_prompts_dir(tmp_path) == tmp_path


def test_refuses_a_given_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=r"is no folder; give one with cifar100.json and tiny"):
        find_prompts_dir(tmp_path / "missing")


def test_finds_the_books_of_the_checkout() -> None:
    assert find_prompts_dir(None) == ROOT / "prompts"


def look_for_books(site: Path) -> subprocess.CompletedProcess[str]:
    """Look for the books as the package does that lies in ``site``."""
    code = "from challenge.prompts import find_prompts_dir; print(find_prompts_dir(None))"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=site, capture_output=True, text=True, check=False
    )


def test_an_installed_package_takes_its_own_copy_and_not_another_package(tmp_path: Path) -> None:
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "challenge", tmp_path / "challenge", ignore=skip)
    (tmp_path / "prompts").mkdir()  # of a package that happens to have this name
    without = look_for_books(tmp_path)
    assert "no prompt books beside the program; pass --prompts-dir" in without.stderr

    shutil.copytree(ROOT / "prompts", tmp_path / "challenge" / "prompt_books")
    assert look_for_books(tmp_path).stdout.strip() == str(tmp_path / "challenge" / "prompt_books")
