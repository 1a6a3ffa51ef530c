from dataclasses import replace

import pytest
from benches import CEILING, VARIANT, WORK, LimitedGenerator, LimitedPipeline, new_bench

from challenge.benchmarks.rows import Variant
from challenge.benchmarks.sweep import Comparison, Way
from challenge.benchmarks.work import our_call


def test_a_batch_goes_round_the_prompts_and_counts_the_seeds_up() -> None:
    assert WORK.batch(4) == (["a", "b", "c", "a"], [5, 6, 7, 8])


def test_out_of_memory_is_a_row_and_larger_batches_are_not_tried() -> None:
    rows = list(new_bench().sweep(LimitedGenerator(4), VARIANT, CEILING, (8, 2, 4, 16), 1.5))
    assert [(row.batch_size, row.error) for row in rows] == [
        (2, None),
        (4, None),
        (8, "out of memory"),
    ]
    assert rows[0].images_per_s is not None
    assert rows[0].ceiling_share == pytest.approx(rows[0].images_per_s / 4.0)
    assert rows[0].load_s == 1.5


def compared(pipe: LimitedPipeline, size: int, *variants: Variant) -> Comparison:
    """Ours with each variant, of which eight images fit, against ``pipe``."""
    call = our_call(LimitedGenerator(8), WORK, size)
    ways = [Way("ours", size, each, CEILING, call) for each in variants or (VARIANT,)]
    return new_bench().compare(ways, pipe, VARIANT, CEILING)


def test_a_batch_that_takes_too_long_is_the_last_one() -> None:
    bench = replace(new_bench(), longest_call_s=0.0)
    rows = bench.sweep(LimitedGenerator(8), VARIANT, CEILING, (1, 2, 4))
    assert [row.batch_size for row in rows] == [1]


def test_the_pipeline_is_called_as_its_documentation_tells() -> None:
    pipe = LimitedPipeline(8)
    compared(pipe, 4)
    options = {
        "num_inference_steps": 1,
        "guidance_scale": 0.0,
        "height": 32,
        "width": 32,
    }
    assert {"batch": 1, **options} in pipe.calls
    assert {"batch": 4, **options} in pipe.calls


def test_the_ways_are_measured_in_turns_and_compared_turn_by_turn() -> None:
    pipe = LimitedPipeline(8)
    comparison = compared(pipe, 4)
    assert [row.method for row in comparison.rows] == [
        "ours",
        "pipeline, once per image",
        "pipeline, batched",
    ]
    turns = comparison.rows[0].calls
    assert turns >= 3
    assert [len(each.ratios) for each in comparison.speed_ups] == [turns, turns]
    batches = [call["batch"] for call in pipe.calls]
    assert batches[:5] == [4, 1, 1, 4, 4]  # does it fit; warm-up and first turn of each
    assert batches[5:] == [1, 4] * (turns - 1)


def test_the_pipelines_batch_is_halved_until_it_fits_and_every_misfit_is_a_row() -> None:
    rows = compared(LimitedPipeline(2), 8).rows
    assert [(row.method, row.batch_size, row.error) for row in rows] == [
        ("ours", 8, None),
        ("pipeline, once per image", 1, None),
        ("pipeline, batched", 2, None),
        ("pipeline, batched", 8, "out of memory"),
        ("pipeline, batched", 4, "out of memory"),
    ]


def test_a_pipeline_that_does_not_fit_at_all_leaves_our_row() -> None:
    comparison = compared(LimitedPipeline(0), 2)
    assert [row.error for row in comparison.rows] == [None, *["out of memory"] * 3]
    assert comparison.speed_ups == []


def test_ours_with_two_decoders_is_compared_with_each_way_of_the_pipeline() -> None:
    ours = Variant("float32", 32, "thumbnail", compile=True)
    comparison = compared(LimitedPipeline(8), 2, ours, VARIANT)
    assert [row.variant for row in comparison.rows] == [ours, VARIANT, VARIANT, VARIANT]
    assert [(each.decoder, each.baseline) for each in comparison.speed_ups] == [
        ("thumbnail", "pipeline, once per image"),
        ("thumbnail", "pipeline, batched"),
        ("vae", "pipeline, once per image"),
        ("vae", "pipeline, batched"),
    ]
