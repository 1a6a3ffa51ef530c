"""The ``benchmark`` command: images per second of this machine, in tables and a record.

python run_challenge.py benchmark --model tiny
python run_challenge.py benchmark --weights random --decoders vae thumbnail --resolutions 512 384
python run_challenge.py benchmark --preset full-size --out measured
"""

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from challenge.clock import RunClock
from challenge.commands.benchmark_screen import show_gpus, show_preset, show_tables, tables_text
from challenge.console import RunView, write_document
from challenge.errors import GenerationError, OutputError
from challenge.events import Notice
from challenge.records import explaining_os_errors, require_writable, run_folder, write_json
from challenge.settings import BenchmarkSettings

if TYPE_CHECKING:
    from challenge.benchmarks.measure import Measurement, Say


def benchmark(settings: BenchmarkSettings, clock: RunClock) -> int:
    """Run the command; returns the exit code."""
    if settings.record is not None:
        _require_new_file(settings.record)
    with RunView(clock) as view:
        if settings.preset:
            document, show = _measure_preset(settings, clock, view), show_preset
        elif settings.all_gpus:
            document, show = _measure_all_gpus(settings, view), show_gpus
        else:
            document, show = _measurement(settings, clock, view).document(), show_tables
    if settings.json:
        write_document(document)
    else:
        show(document)
    if settings.record is not None:
        with explaining_os_errors(settings.record):
            write_json(settings.record, document)
    return 0


def _require_new_file(path: Path) -> None:
    if path.exists():
        raise OutputError(f"{path} exists; give --record a new file")
    with explaining_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        require_writable(path.parent)


def _teller(view: RunView) -> "Say":
    return lambda text: view.show(Notice(text))


def _measurement(settings: BenchmarkSettings, clock: RunClock, view: RunView) -> "Measurement":
    """What measures, on the device that was found; says what makes numbers doubtful."""
    say = _teller(view)
    say("importing torch and diffusers")
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch.profiler's own lines are no result
    import torch

    from challenge.benchmarks.measure import Measurement
    from challenge.environment import device_title, resolve_device
    from challenge.generators.quantized import check_quantize

    device = resolve_device(settings.device)
    for name in settings.quantize:
        check_quantize(name, device, torch.bfloat16)  # what another dtype cannot do is a row
    say(f"device {device} ({device_title(device)})")
    measurement = Measurement.of(settings, device, clock, say)
    if note := measurement.bench.stopwatch.meter.note:
        say(note)
    for warning in measurement.warnings():
        view.show(Notice(warning, "warning"))
    return measurement


def _measure_preset(settings: BenchmarkSettings, clock: RunClock, view: RunView) -> dict[str, Any]:
    """Everything, within the time; the files are written as it goes."""
    with run_folder(settings.out or _default_out(), resume=False) as folder:
        measurement = _measurement(settings, clock, view)
        from challenge.benchmarks.full_size import FullSize

        def write_table(document: dict[str, Any]) -> None:
            (folder / "table.md").write_text(tables_text(document), encoding="utf-8")

        with explaining_os_errors(folder):
            document = FullSize(measurement, folder, _teller(view)).run(write_table)
    if not any(row["images_per_s"] for row in document["rows"]):
        raise GenerationError(f"no row was measured; {folder}/results.json says why")
    return {**document, "folder": str(folder)}


def _default_out() -> Path:
    moment = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    return Path("submissions") / f"{moment}-benchmark"


def _measure_all_gpus(settings: BenchmarkSettings, view: RunView) -> dict[str, Any]:
    """The same on each GPU, in processes of their own."""
    from torch.cuda import device_count

    from challenge.benchmarks.all_gpus import measure_all

    return measure_all(settings, device_count(), _teller(view))
