import pytest
import torch
from benches import CPU
from test_random_weights import SHRUNKEN, SHRUNKEN_SD

from challenge import settings
from challenge.benchmarks.models import Source, use_decoder
from challenge.benchmarks.rows import Variant
from challenge.errors import WeightsError
from challenge.generators.public_configs import PUBLIC_MODELS
from challenge.generators.sdxl_turbo import OneStepGenerator

PROMPTS = ["a boat", "a bear"]


@pytest.fixture
def shrunken(monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setitem(PUBLIC_MODELS, "sdxl-turbo", SHRUNKEN)
    return Source("sdxl-turbo", random_weights=True, device=CPU)


@pytest.fixture
def generator(shrunken: Source) -> OneStepGenerator:
    made, load_s = shrunken.generator(torch.float32)
    assert load_s > 0
    made.encode_prompts(PROMPTS)
    return made


def test_a_random_model_says_what_it_is(generator: OneStepGenerator) -> None:
    assert generator.description.source.startswith("random weights, shaped by the configs of stab")
    assert "pictures do not" in str(generator.description.note)


def test_the_pipeline_has_the_weights_of_the_generator(
    shrunken: Source, generator: OneStepGenerator
) -> None:
    pipe = shrunken.pipeline(torch.float32)
    theirs, ours = pipe.unet.state_dict(), generator.unet.state_dict()
    assert torch.equal(theirs["conv_in.weight"], ours["conv_in.weight"])


@pytest.mark.parametrize(
    ("decoder", "side"), [("vae", 128), ("taesdxl", 128), ("linear", 64), ("thumbnail", 64)]
)
def test_every_decoder_makes_pictures_of_its_own_size(
    generator: OneStepGenerator, decoder: str, side: int
) -> None:
    used = use_decoder(generator, Variant("float32", 128, decoder), 32)
    assert used.name == decoder
    assert generator.image_size(32) == side
    images = generator.generate(PROMPTS, [0, 1], side)
    assert images.shape == (2, 3, side, side)
    assert images.isfinite().all()
    assert images.std() > 0.01


def test_no_weight_of_a_head_is_zero(generator: OneStepGenerator) -> None:
    used = use_decoder(generator, Variant("float32", 128, "thumbnail"), 32)
    for parameter in used._head.parameters():  # type: ignore[attr-defined]
        assert parameter.count_nonzero() == parameter.numel()


def test_a_decoder_of_other_latents_is_refused() -> None:
    tiny, _ = Source("tiny", random_weights=False, device=CPU).generator(torch.float32)
    with pytest.raises(WeightsError, match="latents of 4 channels and this model's have 12"):
        use_decoder(tiny, Variant("float32", 32, "taesdxl"), 32)


def test_sd_turbo_is_measured_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PUBLIC_MODELS, "sd-turbo", SHRUNKEN_SD)
    made, _ = Source("sd-turbo", random_weights=True, device=CPU).generator(torch.float32)
    made.encode_prompts(PROMPTS)
    use_decoder(made, Variant("float32", 128, "thumbnail"), 32)
    assert made.generate(PROMPTS, [0, 1], 64).isfinite().all()


def test_the_settings_know_the_models_that_have_a_config() -> None:
    assert tuple(PUBLIC_MODELS) == settings.PUBLIC_MODELS
