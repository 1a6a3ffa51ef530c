import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CliRunner

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("command", [[], ["generate"], ["check"], ["evaluate"], ["benchmark"]])
def test_help_answers_without_torch(command: list[str]) -> None:
    script = (
        "import sys; from challenge.cli import main; code = main([*sys.argv[1:], '--help']); "
        "heavy = {'torch', 'diffusers', 'transformers', 'kornia', 'numpy'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "usage: run_challenge.py" in done.stdout


def test_run_challenge_py_runs_the_command_line_from_a_checkout() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "run_challenge.py"), "check", "missing.pt", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["verdict"] == "INVALID"
    assert document["problems"][0].startswith("missing.pt: there is no such file")


BAD_INPUT = {
    "unknown data set": (["--dataset", "mnist"], 2, "mnist"),
    "unknown device": (["--model", "tiny", "--device", "tpu"], 2, "device 'tpu' is not known"),
    "no such GPU": (["--model", "tiny", "--device", "cuda:63"], 2, "no device cuda:63"),
    "no limit": (["--limit-s", "0"], 2, "--limit-s 0 is not a time limit"),
    "endless limit": (["--limit-s", "inf"], 2, "--limit-s inf is not a time limit"),
    "no images": (["--ipc", "0"], 2, "--ipc 0 is not a count"),
    "no batch": (["--batch-size", "-1"], 2, "--batch-size -1 is not a count"),
    "missing model directory": (["--model", "./nowhere"], 1, "nowhere"),
    "model not in the cache": (["--model", "nobody/nothing"], 1, "--model tiny"),
    "missing prompt books": (["--prompts-dir", "nowhere"], 1, "nowhere"),
    "limit over before the first image": (
        ["--model", "tiny", "--limit-s", "0.01"],
        1,
        "raise --limit-s",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gets_one_clear_line_and_leaves_nothing_behind(
    case: str, run_cli: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, expected_code, message = BAD_INPUT[case]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    code, _, errors = run_cli("generate", *arguments, "--out", tmp_path / "run")
    assert code == expected_code
    assert message in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_not_empty_is_never_written_to(run_cli: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    code, _, errors = run_cli("generate", "--model", "tiny", "--out", tmp_path)
    assert code == 2
    assert "not empty" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_made_is_an_error(run_cli: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, errors = run_cli("generate", "--model", "tiny", "--out", tmp_path / "file" / "run")
    assert code == 2
    assert errors.startswith("error: cannot write to")


def test_an_error_with_json_is_a_document_as_well(run_cli: CliRunner, tmp_path: Path) -> None:
    code, out, _ = run_cli("generate", "--model", "./nowhere", "--json", "--out", tmp_path / "run")
    document = json.loads(out.splitlines()[-1])
    assert code == 1
    assert document["verdict"] == "INVALID"
    assert "nowhere" in document["error"]


def test_check_of_a_folder_without_submissions_says_what_is_looked_for(
    run_cli: CliRunner, tmp_path: Path
) -> None:
    code, _, errors = run_cli("check", tmp_path)
    assert code == 1
    assert "cifar100.pt" in errors
