import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import CliRunner
from PIL import Image

from challenge.images import from_uint8
from challenge.journal import Journal
from challenge.spec import CIFAR100, TINYIMAGENET
from challenge.stop import StopRequest
from challenge.submission import normalize

ROOT = Path(__file__).resolve().parent.parent
TINY = ("--model", "tiny", "--limit-s", "120")


def test_the_file_is_the_normalised_images_in_class_order(tiny_run: Path) -> None:
    tensor = torch.load(tiny_run / "cifar100.pt", weights_only=True)
    journal = Journal.open(tiny_run / "cifar100.journal")
    expected = torch.cat([journal.read(index) for index in range(100)])
    assert tensor.shape == (200, 3, 32, 32)
    assert tensor.dtype == torch.float32
    assert torch.equal(tensor, normalize(from_uint8(expected), CIFAR100))


def test_the_record_says_where_each_second_went_and_what_is_in_the_file(tiny_run: Path) -> None:
    record = json.loads((tiny_run / "run.json").read_text())
    entry = record["datasets"]["cifar100"]
    phases = [*record["phases_s"].items(), *entry["phases_s"].items()]
    seconds = sum(seconds for name, seconds in phases if name != "records")
    assert seconds == pytest.approx(record["elapsed_s"], abs=0.05)
    assert entry["sha256"] == hashlib.sha256((tiny_run / "cifar100.pt").read_bytes()).hexdigest()
    assert (entry["images"], entry["ipc"], entry["generated_per_class"]) == (200, 2, 2)
    assert record["settings"]["seed"] == 0
    assert torch.__version__.startswith(record["machine"]["packages"]["torch"])
    assert record["elapsed_s"] < record["limit_s"]


def test_the_plan_stands_beside_what_came_of_it(tiny_run: Path) -> None:
    record = json.loads((tiny_run / "run.json").read_text())
    entry, beside = record["datasets"]["cifar100"], record["plan_vs_actual"]
    assert record["plan"]["measured"] is False
    assert record["plan"]["datasets"][0]["ipc"] == 2
    assert beside["datasets"]["cifar100"]["images"] == {"planned": 200, "made": 200}
    phases = beside["datasets"]["cifar100"]["phases_s"]
    assert phases.keys() == entry["phases_s"].keys() - {"records"}
    for name in phases:
        assert phases[name]["actual_s"] == entry["phases_s"][name]
    assert all(phases[name]["planned_s"] >= 0 for name in phases.keys() - {"state"})
    assert beside["phases_s"]["load"]["actual_s"] == record["phases_s"]["load"]


def test_the_second_run_is_planned_with_what_the_first_one_cost(
    run_cli: CliRunner, tmp_path: Path, cache_dir: Path
) -> None:
    plan = (*TINY, "--dataset", "cifar100", "--ipc", "2", "--augment", "none")
    records = []
    for name in ("first", "second"):
        code, out, errors = run_cli("generate", *plan, "--out", tmp_path / name)
        assert code == 0
        records.append(json.loads((tmp_path / name / "run.json").read_text()))
    first, second = records
    assert "plan, a guess" not in errors
    assert "planned images" in out
    assert not first["plan"]["measured"]
    assert second["plan"]["measured"]
    assert second["plan"]["basis"].startswith("measured here by a run on")
    assert second["plan"]["shared_s"]["import"] == first["phases_s"]["import"]
    made_per_s = first["datasets"]["cifar100"]["images_per_s"]
    assert second["plan"]["datasets"][0]["images_per_s"] == pytest.approx(made_per_s, rel=0.05)
    assert len(list(cache_dir.iterdir())) == 1


def test_a_damaged_calibration_is_a_warning_and_the_run_is_valid(
    run_cli: CliRunner, tmp_path: Path, cache_dir: Path
) -> None:
    plan = (*TINY, "--dataset", "cifar100", "--ipc", "1", "--batch-size", "20")
    assert run_cli("generate", *plan, "--out", tmp_path / "first")[0] == 0
    [calibration] = cache_dir.iterdir()
    whole = json.loads(calibration.read_text())
    calibration.write_text("{}")
    code, _, errors = run_cli("generate", *plan, "--out", tmp_path / "second")
    assert code == 0
    assert f"{calibration} is damaged" in errors
    assert "plan, a guess" in errors
    assert json.loads(calibration.read_text())["key"] == whole["key"]  # made whole again


def test_a_cache_that_cannot_be_written_is_a_warning_and_the_run_is_valid(
    run_cli: CliRunner, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    plan = (
        *TINY,
        "--dataset",
        "cifar100",
        "--ipc",
        "1",
        "--cache-dir",
        tmp_path / "file" / "cache",
    )
    code, out, errors = run_cli("generate", *plan, "--out", tmp_path / "run")
    assert code == 0, errors
    assert "warning: " in out
    assert "file/cache" in out


def test_a_run_that_was_stopped_leaves_no_costs_behind(
    run_cli: CliRunner, tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped_at_once() -> StopRequest:
        return StopRequest("SIGINT")

    monkeypatch.setattr("challenge.commands.generate.StopRequest", stopped_at_once)
    code, _, _ = run_cli("generate", *TINY, "--dataset", "cifar100", "--out", tmp_path / "run")
    assert code == 0
    assert not cache_dir.exists()


def test_a_resumed_run_has_no_plan_and_teaches_nothing(
    run_cli: CliRunner, tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = (*TINY, "--dataset", "cifar100", "--ipc", "2")
    assert run_cli("generate", *plan, "--out", tmp_path / "first")[0] == 0
    [calibration] = cache_dir.iterdir()
    before = calibration.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr("challenge.commands.generate.StopRequest", lambda: StopRequest("SIGINT"))
        assert run_cli("generate", *plan, "--out", tmp_path / "run")[0] == 0
    code, out, errors = run_cli("generate", "--resume", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert code == 0, errors
    assert (record["plan"], record["plan_vs_actual"]) == (None, None)
    assert "CIFAR-100" in out
    assert calibration.read_bytes() == before


def test_a_finished_run_is_told_again_and_left_as_it_is(tiny_run: Path, run_cli: CliRunner) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny_run.iterdir()}
    code, out, errors = run_cli("generate", "--resume", tiny_run, "--json")
    assert code == 0
    assert "is finished; nothing was made or changed" in errors
    assert json.loads(out.splitlines()[-1])["datasets"]["cifar100"]["generated"] == 200
    assert {path: path.stat().st_mtime_ns for path in tiny_run.iterdir()} == before


def test_the_log_has_a_line_for_each_event_in_order_of_time(tiny_run: Path) -> None:
    lines = [json.loads(line) for line in (tiny_run / "events.jsonl").read_text().splitlines()]
    names = [line["event"] for line in lines]
    times = [line["t_s"] for line in lines]
    assert names[0] == "RunPlanned"
    assert names[-1] == "DatasetFinished"
    assert times == sorted(times)
    assert sum(line["size"] for line in lines if line["event"] == "BatchFinished") == 200


def test_the_sidecar_names_the_class_of_each_label(tiny_run: Path) -> None:
    sidecar = json.loads((tiny_run / "cifar100.json").read_text())
    assert sidecar["label_order"] == "sorted"
    assert sidecar["classes"][20] == "chair"
    assert len(sidecar["classes"]) == 100


def test_the_contact_sheet_can_be_opened_and_is_no_blank(tiny_run: Path) -> None:
    with Image.open(tiny_run / "samples.png") as sheet:
        colours = sheet.convert("RGB").getcolors(maxcolors=10**6)
    assert colours is not None
    assert len(colours) > 1000


def test_check_finds_our_own_file_valid(tiny_run: Path, run_cli: CliRunner) -> None:
    code, out, _ = run_cli("check", tiny_run, "--json")
    document = json.loads(out.splitlines()[-1])
    assert code == 0
    assert document["verdict"] == "VALID"
    assert document["datasets"]["cifar100"]["ipc"] == 2


def test_same_seed_and_plan_same_file_and_another_seed_another(
    tiny_run: Path, run_cli: CliRunner, tmp_path: Path
) -> None:
    plan = (*TINY, "--dataset", "cifar100", "--ipc", "1", "--batch-size", "10", "--json")
    hashes = []
    for name, seed in [("a", "0"), ("b", "0"), ("c", "1")]:
        code, _, _ = run_cli("generate", *plan, "--seed", seed, "--out", tmp_path / name)
        assert code == 0
        hashes.append(hashlib.sha256((tmp_path / name / "cifar100.pt").read_bytes()).hexdigest())
    assert hashes[0] == hashes[1] != hashes[2]


def test_both_sets_within_one_limit_and_with_variants(run_cli: CliRunner, tmp_path: Path) -> None:
    code, out, _ = run_cli(
        "generate", "--model", "tiny", "--dataset", "all", "--limit-covers", "all",
        "--limit-s", "40", "--clock", "generation", "--json", "--out", tmp_path / "run",
    )  # fmt: skip
    document = json.loads(out.splitlines()[-1])
    assert code == 0, document
    assert document["verdict"] == "VALID"
    assert document["elapsed_s"] <= 40
    for spec in (CIFAR100, TINYIMAGENET):
        entry = document["datasets"][spec.name]
        tensor = torch.load(entry["path"], weights_only=True, mmap=True)
        assert tensor.shape == (entry["images"], *spec.image_shape)
        assert entry["images"] == entry["ipc"] * spec.num_classes
        assert entry["ipc"] > entry["generated_per_class"] >= 1
    assert set(document["datasets"]) == {"cifar100", "tinyimagenet"}


def test_the_generation_clock_starts_after_loading(run_cli: CliRunner, tmp_path: Path) -> None:
    code, _, _ = run_cli(
        "generate",
        *TINY,
        "--dataset",
        "cifar100",
        "--ipc",
        "1",
        "--clock",
        "generation",
        "--json",
        "--out",
        tmp_path / "run",
    )
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    clocks = record["elapsed_by_clock_s"]
    before = sum(
        seconds for name, seconds in record["phases_s"].items() if name not in ("other", "records")
    )
    assert code == 0
    assert record["elapsed_s"] == clocks["generation"]
    assert clocks["process"] - clocks["generation"] == pytest.approx(before, abs=0.05)


def test_without_json_the_panel_says_valid_and_where_to_look(
    run_cli: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, errors = run_cli("generate", *TINY, "--dataset", "cifar100", "--ipc", "1")
    run_dir = next((tmp_path / "submissions").iterdir())
    assert code == 0
    assert "VALID" in out
    assert f"submissions/{run_dir.name}/cifar100.pt: 1 images a class, 100 in all" in out
    assert f"submissions/{run_dir.name}/samples.png" in out
    assert "tiny is a small model" in errors


def test_rounds_are_runs_of_their_own_with_seeds_that_count_up(
    run_cli: CliRunner, tmp_path: Path
) -> None:
    plan = (*TINY, "--dataset", "cifar100", "--ipc", "1", "--json")
    code, out, _ = run_cli(
        "generate", *plan, "--rounds", "2", "--seed", "5", "--out", tmp_path / "r"
    )
    document = json.loads(out.splitlines()[-1])
    assert code == 0
    assert (document["verdict"], len(document["rounds"])) == ("VALID", 2)
    records = [json.loads((tmp_path / f"r/round-{n}/run.json").read_text()) for n in (1, 2)]
    assert [record["settings"]["seed"] for record in records] == [5, 6]
    assert all(record["elapsed_s"] < record["limit_s"] for record in records)
    assert records[1]["clock"]["zero"] == "start of the command"
    shas = [entry["datasets"]["cifar100"]["sha256"] for entry in records]
    assert shas[0] != shas[1]
    code, out, _ = run_cli("check", tmp_path / "r", "--json")
    assert (code, json.loads(out.splitlines()[-1])["verdict"]) == (0, "VALID")


def test_rounds_that_cannot_begin_leave_no_folder(run_cli: CliRunner, tmp_path: Path) -> None:
    plan = (*TINY, "--dataset", "cifar100", "--rounds", "2", "--limit-s", "0.01")
    code, _, errors = run_cli("generate", *plan, "--out", tmp_path / "r")
    assert code == 1
    assert "raise --limit-s" in errors
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_ctrl_c_ends_in_a_valid_submission(tmp_path: Path) -> None:
    with start_run(tmp_path, "--limit-s", "300") as process:
        wait_for_event(tmp_path / "run" / "events.jsonl", "BatchFinished")
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    document = json.loads(out.splitlines()[-1])
    assert process.returncode == 0, errors
    assert (document["verdict"], document["stopped_by"]) == ("VALID", "SIGINT")
    assert document["elapsed_s"] < 300


@pytest.mark.slow
@pytest.mark.usefixtures("hangups")
def test_a_run_whose_output_nobody_reads_goes_on_and_ends_when_its_terminal_closes(
    tmp_path: Path,
) -> None:
    with start_run(tmp_path, "--limit-s", "300") as process:
        assert process.stdout
        assert process.stderr
        wait_for_event(tmp_path / "run" / "events.jsonl", "RunPlanned")
        process.stdout.close()
        process.stderr.close()
        wait_for_event(tmp_path / "run" / "events.jsonl", "BatchFinished")
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=60) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["verdict"], record["stopped_by"]) == ("VALID", "SIGHUP")


@pytest.mark.slow
def test_a_second_signal_ends_the_run_at_once(tmp_path: Path) -> None:
    with start_run(tmp_path, "--limit-s", "300") as process:
        wait_for_event(tmp_path / "run" / "events.jsonl", "RunPlanned")
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_run_that_was_killed_is_resumed_to_the_same_file(
    run_cli: CliRunner, tmp_path: Path
) -> None:
    plan = ("--ipc", "4", "--limit-s", "300")
    with start_run(tmp_path, *plan) as process:
        wait_for_event(tmp_path / "run" / "events.jsonl", "FileWritten")
        process.kill()
    code, out, errors = run_cli("generate", "--resume", tmp_path / "run", "--json")
    resumed = json.loads(out.splitlines()[-1])
    assert code == 0, errors
    assert resumed["phases_s"]["earlier_processes"] > 1
    assert sum(resumed["phases_s"].values()) >= resumed["elapsed_s"] - 60
    code, out, _ = run_cli(
        "generate", *TINY, "--dataset", "cifar100", *plan, "--json", "--out", tmp_path / "whole"
    )
    assert code == 0
    files = [(tmp_path / name / "cifar100.pt").read_bytes() for name in ("run", "whole")]
    assert hashlib.sha256(files[0]).digest() == hashlib.sha256(files[1]).digest()
    assert not list((tmp_path / "run").glob(".*"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--seed", "1"), "--seed 0, not 1"),
        (("--model", "sdxl-turbo"), "--model tiny, not sdxl-turbo"),
        (("--dataset", "tinyimagenet"), "--dataset cifar100, not tinyimagenet"),
        (("--ipc", "3"), "--ipc 2, not 3"),
        (("--out", "elsewhere"), "not elsewhere; leave --out away"),
    ],
)
def test_a_run_is_not_resumed_as_another(
    tiny_run: Path, run_cli: CliRunner, flags: tuple[str, str], message: str
) -> None:
    before = (tiny_run / "run.json").read_bytes()
    code, _, errors = run_cli("generate", "--resume", tiny_run, *flags)
    assert code == 2
    assert message in errors
    assert errors.count("\n") == 1
    assert (tiny_run / "run.json").read_bytes() == before


@pytest.mark.slow
def test_a_resume_that_cannot_be_names_the_file_that_stands(
    run_cli: CliRunner, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    with start_run(tmp_path, "--limit-s", "300") as process:
        wait_for_event(run_dir / "events.jsonl", "FileWritten")
        process.kill()
    journal = bytearray((run_dir / "cifar100.journal").read_bytes())
    journal[len(journal) // 2] ^= 0xFF
    (run_dir / "cifar100.journal").write_bytes(journal)
    code, out, _ = run_cli("generate", "--resume", run_dir, "--json")
    record = json.loads((run_dir / "run.json").read_text())
    assert (code, json.loads(out.splitlines()[-1])["verdict"]) == (1, "INVALID")
    ipc = json.loads((run_dir / "state.json").read_text())["datasets"]["cifar100"]["standing"][
        "file"
    ]["ipc"]
    assert f"cifar100.pt, made before, still stands: {ipc} images a class" in record["warnings"][0]


@pytest.mark.slow
def test_a_run_that_is_stopped_past_its_deadline_has_the_guards_file(tmp_path: Path) -> None:
    with start_run(tmp_path, "--clock", "generation", "--limit-s", "8") as process:
        wait_for_event(tmp_path / "run" / "events.jsonl", "FileWritten")
        process.send_signal(signal.SIGSTOP)
        wait_for_file(tmp_path / "run" / "guard-cifar100.json")
        packed = json.loads((tmp_path / "run" / "guard-cifar100.json").read_text())
        time.sleep(2.0)  # past the deadline
        process.send_signal(signal.SIGCONT)
        out, errors = process.communicate(timeout=60)
    document = json.loads(out.splitlines()[-1])
    assert process.returncode == 0, errors
    assert (document["verdict"], document["late_s"]) == ("VALID", 0)
    assert "last safe moment" in packed["why"]
    if packed["error"] is None:
        assert document["datasets"]["cifar100"]["images"] == packed["images"]
    assert document["elapsed_s"] <= 8


@pytest.mark.slow
def test_a_second_run_in_the_same_folder_is_refused(run_cli: CliRunner, tmp_path: Path) -> None:
    with start_run(tmp_path, "--limit-s", "300") as process:
        wait_for_event(tmp_path / "run" / "events.jsonl", "RunPlanned")
        code, _, errors = run_cli("generate", *TINY, "--out", tmp_path / "run")
        process.kill()
    assert code == 2
    assert "another run is working in it" in errors


@pytest.mark.slow
def test_a_resume_that_waited_for_the_end_of_the_run_leaves_it_as_it_is(
    run_cli: CliRunner, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    with start_run(tmp_path, "--limit-s", "120", "--ipc", "1") as process:
        wait_for_event(run_dir / "events.jsonl", "DatasetStarted")
        code, _, errors = run_cli("generate", "--resume", run_dir)
        process.communicate(timeout=60)
    assert code == 0
    assert f"another process is working in {run_dir}; waiting 30 s for it" in errors
    assert "is finished; nothing was made or changed" in errors
    assert json.loads((run_dir / "run.json").read_text())["plan"] is not None


def start_run(tmp_path: Path, *flags: str) -> subprocess.Popen[str]:
    """A run of the embedded model in a process of its own."""
    command = [
        sys.executable,
        str(ROOT / "run_challenge.py"),
        "generate",
        "--model",
        "tiny",
        "--dataset",
        "cifar100",
    ]
    return subprocess.Popen(
        [*command, *flags, "--out", str(tmp_path / "run"), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def wait_for_event(log: Path, name: str) -> None:
    """Wait until the run has logged this event, at most a minute."""
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        if log.exists() and f'"{name}"' in log.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"no {name} in {log}")


def wait_for_file(path: Path) -> None:
    """Wait until there is such a file, at most a minute."""
    deadline_s = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline_s, f"no {path}"
        time.sleep(0.05)
