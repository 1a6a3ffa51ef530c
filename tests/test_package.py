import hashlib
import json
import zipfile
from pathlib import Path

import pytest
import torch
from conftest import CliRunner

from challenge.errors import OutputError, SubmissionError
from challenge.package import write_package


def write_set(folder: Path, ipc: int = 1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(100 * ipc, 3, 32, 32, generator=rng).clamp(-1.5, 1.5)
    torch.save(images, folder / "cifar100.pt")


def test_the_zip_holds_the_submission_and_its_records(tmp_path: Path) -> None:
    write_set(tmp_path / "run", ipc=10)
    for name in ("cifar100.json", "run.json", "scores.txt", "events.jsonl", "cifar100.journal"):
        (tmp_path / "run" / name).write_text("{}")
    (tmp_path / "run" / "run.json").write_text('{"verdict": "VALID"}')
    written = write_package(tmp_path / "run", tmp_path / "entry.zip")
    expected = ["cifar100.pt", "cifar100.json", "run.json", "scores.txt"]
    with zipfile.ZipFile(tmp_path / "entry.zip") as archive:
        assert archive.namelist() == expected == list(written.files)
        assert archive.read("cifar100.pt") == (tmp_path / "run" / "cifar100.pt").read_bytes()
    assert written.bytes == (tmp_path / "entry.zip").stat().st_size
    assert written.warnings == ("no tinyimagenet.pt: the challenge asks for both sets",)


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ('{"verdict": "INVALID", "problems": ["5.0 s late"]}', "says INVALID: 5.0 s late"),
        ('{"verdict": null}', "has no verdict: the run was killed, or is not over yet"),
        ("", "run.json cannot be read (Expecting value: line 1"),
        ("[]", "run.json cannot be read ("),
    ],
)
def test_what_the_run_says_against_its_files_is_told(
    tmp_path: Path, record: str, told: str
) -> None:
    write_set(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(record)
    written = write_package(tmp_path / "run", tmp_path / "entry.zip")
    assert told in written.warnings[0]


def test_a_file_that_its_sidecar_was_not_written_for_is_told(
    tmp_path: Path, run_cli: CliRunner
) -> None:
    write_set(tmp_path / "run")
    sha256 = hashlib.sha256((tmp_path / "run" / "cifar100.pt").read_bytes()).hexdigest()
    sidecar = {"label_order": "sorted", "sha256": sha256}
    (tmp_path / "run" / "cifar100.json").write_text(json.dumps(sidecar))
    told = "cifar100.pt: changed or replaced since cifar100.json was written"
    assert json.loads(run_cli("check", tmp_path / "run", "--json")[1])["warnings"] == []
    with (tmp_path / "run" / "cifar100.pt").open("r+b") as file:
        file.seek(600_000)
        file.write(b"xx")
    code, out, _ = run_cli("check", tmp_path / "run", "--json")
    assert code == 0
    assert any(told in warning for warning in json.loads(out)["warnings"])
    written = write_package(tmp_path / "run", tmp_path / "entry.zip")
    assert any(told in warning for warning in written.warnings)


def test_rounds_keep_their_folders(tmp_path: Path) -> None:
    for number in (1, 2):
        write_set(tmp_path / "run" / f"round-{number}")
    written = write_package(tmp_path / "run", tmp_path / "entry.zip")
    assert written.files == ("round-1/cifar100.pt", "round-2/cifar100.pt")
    assert any("10 images a class only" in warning for warning in written.warnings)


def test_an_invalid_submission_is_not_packed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    torch.save(torch.rand(100, 3, 32, 32), tmp_path / "run" / "cifar100.pt")
    with pytest.raises(SubmissionError, match=r"not packed: .*never normalised"):
        write_package(tmp_path / "run", tmp_path / "entry.zip")
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    write_set(tmp_path / "run")
    (tmp_path / "entry.zip").write_text("mine")
    with pytest.raises(OutputError, match=r"entry\.zip is there already"):
        write_package(tmp_path / "run", tmp_path / "entry.zip")
    assert (tmp_path / "entry.zip").read_text() == "mine"
    with pytest.raises(SubmissionError, match="is no run folder"):
        write_package(tmp_path / "nowhere", tmp_path / "other.zip")


def test_the_command_says_what_it_wrote(tmp_path: Path, run_cli: CliRunner) -> None:
    write_set(tmp_path / "run")
    code, out, _ = run_cli("package", tmp_path / "run", "--json")
    document = json.loads(out.splitlines()[-1])
    assert code == 0
    assert document["path"] == str(tmp_path / "run.zip")
    assert document["files"] == ["cifar100.pt"]
    code, out, errors = run_cli("package", tmp_path / "run")
    assert code == 2
    assert "give --out a new file" in errors
