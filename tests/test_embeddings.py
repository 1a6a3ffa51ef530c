import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from challenge.generators.embeddings import PromptEmbeddings
from challenge.generators.embeddings_file import write_embeddings

CPU = torch.device("cpu")
OWNER = {"weights": "a", "dtype": "float32", "dataset": "cifar100"}
ROW_BYTES = (7 * 5 + 3) * 4


def rows(*prompts: str) -> list[Tensor]:
    """Each prompt's rows hold its length."""
    lengths = torch.tensor([float(len(prompt)) for prompt in prompts])
    return [lengths.view(-1, 1, 1).expand(-1, 7, 5).clone(), lengths.view(-1, 1).expand(-1, 3)]


def table(*prompts: str, room_bytes: int | None = None) -> PromptEmbeddings:
    embeddings = PromptEmbeddings(CPU, room_bytes)
    embeddings.add(prompts, [rows(*prompts)])
    return embeddings


def lengths_of(embeddings: PromptEmbeddings, prompts: list[str]) -> None:
    """Each row that is gathered is its prompt's own, in both kinds."""
    hidden, pooled = embeddings.gather(prompts)
    assert pooled is not None
    assert hidden.shape == (len(prompts), 7, 5)
    expected = [len(prompt) for prompt in prompts]
    assert hidden[:, 6, 4].tolist() == pooled[:, 2].tolist() == expected


def test_rows_are_gathered_by_prompt_in_any_order_and_number() -> None:
    embeddings = table("a", "bb")
    embeddings.add(["ccc"], [rows("ccc")])
    lengths_of(embeddings, ["ccc", "a", "ccc"])
    assert len(embeddings) == 3


def test_a_model_without_pooled_prompts_has_none() -> None:
    embeddings = PromptEmbeddings(CPU)
    embeddings.add(["a"], [rows("a")[:1]])
    assert embeddings.gather(["a"])[1] is None


def test_rows_may_come_in_batches_of_any_size_but_must_be_all() -> None:
    embeddings = PromptEmbeddings(CPU)
    embeddings.add(["a", "bb", "ccc"], iter([rows("a"), rows("bb", "ccc")]))
    lengths_of(embeddings, ["ccc", "bb", "a"])
    with pytest.raises(ValueError, match="2 prompts and rows for 1"):
        embeddings.add(["x", "y"], [rows("x")])
    assert "x" not in embeddings


def test_many_small_additions_and_files_are_one_pool(tmp_path: Path) -> None:
    prompts = ["x" * count for count in range(1, 200)]
    embeddings, rng = PromptEmbeddings(CPU), random.Random(0)
    for first in range(0, 150, 3):
        embeddings.add(prompts[first : first + 3], [rows(*prompts[first : first + 3])])
    write_embeddings(tmp_path / "e", prompts[140:180], OWNER, [rows(*prompts[140:180])])
    embeddings.load(tmp_path / "e", OWNER)
    embeddings.add(prompts[180:], [rows(*prompts[180:])])
    assert len(embeddings) == 199
    assert len(embeddings._tables) < 10
    for _ in range(20):
        lengths_of(embeddings, rng.choices(prompts, k=rng.randrange(1, 40)))


def test_a_pool_larger_than_its_room_is_streamed_and_the_same() -> None:
    embeddings = PromptEmbeddings(CPU, room_bytes=2 * ROW_BYTES)
    embeddings.add(["a", "bb"], [rows("a", "bb")])
    embeddings.add(["ccc"], [rows("ccc")])
    embeddings.add(["dddd", "eeeee"], [rows("dddd"), rows("eeeee")])
    assert embeddings.placement() == {
        "prompts": 5,
        "device_bytes": 2 * ROW_BYTES,
        "streamed_bytes": 3 * ROW_BYTES,
        "mapped_bytes": 0,
    }
    lengths_of(embeddings, ["eeeee", "a", "ccc", "dddd", "bb", "a"])
    lengths_of(embeddings, ["ccc", "eeeee"])


def test_a_file_gives_back_what_was_written_and_is_mapped(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "e", ["ccc", "a"], OWNER, [rows("ccc"), rows("a")])
    found = table("a")
    found.load(tmp_path / "e", OWNER)
    assert "bb" not in found
    assert len(found) == 2
    lengths_of(found, ["a", "ccc"])
    assert found.placement()["mapped_bytes"] == 2 * ROW_BYTES
    assert found.placement()["streamed_bytes"] == 0
    small = PromptEmbeddings(CPU, room_bytes=ROW_BYTES)
    small.load(tmp_path / "e", OWNER)
    lengths_of(small, ["ccc", "a"])
    assert small.placement()["streamed_bytes"] == 2 * ROW_BYTES


def test_no_more_than_a_batch_is_asked_for_before_it_is_stored(tmp_path: Path) -> None:
    """Rows that come are used up before the next ones are made."""
    alive: list[int] = []

    def batches() -> Iterator[list[Tensor]]:
        for prompt in ("a", "bb", "ccc"):
            batch = rows(prompt)
            alive.append(batch[0].data_ptr())
            yield batch
            batch[0].fill_(-1)  # whoever still needs them has wrong ones

    embeddings = PromptEmbeddings(CPU)
    embeddings.add(["a", "bb", "ccc"], batches())
    lengths_of(embeddings, ["a", "bb", "ccc"])
    write_embeddings(tmp_path / "e", ["a", "bb", "ccc"], OWNER, batches())
    found = PromptEmbeddings(CPU)
    found.load(tmp_path / "e", OWNER)
    lengths_of(found, ["a", "bb", "ccc"])
    assert len(alive) == 6


def test_a_prompt_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="'bb' is not encoded"):
        table("a").gather(["a", "bb"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_on_a_gpu_rows_come_by_both_ways_without_waiting_for_the_device() -> None:
    device = torch.device("cuda")
    embeddings = PromptEmbeddings(device, room_bytes=2 * ROW_BYTES)
    embeddings.add(["a", "bb"], [rows("a", "bb")])
    embeddings.add(["ccc", "dddd"], [rows("ccc", "dddd")])
    torch.cuda.set_sync_debug_mode("error")
    try:
        hidden, _ = embeddings.gather(["dddd", "a", "ccc", "bb"])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert hidden.device.type == "cuda"
    assert hidden[:, 0, 0].tolist() == [4, 1, 3, 2]
