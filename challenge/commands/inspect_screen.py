"""The end of the ``inspect`` command: a table of the measures, and the classes to look at."""

from typing import Any

from challenge.console import TITLES, make_table, results

# name in the document, words on the screen, how it is written
ROWS = (
    ("mean_pairwise_distance", "mean pairwise cosine distance", ".3f"),
    ("vendi_share", "Vendi score / n", ".4f"),
    ("precision", "precision (k = 5) *", ".3f"),
    ("recall", "recall", ".3f"),
    ("density", "density *", ".3f"),
    ("coverage", "coverage *", ".3f"),
    ("kid", "KID in these features (0 is best)", ".4f"),
    ("lowest_best_similarity", "lowest best similarity to the real set", ".3f"),
    ("highest_similarity", "highest similarity among themselves", ".3f"),
    ("told_right", "share that the network tells right", ".1%"),
    ("near_duplicate_share", "images with a near-duplicate", ".1%"),
    ("sharpness", "sharpness: power at fine frequencies *", ".3f"),
    ("saturation", "saturation: chroma / luma deviation", ".3f"),
    ("grey_share", "black and white images", ".1%"),
    ("red_over_green", "balance, red over green", ".3f"),
    ("blue_over_green", "balance, blue over green", ".3f"),
    ("brightness", "brightness", ".3f"),
    ("contrast", "contrast: luma deviation", ".3f"),
)
BLURRED = 0.7  # of the real sharpness; below, density and the like must not be trusted
SHOWN_CLASSES, SHOWN_PAIRS = 5, 3
GUARD = (
    "* density (and precision, coverage) can reward blurry averages, which lie near many real "
    "images at once: trust them only where sharpness is near that of the real images"
)


def show_measures(measured: dict[str, Any]) -> None:
    """The table of one set, then what is worth a look."""
    screen = results()
    title = f"{measured['path']}, {TITLES[measured['dataset']]}: {measured['what']}"
    screen.print(title, soft_wrap=True, markup=False)
    screen.print(
        f"{measured['compared']:,} of {measured['images']:,} images compared "
        f"({measured['compared_per_class']} a class) with as many real training images; "
        "beside them as many other real images, measured in the same way",
        soft_wrap=True,
    )
    screen.print(f"features: {measured['features']['title']}", soft_wrap=True, markup=False)
    screen.print(make_table(("", "all", "real", "mean of classes", "real"), _rows(measured)))
    for line in remarks(measured):
        screen.print(line, soft_wrap=True, markup=False)


def _rows(measured: dict[str, Any]) -> list[tuple[str, ...]]:
    columns = [
        measured[place][group]
        for place in ("overall", "classes_mean")
        for group in ("made", "real")
    ]
    return [
        (words, *(_cell(column[name], form) for column in columns))
        for name, words, form in ROWS
        if any(column[name] is not None for column in columns)
    ]


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def remarks(measured: dict[str, Any]) -> list[str]:
    """Sentences: the guard, classes that stand out, duplicates."""
    made, real = measured["overall"]["made"], measured["overall"]["real"]
    lines = [GUARD]
    if made["sharpness"] < BLURRED * real["sharpness"]:
        lines.append(
            f"warning: the images are blurred ({made['sharpness']:.3f} against "
            f"{real['sharpness']:.3f} of real ones): density and the like may flatter them"
        )
    name = "told_right" if made["told_right"] is not None else "coverage"
    classes = [each for each in measured["classes"] if each["made"][name] is not None]
    if classes:
        classes.sort(key=lambda each: each["made"][name] - each["real"][name])
        listed = ", ".join(
            f"{each['class']} {each['made'][name]:.0%} (real {each['real'][name]:.0%})"
            for each in classes[:SHOWN_CLASSES]
        )
        words = "told right" if name == "told_right" else "coverage"
        lines.append(f"furthest below the real images, {words}: {listed}")
    found = measured["near_duplicates"]
    lines.append(
        f"near-duplicates: {found['images']:,} of {found['searched']:,} images have one "
        f"({'more than ' if found['pairs_cut'] else ''}{found['pairs']:,} pairs)"
        + "".join(f"; {_pair(pair)}" for pair in found["most_alike"][:SHOWN_PAIRS])
    )
    return lines


def _pair(pair: dict[str, Any]) -> str:
    first, second = (f"{each['class']} {each['place']}" for each in pair["images"])
    return f"{first} and {second} ({pair['alike']:.3f})"
