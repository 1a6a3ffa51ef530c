"""Prompt books: the ones that come with the program are right, and a damaged one is refused."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from challenge.errors import PromptError
from challenge.prompts import PromptBook, find_prompts_dir, load_prompt_book
from challenge.spec import CIFAR100, DATASETS, TINYIMAGENET, DatasetSpec

ROOT = Path(__file__).resolve().parent.parent
Entry = dict[str, Any]
Edit = Callable[[list[Entry]], object]


def write_book(folder: Path, spec: DatasetSpec, edit: Edit, **top_level: object) -> Path:
    """The book that comes with the program after ``edit`` of its classes; returns its path."""
    book = json.loads((ROOT / "prompts" / f"{spec.name}.json").read_text())
    edit(book["classes"])
    path = folder / f"{spec.name}.json"
    path.write_text(json.dumps(book | top_level))
    return path


def refusal(folder: Path, spec: DatasetSpec = CIFAR100) -> str:
    """The message with which the book in ``folder`` is refused, without its path."""
    with pytest.raises(PromptError) as caught:
        load_prompt_book(spec, folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / spec.name}.json: ")
    assert "\n" not in message
    return message.removeprefix(f"{folder / spec.name}.json: ")


def renumber(classes: list[Entry]) -> None:
    for index, entry in enumerate(classes):
        entry["index"] = index


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


# What a person may change


def test_another_noun_and_template_are_taken(tmp_path: Path) -> None:
    write_book(
        tmp_path,
        CIFAR100,
        lambda classes: classes[28].update(prompt_noun="silver goblet"),
        template="{noun}, a snapshot",
    )
    assert load_prompt_book(CIFAR100, tmp_path).prompts_for(28) == ("silver goblet, a snapshot",)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = write_book(tmp_path, CIFAR100, renumber)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_prompt_book(CIFAR100, tmp_path).classes[0].name == "apple"


# What is refused: wrong classes


def test_refuses_another_class_at_a_place(tmp_path: Path) -> None:
    write_book(tmp_path, CIFAR100, lambda classes: classes[20].update(name="castle"))
    assert refusal(tmp_path) == (
        "class 20 is 'castle', torchvision's class 20 is 'chair'; "
        "keep the file in class-index order"
    )


@given(st.integers(0, 99), st.integers(0, 99), st.booleans())
def test_refuses_any_two_classes_exchanged(
    tmp_path_factory: pytest.TempPathFactory, first: int, second: int, renumbered: bool
) -> None:
    def exchange(classes: list[Entry]) -> None:
        classes[first], classes[second] = classes[second], classes[first]
        if renumbered:
            renumber(classes)

    folder = tmp_path_factory.mktemp("books")
    write_book(folder, CIFAR100, exchange)
    if first == second:
        load_prompt_book(CIFAR100, folder)
    else:
        assert refusal(folder).startswith(f"class {min(first, second)} is ")


def test_refuses_tinyimagenet_in_the_order_of_wnids_txt(tmp_path: Path) -> None:
    def reorder(classes: list[Entry]) -> None:
        classes.sort(key=lambda entry: int(entry["wnids_txt_index"]))
        renumber(classes)

    write_book(tmp_path, TINYIMAGENET, reorder)
    assert refusal(tmp_path, TINYIMAGENET) == (
        "class 0 is 'n02124075', the sorted wnids' class 0 is 'n01443537'; "
        "keep the file in class-index order"
    )


def test_names_a_missing_class(tmp_path: Path) -> None:
    write_book(tmp_path, CIFAR100, lambda classes: classes.pop(20))
    assert refusal(tmp_path) == "99 classes, CIFAR-100 has 100: 'chair' is missing"


def test_names_a_doubled_class(tmp_path: Path) -> None:
    write_book(tmp_path, CIFAR100, lambda classes: classes.append(classes[20]))
    assert refusal(tmp_path) == "101 classes, CIFAR-100 has 100: 'chair' stands 2 times"


def test_names_a_class_too_many(tmp_path: Path) -> None:
    write_book(tmp_path, CIFAR100, lambda classes: classes.append({**classes[20], "name": "stool"}))
    assert refusal(tmp_path) == "101 classes, CIFAR-100 has 100: 'stool' is none of them"


def test_counts_the_rest_when_many_classes_are_missing(tmp_path: Path) -> None:
    write_book(tmp_path, CIFAR100, lambda classes: classes.clear())
    assert refusal(tmp_path) == (
        "0 classes, CIFAR-100 has 100: 'apple' is missing, 'aquarium_fish' is missing, "
        "'baby' is missing and 97 more faults"
    )


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("index", 4, "3"),
        ("index", "3", "3"),
        ("name", "frog", "'tailed frog, bell toad, ribbed toad, tailed toad, Ascaphus trui'"),
        ("wnids_txt_index", 3, "183"),
    ],
)
def test_refuses_a_changed_fact(tmp_path: Path, key: str, value: object, expected: str) -> None:
    write_book(tmp_path, TINYIMAGENET, lambda classes: classes[3].update({key: value}))
    assert refusal(tmp_path, TINYIMAGENET) == (
        f"class 3 has {key!r} {value!r}, expected {expected}; "
        "it is a fact of the data set, change 'prompt_noun' only"
    )


def test_true_is_not_index_1(tmp_path: Path) -> None:
    write_book(tmp_path, CIFAR100, lambda classes: classes[1].update(index=True))
    assert refusal(tmp_path).startswith("class 1 has 'index' True, expected 1")


# What is refused: wrong nouns and templates


@pytest.mark.parametrize(
    "noun", ["", "  ", " chair", "chair\n", "wooden\nchair", None, 5, ["chair"]]
)
def test_refuses_an_empty_or_odd_noun(tmp_path: Path, noun: object) -> None:
    write_book(tmp_path, CIFAR100, lambda classes: classes[20].update(prompt_noun=noun))
    assert refusal(tmp_path).startswith(f"class 20 ('chair') has 'prompt_noun' {noun!r}, expected ")


@pytest.mark.parametrize("noun", ["couch", "Couch"])
def test_refuses_two_classes_with_the_same_noun(tmp_path: Path, noun: str) -> None:
    write_book(tmp_path, CIFAR100, lambda classes: classes[94].update(prompt_noun=noun))
    assert refusal(tmp_path) == (
        f"class 94 ('wardrobe') has the same 'prompt_noun' as class 25 ('couch'): {noun!r}; "
        "say what sets them apart"
    )


@pytest.mark.parametrize("template", ["a photo", "{noun} and {noun}", "a {noun} {style}", "", 7])
def test_refuses_a_template_without_exactly_one_noun(tmp_path: Path, template: object) -> None:
    write_book(tmp_path, CIFAR100, renumber, template=template)
    assert refusal(tmp_path).startswith(f"'template' is {template!r}")


# What is refused: wrong keys and files


def test_refuses_unknown_and_missing_keys_of_a_class(tmp_path: Path) -> None:
    write_book(tmp_path, CIFAR100, lambda classes: classes[20].update(noun="chair"))
    assert refusal(tmp_path).startswith("class 20 has the unknown key 'noun'; its keys are ")
    write_book(tmp_path, CIFAR100, lambda classes: classes[20].pop("prompt_noun"))
    assert refusal(tmp_path).startswith("class 20 has no key 'prompt_noun'; its keys are ")
    write_book(tmp_path, CIFAR100, lambda classes: classes[20].update(wnid="n01443537"))
    assert refusal(tmp_path).startswith("class 20 has the unknown key 'wnid'")


def test_refuses_unknown_and_missing_keys_of_the_file(tmp_path: Path) -> None:
    path = write_book(tmp_path, CIFAR100, renumber, styles=[])
    assert refusal(tmp_path).startswith("the file has the unknown key 'styles'")
    path.write_text('{"dataset": "cifar100"}')
    assert refusal(tmp_path) == (
        "the file has no key 'template'; its keys are dataset, template, classes"
    )


def test_refuses_a_key_that_stands_twice(tmp_path: Path) -> None:
    path = write_book(tmp_path, CIFAR100, renumber)
    path.write_text(path.read_text().replace('"index": 20', '"index": 20, "index": 20'))
    assert refusal(tmp_path) == "key 'index' stands 2 times in one object"


@pytest.mark.parametrize(
    ("content", "found"),
    [("[]", "the file is []"), ("null", "the file is None"), ('"x"', "the file is 'x'")],
)
def test_refuses_json_that_is_no_object(tmp_path: Path, content: str, found: str) -> None:
    (tmp_path / "cifar100.json").write_text(content)
    assert refusal(tmp_path).startswith(found)


def test_refuses_classes_that_are_no_list_of_objects(tmp_path: Path) -> None:
    write_book(tmp_path, CIFAR100, renumber, classes={})
    assert refusal(tmp_path) == "'classes' is {}, expected a list of objects"
    write_book(tmp_path, CIFAR100, renumber, classes=["apple"])
    assert refusal(tmp_path).startswith("class 0 is 'apple', expected an object with ")


def test_tells_the_line_where_a_file_is_not_json(tmp_path: Path) -> None:
    (tmp_path / "cifar100.json").write_text('{"dataset": "cifar100",\n "template" "x"}')
    assert refusal(tmp_path) == "not JSON (Expecting ':' delimiter: line 2 column 13 (char 36))"


def test_refuses_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "cifar100.json").write_bytes(b'{"dataset": "\xff\xff"}')
    assert refusal(tmp_path).startswith("not JSON (")


def test_refuses_the_book_of_another_data_set(tmp_path: Path) -> None:
    write_book(tmp_path, CIFAR100, renumber, dataset="tinyimagenet")
    assert refusal(tmp_path) == (
        "'dataset' is 'tinyimagenet', expected 'cifar100'; each data set has a file of its own"
    )


def test_refuses_a_missing_file_and_a_folder_of_its_name(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "no such file; the prompt book must have this name"
    (tmp_path / "cifar100.json").mkdir()
    assert refusal(tmp_path) == "cannot be read (Is a directory)"


# Where the books are


def test_takes_the_given_folder(tmp_path: Path) -> None:
    assert find_prompts_dir(tmp_path) == tmp_path


def test_refuses_a_given_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="no such folder"):
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
