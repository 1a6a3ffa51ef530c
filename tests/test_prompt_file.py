"""A damaged prompt book is refused with one line that names the file, the class and the value."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_books import Entry, refusal, write_book

from challenge.prompts import load_prompt_book
from challenge.spec import CIFAR100, TINYIMAGENET


def renumber(classes: list[Entry]) -> None:
    for index, entry in enumerate(classes):
        entry["index"] = index


# What is refused: wrong classes


def test_refuses_another_class_at_a_place(tmp_path: Path) -> None:
    write_book(tmp_path, CIFAR100, lambda classes: classes[20].update(name="castle"))
    assert refusal(tmp_path) == (
        "class 20 is 'castle', torchvision's class 20 is 'chair'; "
        "keep the file in class-index order"
    )


@settings(max_examples=20)
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
        "it is a fact of the data set, change 'prompt_noun' and the rules only"
    )


def test_true_is_not_index_1(tmp_path: Path) -> None:
    write_book(tmp_path, CIFAR100, lambda classes: classes[1].update(index=True))
    assert refusal(tmp_path).startswith("class 1 has 'index' True, expected 1")


# What is refused: wrong nouns


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


# What is refused: wrong keys and files


def test_refuses_unknown_and_missing_keys_of_a_class(tmp_path: Path) -> None:
    write_book(tmp_path, CIFAR100, lambda classes: classes[20].update(noun="chair"))
    assert refusal(tmp_path).startswith("class 20 has the unknown key 'noun'; its keys are ")
    write_book(tmp_path, CIFAR100, lambda classes: classes[20].pop("prompt_noun"))
    assert refusal(tmp_path).startswith("class 20 has no key 'prompt_noun'; its keys are ")
    write_book(tmp_path, CIFAR100, lambda classes: classes[20].update(wnid="n01443537"))
    assert refusal(tmp_path).startswith("class 20 has the unknown key 'wnid'")


def test_refuses_unknown_and_missing_keys_of_the_file(tmp_path: Path) -> None:
    path = write_book(tmp_path, CIFAR100, styles=[])
    assert refusal(tmp_path).startswith("the file has the unknown key 'styles'")
    path.write_text('{"dataset": "cifar100"}')
    assert refusal(tmp_path) == (
        "the file has no key 'templates'; its keys are dataset, templates, classes, sources, "
        "slots, groups, exclude"
    )


def test_refuses_a_key_that_stands_twice(tmp_path: Path) -> None:
    path = write_book(tmp_path, CIFAR100)
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
    write_book(tmp_path, CIFAR100, classes={})
    assert refusal(tmp_path) == "'classes' is {}, expected a list of objects"
    write_book(tmp_path, CIFAR100, classes=["apple"])
    assert refusal(tmp_path).startswith("class 0 is 'apple', expected an object with ")


def test_tells_the_line_where_a_file_is_not_json(tmp_path: Path) -> None:
    (tmp_path / "cifar100.json").write_text('{"dataset": "cifar100",\n "template" "x"}')
    assert refusal(tmp_path) == (
        "not JSON (Expecting ':' delimiter: line 2 column 13 (char 36)); mend it there"
    )


@pytest.mark.parametrize("content", [b'{"dataset": "\xff\xff"}', b"[" * 100_000])
def test_refuses_bytes_that_are_no_text_and_no_end_of_brackets(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "cifar100.json").write_bytes(content)
    assert refusal(tmp_path).startswith("not JSON (")


def test_refuses_the_book_of_another_data_set(tmp_path: Path) -> None:
    write_book(tmp_path, CIFAR100, dataset="tinyimagenet")
    assert refusal(tmp_path) == (
        "'dataset' is 'tinyimagenet', expected 'cifar100'; each data set has a file of its own"
    )


def test_refuses_a_missing_file_and_a_folder_of_its_name(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "no such file; the prompt book must have this name"
    (tmp_path / "cifar100.json").mkdir()
    assert refusal(tmp_path) == "cannot be read (Is a directory)"
