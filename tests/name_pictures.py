"""Can a viewer name what a set shows? Draws numbered groups of pictures, and scores the answers.

    PYTHONPATH=. python tests/name_pictures.py RUN cifar100 FOLDER --seed 5
    PYTHONPATH=. python tests/name_pictures.py RUN cifar100 FOLDER --seed 5 --answers answers.json

The first writes ``page-01.png`` ... and ``names.txt``, the second reads answers such as
``{"1": ["fox", "wolf", "lion"]}``, first guess first. A group is pictures of one class. The classes
are drawn with replacement, so that elimination tells nothing; only who knows the seed knows them.
"""

import argparse
import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from torch.nn import functional as F

from challenge.images import THUMBNAIL_PIXELS, contact_sheet, from_uint8, to_uint8
from challenge.measures.image_sets import image_sets
from challenge.prompts import find_prompts_dir, load_prompt_book
from challenge.spec import DATASETS, DatasetSpec

GROUPS, PICTURES, ROWS_ON_A_PAGE = 100, 12, 10


def main() -> None:
    """Draw the pages, or score what was answered."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path)
    parser.add_argument("dataset", choices=DATASETS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--answers", type=Path)
    options = parser.parse_args()
    spec = DATASETS[options.dataset]
    book = load_prompt_book(spec, find_prompts_dir(None))
    names = [entry.prompt_noun for entry in book.classes]
    if options.answers:
        answers = json.loads(options.answers.read_text("utf-8"))
        first, among_three, missed = score(answers, [names[c] for c in classes(spec, options.seed)])
        sys.stdout.write(
            f"{first} of {GROUPS} right at the first guess, {among_three} in three guesses\n"
            f"missed at first: {'; '.join(missed)}\n"
        )
        return
    options.folder.mkdir(parents=True)
    draw(options.run, spec, options.folder, options.seed)
    (options.folder / "names.txt").write_text("\n".join(sorted(names)) + "\n", "utf-8")


def classes(spec: DatasetSpec, seed: int) -> list[int]:
    """The class of each group, drawn with replacement."""
    rng = random.Random(seed)
    return [rng.randrange(spec.num_classes) for _ in range(GROUPS)]


def draw(run: Path, spec: DatasetSpec, folder: Path, seed: int) -> None:
    """Write the pages; no picture stands in two groups while a class has enough."""
    (found,) = image_sets(run, (spec,))
    next_pictures = [_in_turn(count, seed) for count in found.images.counts]
    rows = []
    for number, index in enumerate(classes(spec, seed), 1):
        places = [next(next_pictures[index]) for _ in range(PICTURES)]
        pictures = from_uint8(found.images.read(index, places))
        large = F.interpolate(
            pictures, size=(THUMBNAIL_PIXELS,) * 2, mode="bicubic", align_corners=False
        )
        rows.append((str(number), to_uint8(large)))
    for start in range(0, GROUPS, ROWS_ON_A_PAGE):
        page = contact_sheet(rows[start : start + ROWS_ON_A_PAGE])
        page.save(folder / f"page-{start // ROWS_ON_A_PAGE + 1:02d}.png")


def _in_turn(count: int, seed: int) -> Iterator[int]:
    """Places below ``count`` in random order, again and again."""
    rng = random.Random(seed)
    while True:
        yield from rng.sample(range(count), count)


def score(
    answers: Mapping[str, Sequence[str]], truth: Sequence[str]
) -> tuple[int, int, tuple[str, ...]]:
    """Groups right at the first guess and in three; the others as ``fox (wolf)``, truth first."""
    guesses = [list(answers.get(str(number), ()))[:3] or [""] for number in range(1, GROUPS + 1)]
    pairs = list(zip(truth, guesses, strict=True))
    missed = tuple(f"{right} ({given[0]})" for right, given in pairs if given[0] != right)
    return GROUPS - len(missed), sum(right in given for right, given in pairs), missed


if __name__ == "__main__":
    main()
