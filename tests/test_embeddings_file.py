import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from challenge.errors import WeightsError
from challenge.generators.embeddings_file import open_embeddings, write_embeddings

OWNER = {"weights": "a", "dtype": "float32", "dataset": "cifar100"}
PROMPTS = ["a", "bb", "é"]


def write(path: Path, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    kinds = [torch.randn(3, 7, 5).to(dtype), torch.randn(3, 3).to(dtype)]
    write_embeddings(path, PROMPTS, OWNER, [[k[:2] for k in kinds], [k[2:] for k in kinds]])
    return kinds


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_library_reads_what_is_written(tmp_path: Path, dtype: torch.dtype) -> None:
    hidden, pooled = write(tmp_path / "e.safetensors", dtype)
    found = load_file(tmp_path / "e.safetensors")
    assert torch.equal(found["hidden"], hidden)
    assert torch.equal(found["pooled"], pooled)
    prompts, kinds = open_embeddings(tmp_path / "e.safetensors", OWNER)
    assert prompts == PROMPTS
    assert [kind.dtype for kind in kinds] == [dtype, dtype]
    assert torch.equal(kinds[0], hidden)


def test_it_is_the_file_that_the_library_would_have_written(tmp_path: Path) -> None:
    hidden, pooled = write(tmp_path / "ours")
    metadata = {"owner": json.dumps(OWNER), "prompts": json.dumps(PROMPTS)}
    save_file({"hidden": hidden, "pooled": pooled}, tmp_path / "theirs", metadata=metadata)
    headers, rows = [], []
    for name in ("ours", "theirs"):
        data = (tmp_path / name).read_bytes()
        end = 8 + int.from_bytes(data[:8], "little")
        headers.append(json.loads(data[8:end]))
        rows.append(data[end:])
    assert headers[0] == headers[1]
    assert rows[0] == rows[1]


def test_rows_begin_at_a_whole_64_bytes(tmp_path: Path) -> None:
    write(tmp_path / "e")
    data = (tmp_path / "e").read_bytes()
    assert (8 + int.from_bytes(data[:8], "little")) % 64 == 0


def test_an_interrupted_file_leaves_the_older_one(tmp_path: Path) -> None:
    hidden, _ = write(tmp_path / "e")
    with pytest.raises(ValueError, match="3 prompts and rows for 1"):
        write_embeddings(tmp_path / "e", PROMPTS, OWNER, [[torch.zeros(1, 7, 5)]])
    assert torch.equal(open_embeddings(tmp_path / "e", OWNER)[1][0], hidden)
    assert [path.name for path in tmp_path.iterdir()] == ["e"]


def test_a_file_of_something_else_or_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e"
    write(path)
    with pytest.raises(WeightsError, match=r"made for another model, dtype or prompt book"):
        open_embeddings(path, OWNER | {"weights": "b"})
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(WeightsError, match=r"is damaged"):
        open_embeddings(path, OWNER)
    save_file({"hidden": torch.zeros(3, 7, 5)}, path)
    with pytest.raises(WeightsError, match=r"is damaged"):
        open_embeddings(path, OWNER)
    path.write_bytes(b"cut")
    with pytest.raises(WeightsError, match=r"is damaged"):
        open_embeddings(path, OWNER)
    with pytest.raises(WeightsError, match=r"is damaged"):
        open_embeddings(tmp_path / "none", OWNER)
