"""All there is to know of a machine's speed in one call: ``benchmark --preset full-size``.

Meant for a GPU that is lent for ten minutes: it needs no download, keeps its time, and what it
has found so far is on disk after every part. The parts stand in the order of their worth; seconds
below are of a budget of 600 and scale with it.

    results.json   everything, also of the parts that failed or were left out
    table.md       the rows, for a README
    profile.txt    the costliest operations of ten batches
    generate.json  the record of the real run
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from challenge.benchmarks import child
from challenge.benchmarks.equality import compare_samplers, library_way
from challenge.benchmarks.evaluator import time_plain_step, time_protocol
from challenge.benchmarks.measure import Measurement, Say, dtype_name
from challenge.benchmarks.parts import Entry, Part, run_parts
from challenge.benchmarks.rows import BenchmarkRow, Variant, best_row
from challenge.environment import describe_machine, device_title, resolve_dtype
from challenge.errors import GenerationError, OutputError
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.records import SCHEMA_VERSION, write_json
from challenge.settings import BenchmarkSettings
from challenge.spec import DATASETS, OFFICIAL_IPC, ProtocolName

FULL_BUDGET_S = 600.0  # what the seconds of the parts are of
GENERATE_S = 120.0  # the limit of the real run
LONGEST_CALL_S = 3.0  # a larger batch than one that took so long is not tried
BATCH_SIZES = (1, 8, 32, 64, 128)  # where none are given
BASELINE_BATCH = 32  # at most: the pipeline decodes in float32
SAMPLER_BATCH = 2
RESOLUTIONS = (384, 256)
DECODERS = ("thumbnail", "vae", "taesdxl")
OTHER_DTYPES = {"cuda": ("bfloat16",), "cpu": ("bfloat16",)}
MANY_IMAGES = 100_000  # of the set for the short protocol
MODEL_ROOM = 1.2  # of the model's bytes must be free on disk

# what the document holds of the comparison, and what until there is one
BASELINES: tuple[tuple[str, Any], ...] = (
    ("baselines", []),
    ("speed_ups", []),
    ("ceiling_images_per_s", None),
    ("tflop_per_image", None),
)

WriteTable = Callable[[dict[str, Any]], None]


class FullSize:
    """The parts, what they share, and what they have found so far."""

    def __init__(self, measurement: Measurement, folder: Path, say: Say) -> None:
        settings = measurement.settings
        self.scale = settings.budget_s / FULL_BUDGET_S
        bench = replace(
            measurement.bench,
            seconds_per_row=settings.seconds_per_row * min(1.0, self.scale),
            longest_call_s=LONGEST_CALL_S * self.scale,
        )
        self._measurement = replace(measurement, bench=bench)
        self._settings, self._folder, self._say = settings, folder, say
        self._device = measurement.source.device
        self._spec = DATASETS[settings.dataset]
        self._machine = describe_machine(self._device)
        self._dtype = resolve_dtype(settings.dtypes[0], self._device)

    def run(self, write_table: WriteTable) -> dict[str, Any]:
        """Run the parts; returns the last state of results.json."""

        def keep(entries: dict[str, Entry]) -> None:
            document = self._document(entries)
            write_json(self._folder / "results.json", document)
            write_table(document)

        end_s = self._settings.budget_s
        entries = run_parts(self._parts(), self._measurement.clock, end_s, self._say, keep)
        return self._document(entries)

    def _parts(self) -> list[Part]:
        def part(name: str, needs_s: float, most_s: float, run: Callable[[float], Entry]) -> Part:
            return Part(name, needs_s * self.scale, most_s * self.scale, run)

        few = OFFICIAL_IPC * self._spec.num_classes
        return [
            part("rows", 15, 120, self._rows),
            part("sampler", 15, 60, self._sampler),
            part("baselines", 15, 60, self._baselines),
            part("generate", GENERATE_S + 45, GENERATE_S + 80, self._generate),
            part("profile", 10, 45, self._profile),
            part("official evaluation", 10, 90, partial(self._evaluate, "official", few)),
            part("plain evaluation step", 10, 40, self._plain_step),
            part("short evaluation", 10, 90, partial(self._evaluate, "short", MANY_IMAGES)),
            part("resolutions", 10, 60, self._resolutions),
            part("compile", 60, 110, self._compile),
            part("dtypes", 15, 60, self._dtypes),
        ]

    def _document(self, entries: dict[str, Entry]) -> dict[str, Any]:
        measurement = self._measurement
        rows = measurement.rows
        return {
            "schema_version": SCHEMA_VERSION,
            "device": device_title(self._device),
            "rows": [asdict(row) for row in rows],
            "best": asdict(best_row(rows)) if rows else None,
            **{key: entries.get("baselines", {}).get(key, default) for key, default in BASELINES},
            "ceiling_tflops": measurement.ceilings_tflops,
            "start_s": asdict(measurement.start),
            "parts": entries,
            "elapsed_s": measurement.clock(),
            "settings": asdict(self._settings),
            "machine": self._machine,
        }

    def _rows(self, seconds: float) -> Entry:
        """Every decoder at every batch size, at the model's own resolution."""
        side = self._measurement.own_resolution(self._dtype)
        given = self._settings.batch_sizes
        sizes = BATCH_SIZES if given == BenchmarkSettings.batch_sizes else given
        for decoder in DECODERS:
            variant = Variant(dtype_name(self._dtype), side, decoder)
            self._measurement.sweep_one(variant, sizes)
        return {}

    def _resolutions(self, seconds: float) -> Entry:
        """Smaller images, the two decoders that matter, at the best batch size and twice that."""
        best = self._best()
        own = self._measurement.own_resolution(self._dtype)
        for side in (each for each in RESOLUTIONS if each < own):
            for decoder in DECODERS[:2]:
                variant = replace(best.variant, resolution=side, decoder=decoder)
                self._measurement.sweep_one(variant, (best.batch_size, 2 * best.batch_size))
        return {"skipped": "the model draws small images already"} if own < 256 else {}

    def _compile(self, seconds: float) -> Entry:
        """The best row with the UNet's blocks compiled; the seconds are in its first call."""
        best = self._best()
        self._measurement.sweep_one(replace(best.variant, compile=True), (best.batch_size,))
        return {}

    def _dtypes(self, seconds: float) -> Entry:
        """The best row in the other half-precision format."""
        best = self._best()
        for name in OTHER_DTYPES[self._device.type]:
            self._measurement.sweep_one(replace(best.variant, dtype=name), (best.batch_size,))
        return {}

    def _best(self) -> BenchmarkRow:
        rows = [row for row in self._measurement.rows if not row.error]
        if not rows:
            raise GenerationError("no row was measured to go on from")
        return best_row(rows)

    def _sampler(self, seconds: float) -> Entry:
        """Our sampler beside the library's, with the same weights, in each dtype."""
        found = []
        self._measurement.release()
        for name in dict.fromkeys((dtype_name(self._dtype), *OTHER_DTYPES[self._device.type])):
            found.append(self._compare_samplers(resolve_dtype(name, self._device)))
        return {"differences": found}

    def _compare_samplers(self, dtype: torch.dtype) -> dict[str, Any]:
        source, work = self._measurement.source, self._measurement.bench.work
        pipe = source.pipeline(dtype)
        side = pipe.unet.config.sample_size * pipe.vae_scale_factor
        theirs = library_way(pipe, work, SAMPLER_BATCH, side)
        generator = OneStepGenerator(pipe, source.description(dtype))
        prompts, _ = work.batch(SAMPLER_BATCH)
        generator.encode_prompts(prompts)
        return asdict(compare_samplers(generator, theirs, work, SAMPLER_BATCH, side))

    def _baselines(self, seconds: float) -> Entry:
        """The best row again, in turns with the plain pipeline."""
        best = self._best()
        return self._measurement.compare(best, min(best.batch_size, BASELINE_BATCH))

    def _profile(self, seconds: float) -> Entry:
        best = self._best()
        with TemporaryDirectory(prefix="benchmark-") as folder:
            found = asdict(self._measurement.profile(best, Path(folder)))
        (self._folder / "profile.txt").write_text(found.pop("table"), encoding="utf-8")
        return found

    def _evaluate(self, protocol: ProtocolName, images: int, seconds: float) -> Entry:
        self._measurement.release()
        return time_protocol(self._spec, protocol, images, self._device, seconds)

    def _plain_step(self, seconds: float) -> Entry:
        return time_plain_step(self._spec, self._device)

    def _generate(self, seconds: float) -> Entry:
        """A real run in a process of its own, from a folder that holds the random model."""
        self._measurement.release()
        started_s = self._measurement.clock()
        model, run_dir = self._settings.model, self._folder / "run"
        saved = self._folder / "model"
        try:
            if self._measurement.source.random_weights:
                self._save_model(saved)
                model = str(saved)
            process = child.start(self._run_arguments(model, run_dir))
            left_s = seconds - (self._measurement.clock() - started_s)
            document = child.finish(process, timeout_s=left_s)
            record = run_dir / "run.json"
            if record.exists():
                shutil.copyfile(record, self._folder / "generate.json")
        finally:
            for leftover in (saved, run_dir, self._folder / "cache"):
                shutil.rmtree(leftover, ignore_errors=True)
        return document

    def _run_arguments(self, model: str, run_dir: Path) -> list[str]:
        """Its cache is its own, so that it neither knows nor teaches other runs anything."""
        limit = f"{GENERATE_S * self.scale:g}"
        return [
            *("generate", "--model", model, "--dataset", self._settings.dataset),
            *("--limit-s", limit, "--device", str(self._device), "--out", str(run_dir)),
            *("--cache-dir", str(self._folder / "cache"), "--json"),
        ]

    def _save_model(self, folder: Path) -> None:
        """Write the random pipeline to disk, as a model that was downloaded lies there."""
        pipe = self._measurement.source.pipeline(self._dtype)
        parts = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
        size = sum(
            each.numel() * each.element_size() for part in parts for each in part.parameters()
        )
        free = shutil.disk_usage(self._folder).free
        if free < MODEL_ROOM * size:
            raise OutputError(
                f"{self._folder}: {free / 2**30:.1f} GiB free, and the model takes "
                f"{size / 2**30:.1f}; give --out a folder on a larger disk"
            )
        pipe.save_pretrained(folder, variant="fp16" if self._dtype == torch.float16 else None)
