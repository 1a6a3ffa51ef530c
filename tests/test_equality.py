import torch
from pipelines import IMAGE_SIZE, PROMPTS, one_step_generator, small_pipeline

from challenge.benchmarks.equality import SamplerDifference, compare_samplers, library_way
from challenge.benchmarks.work import Workload

WORK = Workload(PROMPTS, 3, IMAGE_SIZE)


def difference(change: float = 0.0) -> SamplerDifference:
    """Of the two ways with one pipeline, whose weights are changed in between."""
    pipe = small_pipeline()
    theirs = library_way(pipe, WORK, 2, IMAGE_SIZE)
    with torch.no_grad():
        pipe.unet.conv_out.bias += change
    return compare_samplers(one_step_generator(pipe), theirs, WORK, 2, IMAGE_SIZE)


def test_equal_ways_have_no_difference() -> None:
    found = difference()
    assert (found.latents_equal, found.pictures_equal) == (True, True)
    assert (found.latents_max_abs, found.pictures_max_abs) == (0.0, 0.0)
    assert (found.dtype, found.images) == ("float32", 2)
    assert found.latents_rms > 1.0


def test_a_difference_is_told_by_its_size() -> None:
    found = difference(change=0.01)
    assert (found.latents_equal, found.pictures_equal) == (False, False)
    assert 0.14 < found.latents_max_abs < 0.15  # sigma is 14.61
    assert found.pictures_max_abs > 0
