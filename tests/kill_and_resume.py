"""Kills real runs of the embedded model at random moments, resumes them, and checks what is left.

    python tests/kill_and_resume.py --kills 50 --limit-s 60

Each run is killed with SIGKILL again and again, at a random moment of each process's life, until
its time is nearly used up; then it is left to end. It must end VALID within its limit, by what it
counts itself and by what its killed processes have lived, and ``check`` must agree; unless it was
always killed before it had an image. Prints a line a run; exit code 1 when one failed.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).resolve().parent.parent / "run_challenge.py"


@dataclass
class Outcome:
    """One run: how often it was killed, how long its processes lived, and how it ended."""

    kills: int
    lived_s: float
    exit_code: int
    document: dict[str, Any]
    checked: str

    def faults(self, limit_s: float) -> list[str]:
        """What is not as it must be."""
        found: list[str] = []
        if "before the first image" in str(self.document.get("error")):
            return found  # killed again and again while it loaded: there is nothing to hand in
        if self.exit_code != 0 or self.document["verdict"] != "VALID":
            found.append(f"exit code {self.exit_code}, {self.document.get('error')}")
        elif self.document["elapsed_s"] > limit_s:
            found.append(f"{self.document['elapsed_s']:.2f} s of {limit_s:g}")
        entries = [self.document, *self.document.get("datasets", {}).values()]
        counted_s = sum(sum(entry["phases_s"].values()) for entry in entries)
        if counted_s < self.lived_s - self.kills - 2:  # for each process's last breath
            found.append(f"only {counted_s:.1f} s of its {self.lived_s:.1f} s of life are counted")
        if self.checked != "VALID":
            found.append(f"check says {self.checked}")
        return found


def run_once(
    run_dir: Path, arguments: list[str], kill_after_s: float | None
) -> tuple[int, str, float]:
    """Start a process, kill it after so long; its exit code, output and seconds of life."""
    command = [sys.executable, str(PROGRAM), "generate", *arguments, "--json"]
    with (run_dir.parent / f"{run_dir.name}.log").open("ab") as log:
        started_s = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            out, _ = process.communicate(timeout=kill_after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            out, _ = process.communicate()
        return process.returncode, out, time.monotonic() - started_s


def kill_and_resume(
    run_dir: Path, plan: list[str], rng: random.Random, limit_s: float, most_kills: int
) -> Outcome:
    """One run from its beginning through its deaths to its end."""
    arguments = [*plan, "--limit-s", str(limit_s), "--out", str(run_dir)]
    lived_s, kills = 0.0, 0
    while kills < most_kills and lived_s < 0.8 * limit_s:
        code, out, seconds = run_once(run_dir, arguments, rng.uniform(0.3, 0.6 * limit_s))
        lived_s += seconds
        if code != -signal.SIGKILL:
            break
        kills += 1
        if (run_dir / "run.json").exists():
            arguments = ["--resume", str(run_dir)]
        time.sleep(rng.choice([0.0, 0.2, 2.0]))  # before, while and after the guard packs
    else:
        code, out, seconds = run_once(run_dir, arguments, None)
        lived_s += seconds
    document = json.loads(out.splitlines()[-1]) if out else {"verdict": "nothing"}
    checked = subprocess.run(
        [sys.executable, str(PROGRAM), "check", str(run_dir), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    verdict = json.loads(checked.stdout.splitlines()[-1])["verdict"]
    return Outcome(kills, lived_s, code, document, verdict)


def main() -> int:
    """Run until so many kills are done; 1 when a run did not survive them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--limit-s", type=float, default=60.0)
    parser.add_argument("--dataset", default="cifar100")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, kills, failed, number = random.Random(options.seed), 0, 0, 0
    folder = Path(tempfile.mkdtemp(prefix="kill-and-resume-"))
    try:
        while kills < options.kills:
            number += 1
            run_dir = folder / f"run-{number}"
            plan = ["--model", "tiny", "--dataset", options.dataset]
            outcome = kill_and_resume(run_dir, plan, rng, options.limit_s, options.kills - kills)
            kills += outcome.kills
            faults = outcome.faults(options.limit_s)
            failed += bool(faults)
            document = outcome.document
            made = sum(entry["generated"] for entry in document.get("datasets", {}).values())
            sys.stdout.write(
                f"run {number}: {outcome.kills} kills, {outcome.lived_s:.1f} s of life in all, "
                f"{document['verdict']}, {document.get('elapsed_s', 0):.2f} of "
                f"{options.limit_s:g} s, {made} images{''.join('; ' + fault for fault in faults)}\n"
            )
            sys.stdout.flush()
            if not faults:
                shutil.rmtree(run_dir)
    finally:
        if failed:
            sys.stdout.write(f"what failed is kept in {folder}\n")
        else:
            shutil.rmtree(folder)
    sys.stdout.write(f"{kills} kills, {number} runs, {failed} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
