"""A real SDXL-Turbo, where CHALLENGE_WEIGHTS names its folder."""

import os

import pytest
import torch
from pipelines import PROMPTS

from challenge.benchmarks.equality import compare_samplers, library_way
from challenge.benchmarks.work import Workload
from challenge.generators.loading import load_generator
from challenge.generators.pipelines import load_plain_pipeline

WEIGHTS = os.environ.get("CHALLENGE_WEIGHTS")


@pytest.mark.weights
@pytest.mark.skipif(not WEIGHTS, reason="CHALLENGE_WEIGHTS names no folder")
@pytest.mark.timeout(1800)
def test_real_weights_make_the_latents_of_the_librarys_pipeline() -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    pipe = load_plain_pipeline(WEIGHTS or "", device=device, dtype=dtype)
    work = Workload(PROMPTS, seed=0, target_size=32)
    side = pipe.unet.config.sample_size * pipe.vae_scale_factor
    theirs = library_way(pipe, work, 2, side)
    del pipe
    generator = load_generator(WEIGHTS or "", device=device, dtype=dtype)
    generator.encode_prompts(PROMPTS)
    found = compare_samplers(generator, theirs, work, 2, side)
    assert found.latents_rms > 0.1
    assert found.latents_max_abs <= 0.01 * found.latents_rms
