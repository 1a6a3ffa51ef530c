"""What compiling a UNet's blocks took and won on this machine, and where the code is kept.

A file for each model, decoder, dtype, device, version of torch, size of image and of batch, written
by ``prepare --compile`` and by every run that compiled; a run decides by them. The code itself lies
beside them in one folder, where torch finds it by its contents.
"""

import json
import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from challenge.budget import Clock
from challenge.environment import device_title
from challenge.errors import WeightsError, first_line
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.records import key_digest, write_json

CODE_FOLDER = "compiled-code"


@dataclass(frozen=True)
class CompileFacts:
    """Seconds: of compiling, ``warm`` where the code was kept, and of a batch before and after."""

    cold_s: float | None = None
    warm_s: float | None = None
    plain_batch_s: float | None = None
    compiled_batch_s: float | None = None

    @property
    def cost_s(self) -> float | None:
        """What compiling will take, the code being kept."""
        return self.cold_s if self.warm_s is None else self.warm_s

    @property
    def speed_up(self) -> float | None:
        """Of a batch; None where that is not known."""
        if not self.plain_batch_s or not self.compiled_batch_s:
            return None
        return self.plain_batch_s / self.compiled_batch_s

    def joined(self, newer: "CompileFacts") -> "CompileFacts":
        """These facts, and what ``newer`` knows in their place."""
        return replace(self, **{name: s for name, s in asdict(newer).items() if s is not None})


class CompileFactsFile:
    """The facts of one model at one size of image, and in which batch sizes there are any."""

    def __init__(self, folder: Path, generator: OneStepGenerator, resolution: int) -> None:
        self._folder = folder
        description = generator.description
        self.owner: dict[str, str | int] = {
            "weights": description.fingerprint or description.source,
            "dtype": description.dtype,
            "quantize": description.quantize,
            "decoder": description.decoder,
            "steps": generator.num_inference_steps,
            "device": device_title(generator.device),
            "torch": torch.__version__,
            "resolution": resolution,
        }

    @property
    def code_folder(self) -> Path:
        """Where torch keeps the code of all models."""
        return self._folder / CODE_FOLDER

    def path(self, batch_size: int) -> Path:
        """The file of a batch size."""
        return self._folder / f"compiled-{key_digest(self.owner)}-b{batch_size}.json"

    def batch_sizes(self) -> list[int]:
        """Batch sizes with facts, the one that was measured last first."""
        files = list(self._folder.glob(self.path(0).name.replace("-b0", "-b[0-9]*")))
        files.sort(key=lambda file: file.stat().st_mtime, reverse=True)
        return [int(file.stem.rpartition("-b")[2]) for file in files]

    def load(self, batch_size: int) -> CompileFacts | None:
        """What is known of a batch size, or None; without the code it is compiled cold.

        Raises:
            WeightsError: the file is damaged.
        """
        path = self.path(batch_size)
        try:
            document = json.loads(path.read_text("utf-8"))
            if document["owner"] != self.owner:
                raise ValueError("it belongs to another model")
            facts = CompileFacts(**document["facts"])
            if not all(s is None or s > 0 for s in asdict(facts).values()):
                raise ValueError("a duration is not above 0")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"{path} is damaged ({first_line(error)})") from error
        return facts if self.code_folder.is_dir() else replace(facts, warm_s=None)

    def save(self, batch_size: int, newer: CompileFacts) -> None:
        """Add to what is known; ``OSError`` when that cannot be."""
        try:
            known = self.load(batch_size) or CompileFacts()
        except WeightsError:
            known = CompileFacts()
        self._folder.mkdir(parents=True, exist_ok=True)
        facts = asdict(known.joined(newer))
        write_json(self.path(batch_size), {"owner": self.owner, "facts": facts})


def compile_unet(
    generator: OneStepGenerator,
    prompts: Sequence[str],
    seeds: Sequence[int],
    resolution: int,
    folder: Path,
    clock: Clock,
) -> CompileFacts:
    """Compile for batches of this shape; the code is looked for in ``folder``, and left there.

    Returns what it took: ``warm_s`` where nothing had to be compiled anew, else ``cold_s``. Raises
    what torch raises.
    """
    started_s = clock()
    counters = import_compiler()
    made_anew = _made_anew(counters)
    before = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    try:
        generator.compile_unet(prompts, seeds, resolution)
    finally:
        os.environ.pop("TORCHINDUCTOR_CACHE_DIR")
        if before is not None:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = before
    seconds = clock() - started_s
    if _made_anew(counters) == made_anew:
        return CompileFacts(warm_s=seconds)
    return CompileFacts(cold_s=seconds)


def _made_anew(counters: dict[str, Counter[str]]) -> int:
    """Graphs that were not taken from what is kept, or that torch does not keep."""
    return sum(counters["inductor"][f"fxgraph_cache_{what}"] for what in ("miss", "bypass"))


def import_compiler() -> dict[str, Counter[str]]:
    """Import what a first compilation would; gives torch's counts of what compiling did."""
    from torch._dynamo.utils import counters

    # it tells on the screen that a CPU build finds no GPU
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    return counters
