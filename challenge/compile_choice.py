"""Whether and when a run compiles the UNet's blocks, for the one batch size that was found.

Not before each class has an image and a file stands, so that nothing is lost if it fails or takes
too long: then the run goes on as it was. ``auto`` compiles where that pays by what was measured on
this machine. Where nothing was, it does not: on a CPU little is won (README), and on a GPU it may
take a tenth of the limit. Where only its seconds are known, as after a run that ended too early to
tell the rest, a GPU is thought to become 1.2 times as fast. With ``--ipc N`` the plan must not
depend on the machine's speed, so ``auto`` does not compile there either.
"""

import atexit
import shutil
import statistics
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from challenge.budget import Choice
from challenge.compile_facts import CompileFacts, CompileFactsFile, compile_unet
from challenge.errors import WeightsError, first_line
from challenge.events import Notice, PhaseStarted
from challenge.generators.base import ImageGenerator
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.prepared import note_use
from challenge.prompts import PromptBook
from challenge.run_parts import RunParts
from challenge.scheduler import Scheduler
from challenge.settings import GenerateSettings
from challenge.spec import DatasetSpec
from challenge.stop import interrupting_after

# Batches of the size, compiled, and then plain ones again: the first may hold what is slow only
# once, or have been under way at the change. Those before the compilation do not serve: in the
# first seconds of a run a batch took twice as long as ever after (2-core CPU, 2026-11).
SKIPPED, LOOKED_AT = 2, 4
GPU_SPEED_UP = 1.2  # thought of where none was measured
WHAT = "compiled blocks"


class CompileChoice:
    """The choice of one data set: told of each batch, and made between two of them."""

    def __init__(
        self,
        settings: GenerateSettings,
        spec: DatasetSpec,
        book: PromptBook,
        generator: OneStepGenerator,
        scheduler: Scheduler,
        parts: RunParts,
    ) -> None:
        self._settings, self._book, self._generator = settings, book, generator
        self._scheduler, self._parts = scheduler, parts
        self._resolution = generator.resolution(spec.image_size)
        self._file: CompileFactsFile | None = None
        if parts.prepared_dir is not None:
            self._file = CompileFactsFile(parts.prepared_dir, generator, self._resolution)
        self._plain_s: dict[int, list[float]] = defaultdict(list)
        self._after_s: list[float] = []  # of compiled batches, then of plain ones
        self._compiled_size: int | None = None
        self._is_made = False
        self._use_what_is_compiled()

    def _use_what_is_compiled(self) -> None:
        """Go on with what the data set before had compiled, if its images are of this size."""
        sizes = [size for size, side in self._generator.compiled if side == self._resolution]
        if sizes and self._generator.uses_compiled:
            self._scheduler.take_batch_size(sizes[0])
            self._is_made = self._scheduler.batch_size in sizes

    def batch_made(self, size: int, seconds: float) -> float:
        """A batch took so long; now compile, if it is time to and worth it: returns its seconds."""
        if size == self._compiled_size:
            self._after_s.append(seconds)
            if len(self._after_s) == SKIPPED + LOOKED_AT:
                self._generator.uses_compiled = False
            elif len(self._after_s) == 2 * (SKIPPED + LOOKED_AT):
                self._judge(size)
            return 0.0
        self._plain_s[size].append(seconds)
        if self._is_made or not self._is_time(size):
            return 0.0
        self._is_made, begun_s = True, self._parts.clock()
        self._scheduler.chose(self._weigh_and_compile(size))
        return self._parts.clock() - begun_s

    def end(self) -> None:
        """The last batch is made: say so if what was asked for never came."""
        if self._settings.compile == "on" and not self._is_made:
            self._parts.emit(
                Notice(
                    "--compile on: nothing was compiled, since no batch size was settled on, or "
                    f"fewer than {SKIPPED + LOOKED_AT} batches of it were made once a file stood",
                    "warning",
                )
            )

    def _is_time(self, size: int) -> bool:
        scheduler = self._scheduler
        return (
            scheduler.batch_size_is_settled
            and size == scheduler.batch_size
            and scheduler.file_stands
            and self._parts.stop.signal_name is None
            and len(self._plain_s[size]) >= SKIPPED + LOOKED_AT
        )

    def _weigh_and_compile(self, size: int) -> Choice:
        choice = self._weigh(size)
        if not choice.taken:
            return choice
        patience_s = self._scheduler.interrupt_at_s() - self._parts.clock()
        if self._settings.compile == "auto":  # what takes longer cannot pay any more
            patience_s = min(patience_s, choice.most_s)
        self._parts.emit(PhaseStarted("compile"))
        try:
            with (
                self._parts.timer.phase("compile"),
                interrupting_after(patience_s, "compiling", self._parts.stop),
            ):
                self._compile(size)
        except Exception as error:  # noqa: BLE001  # torch, compilers and drivers raise anything
            reason = f"the UNet's blocks are not compiled: {first_line(error)}"
            self._parts.emit(Notice(f"{reason}; going on without", "warning"))
            return replace(choice, because=reason, decided=False)
        return choice

    def _weigh(self, size: int) -> Choice:
        """What is known of compiling for this size, and what follows."""
        facts, left_s = self._facts(size), self._scheduler.deadline.end_s - self._parts.clock()
        speed_up = facts.speed_up
        if speed_up is None and facts.cost_s is not None and self._parts.device.type == "cuda":
            speed_up = GPU_SPEED_UP
        choice = Choice(f"{WHAT}, batch of {size}", speed_up, facts.cost_s, left_s)
        if self._settings.compile == "on":
            return replace(choice, because="--compile on", decided=True)
        if self._settings.ipc != "auto":
            reason = "a plan with --ipc must not depend on the machine's speed"
            return replace(choice, because=reason, decided=False)
        if facts.cost_s is None or speed_up is None:
            return replace(choice, because="it was never measured here; prepare --compile does")
        return choice

    def _facts(self, size: int) -> CompileFacts:
        try:
            return (self._file and self._file.load(size)) or CompileFacts()
        except WeightsError as error:
            self._parts.emit(Notice(f"{error}: not used; run prepare --compile again", "warning"))
            return CompileFacts()

    def _compile(self, size: int) -> None:
        """Compile, remember what that took, and whether kept code was used."""
        classes = len(self._book.classes)
        prompts = [self._book.prompts_for(number % classes)[0] for number in range(size)]
        folder = self._file.code_folder if self._file else folder_until_exit()
        took = compile_unet(
            self._generator, prompts, range(size), self._resolution, folder, self._parts.clock
        )
        self._compiled_size = size
        if took.warm_s is not None and self._file and (path := self._file.path(size)).exists():
            note_use(self._parts, path, took.warm_s)
        self._keep(size, took)

    def _judge(self, size: int) -> None:
        """Tell what was won; ``auto`` gives up what has lost."""
        after_s = statistics.median(self._after_s[SKIPPED : SKIPPED + LOOKED_AT])
        before_s = statistics.median(self._after_s[-LOOKED_AT:])
        speed_up = before_s / after_s
        if self._facts(size).speed_up is None:  # prepare measures it in turns, which is better
            self._keep(size, CompileFacts(plain_batch_s=before_s, compiled_batch_s=after_s))
        text = f"compiled, a batch of {size} takes {after_s:.3g} s and not {before_s:.3g} s"
        self._parts.notes[f"{WHAT}, {self._book.dataset}"] = {
            "batch_size": size,
            "before_s": before_s,
            "after_s": after_s,
            "speed_up": speed_up,
            "given_up": speed_up < 1 and self._settings.compile == "auto",
        }
        self._generator.uses_compiled = speed_up >= 1 or self._settings.compile == "on"
        if not self._generator.uses_compiled:
            text += ": going on without"
        self._parts.emit(Notice(text))

    def _keep(self, size: int, facts: CompileFacts) -> None:
        if self._file is None:
            return
        try:
            self._file.save(size, facts)
        except OSError as error:
            self._parts.emit(Notice(f"{self._file.path(size)}: {first_line(error)}", "warning"))


def folder_until_exit() -> Path:
    """A new folder that is removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="challenge-compiled-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def kept_batch_size(
    settings: GenerateSettings,
    spec: DatasetSpec,
    generator: ImageGenerator,
    parts: RunParts,
    longest_s: float,
) -> int | None:
    """The batch size that blocks are kept compiled for, if a run may take it without a search."""
    if (
        settings.compile == "off"
        or settings.ipc != "auto"
        or settings.batch_size != "auto"
        or parts.prepared_dir is None
        or not isinstance(generator, OneStepGenerator)
    ):
        return None
    file = CompileFactsFile(parts.prepared_dir, generator, generator.resolution(spec.image_size))
    for size in file.batch_sizes():
        try:
            facts = file.load(size)
        except WeightsError:
            continue  # told when it is to be used
        if facts and facts.speed_up and (facts.plain_batch_s or 0.0) <= longest_s:
            return size
    return None
