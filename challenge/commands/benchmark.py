"""The ``benchmark`` command: images per second of this machine, in a table and a record.

python run_challenge.py benchmark --model tiny
python run_challenge.py benchmark --batch-sizes 8 16 32 --record submissions/benchmarks/mine.json
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from challenge.clock import RunClock
from challenge.console import RunView, make_table, results, write_document
from challenge.errors import OutputError
from challenge.events import Notice
from challenge.prompts import find_prompts_dir, load_prompt_book
from challenge.records import SCHEMA_VERSION, explaining_os_errors, require_writable, write_json
from challenge.settings import BenchmarkSettings
from challenge.spec import DATASETS

if TYPE_CHECKING:
    from challenge.benchmark import BenchmarkRow


def benchmark(settings: BenchmarkSettings, clock: RunClock) -> int:
    """Run the command; returns the exit code."""
    if settings.record is not None and settings.record.exists():
        raise OutputError(f"{settings.record} exists; give --record a new file")
    if settings.record is not None:
        with explaining_os_errors(settings.record):
            settings.record.parent.mkdir(parents=True, exist_ok=True)
            require_writable(settings.record.parent)
    with RunView(clock) as view:
        document = _measure(settings, view)
    if settings.json:
        write_document(document)
    else:
        _show(document)
    if settings.record is not None:
        with explaining_os_errors(settings.record):
            write_json(settings.record, document)
    return 0


def _measure(settings: BenchmarkSettings, view: RunView) -> dict[str, Any]:
    """Load the model twice (ours and the plain pipeline), sweep, compare, record."""
    view.show(Notice("importing torch and diffusers"))
    from challenge.benchmark import Workload, best_row, compare, measure_ceiling, sweep
    from challenge.environment import describe_machine, device_title, resolve_device, resolve_dtype
    from challenge.generators.loading import load_generator, load_plain_pipeline

    device = resolve_device(settings.device)
    dtype = resolve_dtype(settings.dtype, device)
    spec = DATASETS[settings.dataset]
    book = load_prompt_book(spec, find_prompts_dir(None))
    generator = load_generator(settings.model, device=device, dtype=dtype)
    prompts = book.all_prompts()
    generator.encode_prompts(prompts)
    resolution = generator.image_size(spec.image_size)
    work = Workload(prompts, settings.seed, resolution, spec.image_size, device, dtype)

    def tell(row: "BenchmarkRow") -> None:
        view.show(Notice(_line(row)))

    view.show(
        Notice(f"device {device} ({device_title(device)}), {work.dtype_name}, {resolution} px")
    )
    ceiling = measure_ceiling(generator, work)
    rows = sweep(generator, work, ceiling, settings.batch_sizes, settings.seconds_per_row, tell)
    best = best_row(rows)
    pipe = load_plain_pipeline(settings.model, device=device, dtype=dtype)
    baselines = compare(
        generator, pipe, work, ceiling, best.batch_size, settings.seconds_per_row, tell
    )
    return {
        "schema_version": SCHEMA_VERSION,
        "device": device_title(device),
        "rows": [asdict(row) for row in rows],
        "best": asdict(best),
        "baselines": [asdict(row) for row in baselines],
        "ceiling_images_per_s": ceiling.images_per_s,
        "ceiling_tflops": ceiling.tflops,
        "tflop_per_image": ceiling.tflop_per_image,
        "settings": asdict(settings),
        "generator": asdict(generator.description),
        "machine": describe_machine(device),
    }


def _line(row: "BenchmarkRow") -> str:
    """A row in words, for the log while measuring."""
    if row.error:
        return f"{row.method}, batch {row.batch_size}: {row.error}"
    return f"{row.method}, batch {row.batch_size}: {row.images_per_s:.1f} images/s"


def _show(document: dict[str, Any]) -> None:
    """The tables: the sweep, then our best and the plain pipeline side by side."""
    headings = ("", "batch", "images/s", "IQR", "TFLOP/s", "of ceiling", "GPU GiB", "warm-up s")
    console = results()
    console.print(make_table(headings, [_cells(row) for row in document["rows"]]))
    console.print(make_table(headings, [_cells(row) for row in document["baselines"]]))
    ours, once, batched = (row["images_per_s"] for row in document["baselines"])
    if ours and once and batched:
        console.print(
            f"ours is {ours / once:.1f} times the pipeline once per image, "
            f"{ours / batched:.1f} times the pipeline in batches, in turns in one run"
        )
    console.print(
        f"ceiling of this device {document['ceiling_images_per_s']:.0f} images/s "
        f"({document['ceiling_tflops']:.3g} TFLOP/s, "
        f"{document['tflop_per_image']:.3g} TFLOP an image)"
    )


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    if row["error"]:
        return (row["method"], str(row["batch_size"]), row["error"], "", "", "", "", "")
    peak = "" if row["peak_gib"] is None else f"{row['peak_gib']:.2f}"
    return (
        row["method"],
        str(row["batch_size"]),
        f"{row['images_per_s']:.1f}",
        f"{row['images_per_s_iqr']:.1f}",
        f"{row['tflops']:.3f}",
        f"{row['ceiling_share']:.0%}",
        peak,
        f"{row['warm_up_s']:.2f}",
    )
