"""Prompt books that were edited, for tests, and the messages with which they are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from challenge.errors import PromptError
from challenge.prompts import load_prompt_book
from challenge.spec import CIFAR100, DatasetSpec

ROOT = Path(__file__).resolve().parent.parent
Entry = dict[str, Any]
Edit = Callable[[list[Entry]], object]


def keep(classes: list[Entry]) -> None:
    """Change nothing."""


def write_book(folder: Path, spec: DatasetSpec, edit: Edit = keep, **top_level: object) -> Path:
    """The book that comes with the program after ``edit`` of its classes; returns its path."""
    book = json.loads((ROOT / "prompts" / f"{spec.name}.json").read_text())
    edit(book["classes"])
    path = folder / f"{spec.name}.json"
    path.write_text(json.dumps(book | top_level))
    return path


def templates(**changed: str) -> dict[str, str]:
    """The templates that a book must have, some of them changed."""
    return {
        "name-only": "{name}",
        "plain": "a photo of {noun}",
        "diverse": "{style} {phrase}",
    } | changed


def refusal(folder: Path, spec: DatasetSpec = CIFAR100) -> str:
    """The message with which the book in ``folder`` is refused, without its path."""
    with pytest.raises(PromptError) as caught:
        load_prompt_book(spec, folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / spec.name}.json: ")
    assert "\n" not in message
    return message.removeprefix(f"{folder / spec.name}.json: ")
