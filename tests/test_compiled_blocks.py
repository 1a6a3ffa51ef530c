from collections.abc import Callable

import pytest
import torch
from pipelines import PROMPTS, one_step_generator, small_pipeline

from challenge.generators.compiled_blocks import compile_blocks
from challenge.images import to_uint8


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


def test_a_compiled_unet_draws_the_same_to_one_uint8_level() -> None:
    generator = one_step_generator(small_pipeline())
    batches = {size: (PROMPTS[:size], list(range(size))) for size in (1, 2)}
    plain = {size: generator.generate(*batch, 32) for size, batch in batches.items()}
    generator.compile_unet(*batches[2], 32, backend="aot_eager")
    for size, batch in batches.items():
        drawn = generator.generate(*batch, 32)
        assert (to_uint8(drawn).int() - to_uint8(plain[size]).int()).abs().max() <= 1
    assert generator.compiled == {(2, 32)}


def test_only_the_size_that_was_asked_for_is_ever_compiled() -> None:
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    generator = one_step_generator(small_pipeline())
    generator.compile_unet(PROMPTS[:3], [0, 1, 2], 32, backend=backend)
    compiled = len(graphs)
    assert compiled > 0
    for size, side in ((1, 32), (2, 32), (3, 64), (3, 32)):
        generator.generate(PROMPTS[:size], list(range(size)), side)
    assert len(graphs) == compiled
    generator.compile_unet(PROMPTS[:2], [0, 1], 32, backend=backend)
    assert len(graphs) > compiled
    assert generator.compiled == {(3, 32), (2, 32)}


def test_what_is_compiled_is_used_and_can_be_given_up() -> None:
    calls = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> Callable[..., object]:
        def run(*arguments: object) -> object:
            calls.append(graph)
            return graph(*arguments)

        return run

    generator = one_step_generator(small_pipeline())
    generator.compile_unet(PROMPTS[:2], [0, 1], 32, backend=backend)
    for uses_compiled in (True, False):
        calls.clear()
        generator.uses_compiled = uses_compiled
        generator.generate(PROMPTS[:2], [0, 1], 32)
        assert bool(calls) is uses_compiled


def test_a_compiler_that_fails_leaves_all_as_it_was() -> None:
    def backend(graph: torch.fx.GraphModule, inputs: object) -> torch.fx.GraphModule:
        raise RuntimeError("no working compiler")

    generator = one_step_generator(small_pipeline())
    plain = generator.generate(PROMPTS[:2], [0, 1], 32)
    with pytest.raises(RuntimeError, match="no working compiler"):
        generator.compile_unet(PROMPTS[:2], [0, 1], 32, backend=backend)
    assert torch.equal(generator.generate(PROMPTS[:2], [0, 1], 32), plain)
    assert not generator.compiled
