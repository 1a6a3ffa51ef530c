"""``prompts`` shows what a class is asked for, and tells what is wrong with an edited book."""

import json
from pathlib import Path

import pytest
from conftest import CliRunner
from prompt_books import Entry, write_book

from challenge.spec import CIFAR100, TINYIMAGENET


def test_a_class_is_shown_with_its_pool_and_shares(run_cli: CliRunner) -> None:
    code, out, _ = run_cli("prompts", "--class", "ray")
    assert code == 0
    assert "cifar100 class 67 (ray): 200 prompts" in out
    assert "a photo of stingray" in out
    assert "188 more" in out
    assert any("stingray" in line and "50.0%" in line for line in out.splitlines())


@pytest.mark.parametrize("name", ["organ", "pipe organ", "n03854065", "Pipe_Organ"])
def test_a_class_is_found_by_any_of_its_names(run_cli: CliRunner, name: str) -> None:
    arguments = ("prompts", "--class", name, "--dataset", "tinyimagenet", "--json")
    code, out, _ = run_cli(*arguments)
    (entry,) = json.loads(out.splitlines()[-1])["books"]
    assert (code, entry["name"]) == (0, "organ, pipe organ")
    assert sum(share for _, share in entry["shares"]["phrase"]) == pytest.approx(1.0)
    assert len(set(entry["prompts"])) == 200


def test_an_unknown_class_is_wrong_usage(run_cli: CliRunner) -> None:
    code, _, err = run_cli("prompts", "--class", "unicorn")
    assert code == 2
    assert err == (
        "error: --class unicorn: no class has that name, index or wnid; without --class all are "
        "listed\n"
    )


def test_check_says_when_tokens_could_not_be_counted(run_cli: CliRunner, tmp_path: Path) -> None:
    arguments = ("prompts", "--check", "--prompts-per-class", "3", "--json")
    code, out, _ = run_cli(*arguments, "--model", str(tmp_path))
    document = json.loads(out.splitlines()[-1])
    assert (code, document["verdict"]) == (0, "VALID")
    assert document["warnings"][0].startswith("token counts were not checked: no tokenizer of ")


def test_check_refuses_a_prompt_that_the_model_would_cut(
    run_cli: CliRunner, tmp_path: Path
) -> None:
    def lengthen(classes: list[Entry]) -> None:
        classes[20]["mix"] = [["chair " * 90, 1.0]]

    write_book(tmp_path, CIFAR100, lengthen)
    arguments = ("--dataset", "cifar100", "--prompts-per-class", "2", "--model", "tiny")
    code, _, err = run_cli("prompts", "--check", "--prompts-dir", tmp_path, *arguments)
    assert code == 1
    assert "class 20 ('chair'): a prompt has 9" in err
    assert "the model reads 77; shorten it" in err


def test_check_refuses_a_prompt_of_two_classes(run_cli: CliRunner, tmp_path: Path) -> None:
    def share(classes: list[Entry]) -> None:
        for place in (3, 4):
            classes[place]["mix"] = [["brown animal", 1.0]]

    write_book(tmp_path, TINYIMAGENET, share)
    arguments = ("--dataset", "tinyimagenet", "--prompts-per-class", "2")
    code, _, err = run_cli("prompts", "--check", "--prompts-dir", tmp_path, *arguments)
    assert code == 1
    assert "shares the prompt 'a photo of brown animal' with another class" in err


def test_all_classes_are_listed_without_a_name(run_cli: CliRunner) -> None:
    arguments = ("--dataset", "cifar100", "--prompts-per-class", "1")
    code, out, _ = run_cli("prompts", *arguments)
    assert code == 0
    assert len([line for line in out.splitlines() if " photo of " in line]) == 100


def test_check_and_class_do_not_go_together(run_cli: CliRunner) -> None:
    code, _, err = run_cli("prompts", "--check", "--class", "ray")
    assert code == 2
    assert "--check looks at all classes" in err
