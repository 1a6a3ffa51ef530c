"""One benchmark from its start to its document: all combinations asked for, then the baselines."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from challenge.benchmarks.models import Source, use_decoder
from challenge.benchmarks.profiling import Loop, LoopProfile, ShortBook, profile_loop
from challenge.benchmarks.rows import BenchmarkRow, Ceiling, Variant, best_row, failed_row
from challenge.benchmarks.sweep import OURS, OUT_OF_MEMORY, Bench, Way
from challenge.benchmarks.timing import Stopwatch
from challenge.benchmarks.work import Workload, matrix_tflops, our_call, tflop_per_image
from challenge.budget import Clock
from challenge.environment import describe_machine, device_title, resolve_dtype
from challenge.errors import GenerationError, WeightsError
from challenge.generators.compiled_blocks import compile_blocks
from challenge.generators.quantized import quantize
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.prompts import PromptBook, find_prompts_dir, load_prompt_book
from challenge.quantizing import IMAGES
from challenge.records import SCHEMA_VERSION
from challenge.settings import BenchmarkSettings, QuantizeName
from challenge.spec import DATASETS

Say = Callable[[str], None]


@dataclass
class Start:
    """Seconds after the start of the process at which each step of the first batch was done."""

    imported_s: float
    loaded_s: float | None = None
    encoded_s: float | None = None
    first_batch_s: float | None = None


@dataclass
class Measurement:
    """What is measured, and how; the models are loaded one at a time."""

    settings: BenchmarkSettings
    source: Source
    bench: Bench
    clock: Clock
    start: Start
    book: PromptBook
    rows: list[BenchmarkRow] = field(default_factory=list)
    ceilings_tflops: dict[str, float] = field(default_factory=dict)
    damages: dict[str, dict[str, Any]] = field(default_factory=dict)
    _held: tuple[tuple[torch.dtype, bool, QuantizeName], OneStepGenerator, float] | None = None

    @classmethod
    def of(
        cls, settings: BenchmarkSettings, device: torch.device, clock: Clock, say: Say
    ) -> "Measurement":
        """For the settings; raises ``PromptError`` for a prompt book that is not right."""
        spec = DATASETS[settings.dataset]
        book = load_prompt_book(spec, find_prompts_dir(None))
        work = Workload(ShortBook(book).all_prompts(), settings.seed, spec.image_size)
        bench = Bench(
            Stopwatch.on(device), work, settings.seconds_per_row, lambda row: say(line(row))
        )
        source = Source(settings.model, settings.random_weights, device)
        return cls(settings, source, bench, clock, Start(clock()), book)

    def warnings(self) -> list[str]:
        """What makes the numbers doubtful; ask before the GPU is used."""
        others = self.bench.stopwatch.meter.other_processes()
        if not others:
            return []
        ids = ", ".join(map(str, others[:5]))
        return [
            f"{len(others)} other processes compute on {self.source.device} (process {ids}): the "
            "numbers are too low; end them first"
        ]

    def load(
        self, dtype: torch.dtype, *, compiled: bool = False, quantized: QuantizeName = "none"
    ) -> tuple[OneStepGenerator, float]:
        """The generator with the prompts encoded, and the seconds of its loading.

        One is held at a time, for the next who wants it; a caller is not to keep it.
        """
        key = (dtype, compiled, quantized)
        if self._held is None or self._held[0] != key:
            self.release()
            generator, load_s = self.source.generator(dtype)
            self.start.loaded_s = self.start.loaded_s or self.clock()
            generator.encode_prompts(self.bench.work.prompts)
            generator.release_text_encoders()
            self.start.encoded_s = self.start.encoded_s or self.clock()
            if self.start.first_batch_s is None:
                our_call(generator, self.bench.work, min(self.settings.batch_sizes))()
                self.start.first_batch_s = self.clock()
            if quantized != "none":
                self._quantize(generator, quantized)
            if compiled:
                compile_blocks(generator.unet)
            self._held = key, generator, load_s
        _, generator, load_s = self._held
        return generator, load_s

    def _quantize(self, generator: OneStepGenerator, name: QuantizeName) -> None:
        """Quantize the UNet; what that did to a few images is a part of the document."""
        prompts, seeds = self.bench.work.batch(IMAGES)
        targets = [self.bench.work.target_size]
        damage = quantize(generator, name, prompts, seeds, targets)
        self.damages[f"{name}, {generator.description.dtype}"] = asdict(damage)

    def release(self) -> None:
        """Free the model and what it used of the GPU."""
        self._held = None
        if self.source.device.type == "cuda":
            torch.cuda.empty_cache()

    def ceiling(self, generator: OneStepGenerator, dtype: torch.dtype) -> Ceiling:
        """This device's in this dtype, and what an image costs with the decoder in use."""
        name = dtype_name(dtype)
        if name not in self.ceilings_tflops:
            self.ceilings_tflops[name] = matrix_tflops(self.bench.stopwatch, dtype)
        return Ceiling(self.ceilings_tflops[name], tflop_per_image(generator, self.bench.work))

    def sweep(self) -> None:
        """Add the rows of every combination that was asked for.

        Raises ``GenerationError`` when not one batch of one of them could be made.
        """
        device = self.source.device
        dtypes = dict.fromkeys(resolve_dtype(name, device) for name in self.settings.dtypes)
        for dtype in dtypes:
            variants = self._variants(dtype)
            ways = itertools.product(
                dict.fromkeys(self.settings.quantize),
                dict.fromkeys(self.settings.compile),
                variants,
            )
            for quantized, compiled, variant in ways:
                one = replace(variant, compile=compiled == "on", quantize=quantized)
                self.sweep_one(one, self.settings.batch_sizes)
        if all(row.error for row in self.rows):
            error = self.rows[0].error
            if error == OUT_OF_MEMORY:
                error += "; free the device, or take a smaller model or batch"
            raise GenerationError(f"no row could be measured, the first since: {error}")

    def _variants(self, dtype: torch.dtype) -> list[Variant]:
        sides = self.settings.resolutions or (self.own_resolution(dtype),)
        return [
            Variant(dtype_name(dtype), side, decoder)
            for side, decoder in itertools.product(sides, self.settings.decoders)
        ]

    def own_resolution(self, dtype: torch.dtype) -> int:
        """The side of a full image that the model was made for."""
        generator, _ = self.load(dtype)
        return generator.resolution(self.bench.work.target_size)

    def sweep_one(self, variant: Variant, batch_sizes: Sequence[int]) -> None:
        """Add the rows of one variant at each batch size; one that cannot be is a row."""
        dtype = resolve_dtype(variant.dtype, self.source.device)
        try:
            generator, load_s = self.load(
                dtype, compiled=variant.compile, quantized=variant.quantize
            )
            use_decoder(generator, variant, self.bench.work.target_size)
        except (GenerationError, WeightsError, ValueError) as error:
            self._add(failed_row(OURS, min(batch_sizes), variant, str(error)))
            return
        ceiling = self.ceiling(generator, dtype)
        for row in self.bench.sweep(generator, variant, ceiling, batch_sizes, load_s):
            self._add(row)

    def _add(self, row: BenchmarkRow) -> None:
        self.rows.append(row)
        self.bench.tell(row)

    def compare(self, best: BenchmarkRow, size: int) -> dict[str, Any]:
        """The fastest way again, at this batch size, in turns with the plain pipeline.

        Where that is not the model's own decoder, ours with its own is compared as well.
        """
        dtype = resolve_dtype(best.dtype, self.source.device)
        generator, _ = self.load(dtype, compiled=best.compile, quantized=best.quantize)
        plain = Variant(best.dtype, best.resolution)
        with_vae = replace(plain, compile=best.compile, quantize=best.quantize)
        ours = [self._our_way(generator, with_vae, size)]
        if best.variant != with_vae:
            ours.insert(0, self._our_way(generator, best.variant, size))
        pipe = self.source.pipeline(dtype)
        comparison = self.bench.compare(ours, pipe, plain, ours[-1].ceiling)
        return {
            "baselines": [asdict(row) for row in comparison.rows],
            "speed_ups": [asdict(each) for each in comparison.speed_ups],
            "ceiling_images_per_s": ours[0].ceiling.images_per_s,
            "tflop_per_image": ours[0].ceiling.tflop_per_image,
            "generator": asdict(generator.description),
        }

    def _our_way(self, generator: OneStepGenerator, variant: Variant, size: int) -> Way:
        """Ours with this decoder, which each call takes up anew."""
        work = self.bench.work
        decoder = use_decoder(generator, variant, work.target_size)
        ceiling = self.ceiling(generator, resolve_dtype(variant.dtype, self.source.device))
        call = our_call(generator, work, size)

        def call_with_decoder() -> None:
            generator.use_decoder(work.target_size, decoder, variant.resolution)
            call()

        return Way(OURS, size, variant, ceiling, call_with_decoder)

    def profile(self, best: BenchmarkRow, folder: Path) -> LoopProfile:
        """Ten batches of a real run in ``folder``, made the fastest way."""
        dtype = resolve_dtype(best.dtype, self.source.device)
        generator, _ = self.load(dtype, compiled=best.compile, quantized=best.quantize)
        decoder = use_decoder(generator, best.variant, self.bench.work.target_size)
        settings, device = self.settings, self.source.device
        loop = Loop(generator, decoder, best.variant, DATASETS[settings.dataset], self.book, device)
        return profile_loop(loop, best.batch_size, folder)

    def document(self) -> dict[str, Any]:
        """Measure everything."""
        self.sweep()
        best = best_row(self.rows)
        document = {
            "schema_version": SCHEMA_VERSION,
            "device": device_title(self.source.device),
            "rows": [asdict(row) for row in self.rows],
            "best": asdict(best),
            **self.compare(best, best.batch_size),
            "ceiling_tflops": self.ceilings_tflops,
            "damages": self.damages,
            "start_s": asdict(self.start),
            "settings": asdict(self.settings),
            "machine": describe_machine(self.source.device),
        }
        if self.settings.profile:
            with TemporaryDirectory(prefix="benchmark-") as folder:
                document["profile"] = asdict(self.profile(best, Path(folder)))
        return document


def dtype_name(dtype: torch.dtype) -> str:
    """Such as float16."""
    return str(dtype).removeprefix("torch.")


def line(row: BenchmarkRow) -> str:
    """A row in words, for the log while measuring."""
    found = row.error or f"{row.images_per_s:.4g} images/s"
    return f"{row.method}, {row.variant.title}, batch {row.batch_size}: {found}"
