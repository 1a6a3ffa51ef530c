import pytest
from benches import CEILING, VARIANT

from challenge.benchmarks.rows import Variant, best_row, failed_row, measured_row
from challenge.benchmarks.timing import Timing


def test_the_ceiling_is_the_speed_of_the_device_over_the_cost_of_an_image() -> None:
    assert CEILING.images_per_s == 4.0


def test_a_row_is_made_of_the_rates_of_its_calls() -> None:
    timing = Timing(9.0, [8.0, 4.0, 2.0, 1.0, 4.0], 3.5, energy_j=38.0, cpu_s=20.0)
    row = measured_row("ours", 8, VARIANT, CEILING, timing, load_s=1.5)
    assert row.images_per_s == 2.0  # the median of 1, 2, 4, 8 and 2 images a second
    assert row.images_per_s_iqr == pytest.approx(6.0 - 1.5)
    assert row.tflops == 1.0
    assert row.ceiling_share == 0.5
    assert row.power_w == 2.0  # 38 J in 19 s
    assert row.images_per_joule == pytest.approx(40 / 38)
    assert (row.peak_gib, row.load_s, row.calls, row.warm_up_s) == (3.5, 1.5, 5, 9.0)
    assert row.cpu_s_per_image == 0.5
    assert row.compile_s is None


def test_compiling_costs_what_the_first_call_took_above_a_later_one() -> None:
    compiled = Variant("float16", 512, compile=True)
    row = measured_row("ours", 8, compiled, CEILING, Timing(40.0, [2.0, 2.0, 2.0]))
    assert row.compile_s == 38.0
    assert row.variant == compiled


def test_a_row_knows_how_its_unet_was_quantized_also_when_it_failed() -> None:
    quantized = Variant("float16", 512, "linear", compile=True, quantize="fp8")
    row = measured_row("ours", 8, quantized, CEILING, Timing(40.0, [2.0, 2.0, 2.0]))
    assert row.variant == failed_row("ours", 8, quantized, "no").variant == quantized
    assert quantized.title == "float16, 512 px, linear, fp8, compiled"


def test_what_was_not_measured_is_none_and_not_zero() -> None:
    row = measured_row("ours", 8, VARIANT, CEILING, Timing(1.0, [2.0, 2.0, 2.0]))
    assert (row.power_w, row.images_per_joule, row.peak_gib, row.load_s) == (None,) * 4


def test_the_best_row_is_the_fastest_that_did_not_fail() -> None:
    slow = measured_row("ours", 8, VARIANT, CEILING, Timing(1.0, [2.0, 2.0, 2.0]))
    fast = measured_row("ours", 16, VARIANT, CEILING, Timing(1.0, [2.0, 2.0, 2.0]))
    assert best_row([slow, fast, failed_row("ours", 32, VARIANT, "out of memory")]) == fast
