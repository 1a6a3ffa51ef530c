"""What ``benchmark`` prints: the rows, the fastest beside the plain pipeline, and the ceiling."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from challenge.console import make_table, results

HEADINGS = (
    "",
    "dtype",
    "px",
    "decoder",
    "batch",
    "images/s",
    "IQR",
    "TFLOP/s",
    "of ceiling",
    "GiB",
    "W",
    "images/J",
    "first call s",
)
TEXT_COLUMNS = (0, 1, 3)
LONGEST_CELL = 13  # "out of memory"; longer reasons stand below the table


def show_tables(document: Mapping[str, Any]) -> None:
    """Two tables, then in words what they come to."""
    console = results()
    for rows in (document["rows"], document["baselines"]):
        console.print(
            make_table(HEADINGS, [row_cells(row) for row in rows], text_columns=TEXT_COLUMNS)
        )
    for text in (*failures(document["rows"]), *summary(document)):
        console.print(text)


def show_preset(document: Mapping[str, Any]) -> None:
    """The tables, what became of each part, and where the files are."""
    console = results()
    rows = [row_cells(row) for row in (*document["rows"], *document["baselines"])]
    console.print(make_table(HEADINGS, rows, text_columns=TEXT_COLUMNS))
    for text in (*failures(document["rows"]), *summary(document), *parts_lines(document)):
        console.print(text)
    console.print(f"{document['folder']}: results.json, table.md and what else there is")


def tables_text(document: Mapping[str, Any]) -> str:
    """The same as a Markdown file."""
    rows = [row_cells(row) for row in (*document["rows"], *document["baselines"])]
    lines = (*failures(document["rows"]), *summary(document), *parts_lines(document))
    head = f"# {document['device']}, {document['settings']['model']}\n\n"
    return head + markdown_table(HEADINGS, rows) + "\n" + "".join(f"* {each}\n" for each in lines)


def parts_lines(document: Mapping[str, Any]) -> list[str]:
    """A line for each part of the preset: seconds, or why there is nothing."""
    lines = []
    for name, entry in document["parts"].items():
        reason = entry.get("skipped") or entry.get("error")
        how = "left out: " if "skipped" in entry else "failed: "
        took = f"{entry['seconds']:.0f} s{_finding(entry)}"
        lines.append(f"{name}: {how}{reason}" if reason else f"{name}: {took}")
    return lines


def _finding(entry: Mapping[str, Any]) -> str:
    """What one part found, in a few words; nothing where the tables tell it."""
    if differences := entry.get("differences"):
        found = [
            f"{each['dtype']} "
            + ("equal" if each["latents_equal"] else f"off by {each['latents_max_abs']:.2g}")
            + f" (pictures by {each['pictures_max_abs']:.2g})"
            for each in differences
        ]
        return f", latents against the library's: {', '.join(found)}"
    if "verdict" in entry:
        made = [f"{each['generated']:,} images" for each in entry.get("datasets", {}).values()]
        return f", {entry['verdict']}, {', '.join(made)} in {entry.get('limit_s', 0):g} s"
    if "forecast_s" in entry:
        measured = entry["measured_s"]
        took = f"{measured:.0f} s" if measured else f"{entry['forecast_s']:.0f} s by forecast"
        return f", {entry['protocol']} with {entry['images']:,} images takes {took}"
    if "speed_up" in entry:
        return f", ours is {entry['speed_up']:.1f} times the straightforward loop"
    return ""


def show_gpus(document: Mapping[str, Any]) -> None:
    """The fastest row of each GPU, and their sum."""
    rows = [
        (row["gpu"], row["error"], *("",) * len(HEADINGS[1:]))
        if row["error"]
        else (row["gpu"], row["name"], *row_cells(row)[1:])
        for row in document["rows"]
    ]
    console = results()
    headings = ("GPU", "", *HEADINGS[1:])
    console.print(make_table(headings, rows, text_columns=(0, 1, 2, 4)))
    console.print(f"{document['images_per_s']:.1f} images/s in all, each GPU at its best batch")


def row_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """One row as text; what was not measured is left empty."""
    quantized = row["quantize"] if row["quantize"] != "none" else ""
    way = "compiled" if row["compile"] else ""
    method = " ".join(filter(None, (row["method"], quantized, way)))
    place = (method, row["dtype"], str(row["resolution"]), row["decoder"], str(row["batch_size"]))
    if row["error"]:
        return (*place, row["error"] if len(row["error"]) <= LONGEST_CELL else "no", *("",) * 7)
    return (
        *place,
        f"{row['images_per_s']:.1f}",
        f"{row['images_per_s_iqr']:.1f}",
        f"{row['tflops']:.3g}",
        f"{row['ceiling_share']:.0%}",
        _number(row["peak_gib"], ".2f"),
        _number(row["power_w"], ".0f"),
        _number(row["images_per_joule"], ".3g"),
        _number(row["warm_up_s"], ".2f"),
    )


def failures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each reason that is too long for a cell, once."""
    reasons = (f"{row['decoder']}: {row['error']}" for row in rows if row["error"])
    return [each for each in dict.fromkeys(reasons) if not each.endswith("out of memory")]


def summary(document: Mapping[str, Any]) -> list[str]:
    """By how much we are faster, the ceiling, and the seconds to the first batch."""
    lines = [
        f"ours ({each['decoder']}) is {statistics.median(each['ratios']):.2f} times the "
        f"{each['baseline']} (half of {len(each['ratios'])} turns between "
        f"{_quartile(each, 0):.2f} and {_quartile(each, 2):.2f}), {each['cpu_ratio']:.2f} times in "
        "processor seconds"
        for each in document["speed_ups"]
    ]
    lines += [
        f"{each['name']}: {each['latents_error']:.2%} off in the latents, PSNR of the thumbnails "
        f"{', '.join(f'{psnr:.1f} dB' for psnr in each['psnr_db'].values())}"
        for each in document.get("damages", {}).values()
    ]
    speeds = ", ".join(
        f"{tflops:.3g} TFLOP/s in {dtype}" for dtype, tflops in document["ceiling_tflops"].items()
    )
    if document["ceiling_images_per_s"]:
        lines.append(
            f"ceiling of this device for the best row: {document['ceiling_images_per_s']:.0f} "
            f"images/s (matrix products at {speeds}; {document['tflop_per_image']:.3g} TFLOP an "
            "image)"
        )
    profile = document.get("profile") or document.get("parts", {}).get("profile", {})
    if "idle_share" in profile:
        what = "idle" if profile["unet_s"] is None else "outside of UNet and decoder"
        lines.append(
            f"{profile['idle_share']:.1%} of ten batches of a run is {what} (batch "
            f"{profile['batch_size']}, {profile['images_per_s']:.1f} images/s)"
        )
    start = document["start_s"]
    if start["first_batch_s"] is None:
        return lines
    lines.append(
        f"first batch {start['first_batch_s']:.1f} s after the start of the process: imports until "
        f"{start['imported_s']:.1f} s, model loaded at {start['loaded_s']:.1f} s, prompts encoded "
        f"at {start['encoded_s']:.1f} s"
    )
    return lines


def _quartile(speed_up: Mapping[str, Any], index: int) -> float:
    ratios: list[float] = speed_up["ratios"]
    return statistics.quantiles(ratios, n=4)[index]


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for a README."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"
