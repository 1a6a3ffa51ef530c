from challenge.batch_sizer import BatchSizer


def test_the_batch_doubles_while_it_pays_and_then_stays_with_the_best() -> None:
    sizer = BatchSizer(None, longest_s=100.0)
    seconds = {8: 1.0, 16: 1.2, 32: 2.0, 64: 4.0, 128: 8.0}
    while not sizer.settled:
        sizer.observe(sizer.size, seconds[sizer.size], left_s=1000.0)
    assert sizer.size == 32


def test_one_doubling_without_a_gain_does_not_hide_the_next_that_has_one() -> None:
    sizer = BatchSizer(None, longest_s=100.0)
    seconds = {8: 0.031, 16: 0.044, 32: 0.086, 64: 0.13, 128: 0.26, 256: 0.3}
    sizes = []
    while not sizer.settled:
        sizes.append(sizer.size)
        sizer.observe(sizer.size, seconds[sizer.size], left_s=1000.0)
    assert sizes[::2] == [8, 16, 32, 64, 128, 256]
    assert sizer.size == 256


def test_when_the_search_ends_after_a_doubling_without_a_gain_the_size_before_is_kept() -> None:
    sizer = BatchSizer(None, longest_s=100.0, has_room=lambda: sizer.size < 16)
    for size in (8, 8, 16, 16):
        sizer.observe(size, size / 8, left_s=1000.0)
    assert (sizer.size, sizer.settled) == (8, True)


def test_the_first_of_two_batches_of_a_size_may_be_slow() -> None:
    sizer = BatchSizer(None, longest_s=100.0)
    for size, seconds in [(8, 9.0), (8, 1.0), (16, 9.0), (16, 1.1)]:
        sizer.observe(size, seconds, left_s=1000.0)
    assert sizer.size == 32


def test_the_batch_stays_shorter_than_the_longest_allowed() -> None:
    sizer = BatchSizer(None, longest_s=1.5)
    sizer.observe(8, 1.0, left_s=1000.0)
    sizer.observe(8, 1.0, left_s=1000.0)
    assert sizer.settled
    assert sizer.size == 8


def test_a_batch_that_would_not_fit_into_memory_is_not_tried() -> None:
    sizes: list[int] = []
    sizer = BatchSizer(None, longest_s=100.0, has_room=lambda: sizer.size < 32)
    while not sizer.settled:
        sizes.append(sizer.size)
        sizer.observe(sizer.size, 1.0, left_s=1000.0)
    assert sizes == [8, 8, 16, 16, 32, 32]
    assert sizer.size == 32


def test_a_batch_size_that_was_given_is_kept() -> None:
    sizer = BatchSizer(12, longest_s=0.1)
    sizer.observe(12, 100.0, left_s=1000.0)
    assert sizer.size == 12


def test_out_of_memory_halves_the_batch_for_good_until_one_image_is_too_much() -> None:
    sizer = BatchSizer(None, longest_s=100.0)
    assert sizer.out_of_memory(8)
    assert (sizer.size, sizer.settled) == (4, True)
    assert not BatchSizer(1, longest_s=100.0).out_of_memory(1)


def test_a_larger_batch_is_not_tried_when_its_first_cost_would_not_pay_in_the_time_left() -> None:
    sizer = BatchSizer(None, longest_s=100.0)
    sizer.observe(8, 5.0, left_s=8.0)
    sizer.observe(8, 1.0, left_s=7.0)
    (choice,) = sizer.choices
    assert (choice.what, choice.speed_up, choice.cost_s, choice.left_s) == (
        "batch of 16", 1.5, 4.0, 7.0,
    )  # fmt: skip
    assert not choice.pays  # 7 s x (1 - 1 / 1.5) = 2.3 s
    assert (sizer.size, sizer.settled) == (8, True)


def test_after_a_resume_the_size_that_was_run_of_late_goes_on() -> None:
    sizer = BatchSizer(None, longest_s=100.0)
    sizer.restore([8, 8, 16, 16, 32, 32, 32, 32, 5])
    assert (sizer.size, sizer.settled) == (32, True)
    given_size = BatchSizer(12, longest_s=1.0)
    given_size.restore([8, 8])
    assert given_size.size == 12
