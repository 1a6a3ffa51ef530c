import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from conftest import CliRunner

from challenge import cli
from challenge.commands.benchmark_screen import show_tables
from challenge.nvml import Meter

pytestmark = pytest.mark.timeout(600)  # a whole benchmark, on a machine that may be busy


@dataclass(frozen=True)
class Ran:
    """One run of the command, and what it left."""

    document: dict[str, Any]
    recorded: dict[str, Any]
    errors: str


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Two batch sizes, two decoders that can be and one that cannot, and a side that cannot."""
    record = tmp_path_factory.mktemp("benchmark") / "new" / "mine.json"
    arguments = ["benchmark", "--model", "tiny", "--seconds-per-row", "0.01", "--json"]
    arguments += ["--batch-sizes", "1", "4", "--decoders", "vae", "linear", "taesdxl"]
    arguments += ["--resolutions", "32", "33", "--record", str(record)]
    out, errors = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
        patch.setattr(Meter, "other_processes", lambda meter: [7, 8])
        assert cli.main(arguments) == 0
    document = json.loads(out.getvalue().splitlines()[-1])
    return Ran(document, json.loads(record.read_text()), errors.getvalue())


def test_every_combination_is_a_row_and_one_that_cannot_be_says_why(ran: Ran) -> None:
    found = [
        (row["decoder"], row["resolution"], row["batch_size"], row["error"])
        for row in ran.document["rows"]
    ]
    other_latents = (
        "TAESDXL decodes latents of 4 channels and this model's have 12; "
        "give --decoder vae or thumbnail"
    )
    no_multiple = "image_size 33 is not a multiple of 4"
    assert found == [
        ("vae", 32, 1, None),
        ("vae", 32, 4, None),
        ("linear", 32, 1, None),
        ("linear", 32, 4, None),
        ("taesdxl", 32, 1, other_latents),
        ("vae", 33, 1, no_multiple),
        ("linear", 33, 1, no_multiple),
        ("taesdxl", 33, 1, no_multiple),
    ]


def test_the_best_is_compared_with_the_plain_pipeline(ran: Ran) -> None:
    assert ran.document["best"] in ran.document["rows"]
    methods = [row["method"] for row in ran.document["baselines"]]
    assert methods[-2:] == ["pipeline, once per image", "pipeline, batched"]
    assert set(methods[:-2]) == {"ours"}
    turns = ran.document["baselines"][0]["calls"]
    assert [len(each["ratios"]) for each in ran.document["speed_ups"]] == [turns] * 2 * len(
        methods[:-2]
    )


def test_a_rows_cost_is_that_of_its_own_decoder(ran: Ran) -> None:
    tflop: dict[str, set[float]] = {"vae": set(), "linear": set()}
    for row in (*ran.document["rows"], *ran.document["baselines"]):
        if not row["error"]:
            tflop[row["decoder"]].add(round(row["tflops"] / row["images_per_s"], 9))
    (vae,), (linear,) = tflop["vae"], tflop["linear"]
    assert linear < 0.7 * vae


def test_the_seconds_to_the_first_batch_are_told(ran: Ran) -> None:
    start = ran.document["start_s"]
    assert 0 < start["imported_s"] < start["loaded_s"] < start["encoded_s"] < start["first_batch_s"]


def test_the_record_is_the_document(ran: Ran) -> None:
    assert ran.recorded == ran.document
    assert ran.recorded["schema_version"] == 1


def test_others_on_the_gpu_are_warned_of(ran: Ran) -> None:
    assert "warning: 2 other processes compute on cpu (process 7, 8)" in ran.errors


def test_the_tables_show_all_rows_and_what_they_come_to(
    ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    show_tables(ran.document)
    out = capsys.readouterr().out
    assert "taesdxl: TAESDXL decodes latents of 4 channels and this model's have 12" in out
    assert "times the pipeline, batched" in out
    assert "ceiling of this device" in out
    assert "after the start of the process" in out


def test_nothing_that_could_be_measured_is_an_error(run_cli: CliRunner) -> None:
    arguments = ("--model", "tiny", "--batch-sizes", "1")
    code, _, errors = run_cli("benchmark", *arguments, "--decoders", "taesdxl")
    assert code == 1
    assert "no row could be measured, the first since: TAESDXL decodes latents of 4" in errors
    code, _, errors = run_cli("benchmark", *arguments, "--resolutions", "7")
    assert code == 1
    reason = "no row could be measured, the first since: image_size 7 is not a multiple of 4\n"
    assert errors.endswith(reason)  # and nothing of memory


def test_a_record_is_never_overwritten(run_cli: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("mine")
    code, _, errors = run_cli("benchmark", "--model", "tiny", "--record", tmp_path / "mine.json")
    assert code == 2
    assert "exists" in errors
    assert (tmp_path / "mine.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--weights", "random", "--model", "tiny"), "--weights random is for sdxl-turbo and sd-"),
        (("--all-gpus", "--device", "cpu"), "--all-gpus with --device cpu; leave one of them"),
        (("--preset", "full-size", "--all-gpus"), "--preset writes its own files"),
        (("--preset", "full-size", "--quantize", "fp8"), "--preset chooses its rows itself"),
        (("--budget-s", "0"), "--budget-s 0 is not a time"),
        (("--budget-s", "inf", "--preset", "full-size"), "--budget-s inf is not a time"),
        (("--seconds-per-row", "inf"), "--seconds-per-row inf is not a time"),
        (("--budget-s", "60"), "--out and --budget-s belong to --preset full-size"),
        (("--out", "somewhere"), "give --record FILE to keep what is measured"),
        (("--model", "images:data"), "--model images:data makes no images"),
        (("--resolutions", "0"), "--resolutions 0 is not a count"),
        (("--decoders",), "--decoders"),
    ],
)
def test_what_cannot_be_is_refused_at_once(
    arguments: tuple[str, ...], text: str, run_cli: CliRunner
) -> None:
    code, _, errors = run_cli("benchmark", *arguments)
    assert code == 2
    assert text in errors


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_all_gpus_without_one_is_told(run_cli: CliRunner) -> None:
    code, _, errors = run_cli("benchmark", "--model", "tiny", "--all-gpus")
    assert code == 2
    assert "torch sees no GPU" in errors


def test_a_quantized_unet_is_a_row_and_its_damage_is_told(run_cli: CliRunner) -> None:
    pytest.importorskip("torchao")
    flags = ("--quantize", "none", "int8-weights", "--batch-sizes", "2")
    code, output, errors = run_cli(
        "benchmark", "--model", "tiny", "--seconds-per-row", "0.01", *flags, "--json"
    )
    assert code == 0, errors
    document = json.loads(output.splitlines()[-1])
    assert [row["quantize"] for row in document["rows"]] == ["none", "int8-weights"]
    damage = document["damages"]["int8-weights, float32"]
    assert damage["layers"] == 12
    assert 0 < damage["latents_error"] < 0.001
    assert damage["psnr_db"]["32"] > 60


def test_a_unet_that_cannot_be_quantized_is_a_row_and_the_others_stay(
    run_cli: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> int:
        raise AssertionError("only works for something else")

    monkeypatch.setitem(sys.modules, "torchao", ModuleType("torchao"))
    monkeypatch.setattr("challenge.generators.quantized.quantize_layers", fail)
    flags = ("--quantize", "none", "int8-weights", "--batch-sizes", "2")
    code, output, errors = run_cli(
        "benchmark", "--model", "tiny", "--seconds-per-row", "0.01", *flags, "--json"
    )
    assert code == 0, errors
    plain, failed = json.loads(output.splitlines()[-1])["rows"]
    assert plain["images_per_s"] > 0
    assert "--quantize int8-weights failed: only works for something else" in failed["error"]


def test_what_the_device_cannot_quantize_is_refused_at_once(run_cli: CliRunner) -> None:
    code, _, errors = run_cli(
        "benchmark", "--model", "tiny", "--quantize", "fp8", "--device", "cpu"
    )
    assert code == 2
    assert "--quantize fp8 needs a GPU of compute capability 8.9" in errors
