from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from challenge.errors import WeightsError
from challenge.generators.embeddings import PromptEmbeddings

CPU = torch.device("cpu")
OWNER = {"weights": "a", "dtype": "float32", "dataset": "cifar100"}


def table(*prompts: str) -> PromptEmbeddings:
    """Each prompt's rows hold its length."""
    embeddings = PromptEmbeddings(CPU)
    embeddings.add(prompts, rows(*prompts))
    return embeddings


def rows(*prompts: str) -> list[torch.Tensor]:
    lengths = torch.tensor([float(len(prompt)) for prompt in prompts])
    return [lengths.view(-1, 1, 1).expand(-1, 7, 5).clone(), lengths.view(-1, 1).expand(-1, 3)]


def test_rows_are_gathered_by_prompt_in_any_order_and_number() -> None:
    embeddings = table("a", "bb")
    embeddings.add(["ccc"], rows("ccc"))
    hidden, pooled = embeddings.gather(["ccc", "a", "ccc"])
    assert hidden.shape == (3, 7, 5)
    assert hidden[:, 0, 0].tolist() == [3, 1, 3]
    assert pooled is not None
    assert pooled[:, 0].tolist() == [3, 1, 3]
    assert len(embeddings) == 3


def test_a_model_without_pooled_prompts_has_none() -> None:
    embeddings = PromptEmbeddings(CPU)
    embeddings.add(["a"], rows("a")[:1])
    assert embeddings.gather(["a"])[1] is None


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    table("a", "bb", "ccc").save(tmp_path / "e.safetensors", ["ccc", "a"], OWNER)
    found = table("a")
    found.load(tmp_path / "e.safetensors", OWNER)
    assert "bb" not in found
    assert len(found) == 2
    hidden, _ = found.gather(["a", "ccc"])
    assert hidden[:, 6, 4].tolist() == [1, 3]


def test_a_file_of_something_else_or_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.safetensors"
    table("a", "bb").save(path, ["a", "bb"], OWNER)
    with pytest.raises(WeightsError, match=r"made for another model, dtype or prompt book"):
        table("x").load(path, OWNER | {"weights": "b"})
    tensors = load_file(path)
    save_file(tensors, path)
    with pytest.raises(WeightsError, match=r"is damaged"):
        table("x").load(path, OWNER)
    path.write_bytes(b"cut")
    with pytest.raises(WeightsError, match=r"is damaged"):
        table("x").load(path, OWNER)
