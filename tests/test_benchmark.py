import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from conftest import CliRunner
from torch import Tensor

from challenge.benchmark import (
    BenchmarkRow,
    Ceiling,
    Workload,
    best_row,
    compare,
    sweep,
    time_calls,
)
from challenge.errors import GenerationError
from challenge.generators.base import GeneratorDescription

CPU = torch.device("cpu")
WORK = Workload(("a", "b", "c"), 5, 32, 32, CPU, torch.float32)
CEILING = Ceiling(tflops=2.0, tflop_per_image=0.5)


class LimitedGenerator:
    """Runs out of memory above ``largest`` images."""

    description = GeneratorDescription("fake", "a test", None, "float32", "cpu")

    def __init__(self, largest: int) -> None:
        self.largest = largest

    def image_size(self, target_size: int) -> int:
        return target_size

    def encode_prompts(self, prompts: Sequence[str]) -> None: ...

    def release_text_encoders(self) -> None: ...

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], image_size: int) -> Tensor:
        if len(prompts) > self.largest:
            raise torch.OutOfMemoryError
        return torch.zeros(len(prompts), 3, image_size, image_size)


def test_a_batch_goes_round_the_prompts_and_counts_the_seeds_up() -> None:
    assert WORK.batch(4) == (["a", "b", "c", "a"], [5, 6, 7, 8])


def test_the_ceiling_is_the_speed_of_the_device_over_the_cost_of_an_image() -> None:
    assert CEILING.images_per_s == 4.0


def test_the_warm_up_is_kept_apart_and_a_row_has_at_least_three_calls() -> None:
    calls: list[int] = []
    timing = time_calls(lambda: calls.append(1), CPU, seconds=0.0)
    assert len(timing.calls_s) == 3
    assert len(calls) == 4


def test_out_of_memory_is_a_row_and_larger_batches_are_not_tried() -> None:
    told: list[BenchmarkRow] = []
    rows = sweep(LimitedGenerator(4), WORK, CEILING, (8, 2, 4, 16), 0.01, told.append)
    assert [(row.batch_size, row.error) for row in rows] == [
        (2, None),
        (4, None),
        (8, "out of memory"),
    ]
    assert told == rows
    assert best_row(rows).batch_size in (2, 4)
    assert rows[0].images_per_s is not None
    assert rows[0].ceiling_share == pytest.approx(rows[0].images_per_s / 4.0)


def test_no_batch_that_fits_is_an_error() -> None:
    with pytest.raises(GenerationError, match="out of memory with a batch of 2"):
        sweep(LimitedGenerator(1), WORK, CEILING, (2, 4), 0.01, lambda row: None)


def test_the_command_measures_our_loop_beside_the_plain_pipeline(
    run_cli: CliRunner, tmp_path: Path
) -> None:
    arguments = ("benchmark", "--model", "tiny", "--batch-sizes", "1", "8", "--seconds-per-row")
    record = tmp_path / "benchmark.json"
    code, out, _ = run_cli(*arguments, "0.05", "--json", "--record", record)
    document = json.loads(out.splitlines()[-1])
    assert code == 0
    assert [row["batch_size"] for row in document["rows"]] == [1, 8]
    methods = [row["method"] for row in document["baselines"]]
    assert methods == ["ours", "pipeline, once per image", "pipeline, batched"]
    assert document["best"] in document["rows"]
    assert document["ceiling_images_per_s"] > max(row["images_per_s"] for row in document["rows"])
    assert json.loads(record.read_text()) == document


def test_a_record_is_never_overwritten(run_cli: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("mine")
    code, _, errors = run_cli("benchmark", "--model", "tiny", "--record", tmp_path / "mine.json")
    assert code == 2
    assert "exists" in errors
    assert (tmp_path / "mine.json").read_text() == "mine"


def test_the_tables_show_both_ways_and_their_ratio(run_cli: CliRunner) -> None:
    arguments = ("benchmark", "--model", "tiny", "--batch-sizes", "4", "--seconds-per-row", "0.05")
    code, out, _ = run_cli(*arguments)
    assert code == 0
    assert "pipeline, once per image" in out
    assert "times the pipeline in batches" in out
    assert "ceiling of this device" in out


def test_a_record_in_a_new_folder_is_written_there(run_cli: CliRunner, tmp_path: Path) -> None:
    arguments = ("benchmark", "--model", "tiny", "--batch-sizes", "4", "--seconds-per-row", "0.05")
    code, _, _ = run_cli(*arguments, "--record", tmp_path / "new" / "mine.json")
    assert code == 0
    assert json.loads((tmp_path / "new" / "mine.json").read_text())["schema_version"] == 1


def test_a_baseline_that_runs_out_of_memory_is_a_row() -> None:
    class Pipe:
        def __call__(self, prompt: list[str], **options: object) -> object:
            raise torch.OutOfMemoryError

    rows = compare(LimitedGenerator(8), Pipe(), WORK, CEILING, 4, 0.01, lambda row: None)
    assert [row.error for row in rows] == [None, "out of memory", "out of memory"]
