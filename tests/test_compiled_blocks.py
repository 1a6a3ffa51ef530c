import torch
from pipelines import PROMPTS, one_step_generator, small_pipeline

from challenge.generators.compiled_blocks import compile_blocks


def test_compiled_blocks_draw_what_plain_ones_draw() -> None:
    generator = one_step_generator(small_pipeline())
    expected = generator.generate(PROMPTS[:2], [0, 1], 32)
    assert compile_blocks(generator.unet, backend="eager") == 16  # 8 residual, 8 transformer
    assert torch.equal(generator.generate(PROMPTS[:2], [0, 1], 32), expected)


def test_both_kinds_of_block_are_compiled_and_nothing_else() -> None:
    unet = small_pipeline().unet
    compile_blocks(unet, backend="eager")
    compiled = {type(each).__name__ for each in unet.modules() if each._compiled_call_impl}
    assert compiled == {"BasicTransformerBlock", "ResnetBlock2D"}
