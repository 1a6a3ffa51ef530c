import errno
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from conftest import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import UInt8
from torch import Tensor

from challenge.errors import JournalError
from challenge.journal import Journal, JournalBatch, JournalWriter
from challenge.journal_format import encode_record
from challenge.rounds import Place

SHAPE = (3, 2, 2)
HEADER = {"model": "tiny", "seed": 0}


def picture(value: int) -> UInt8[Tensor, "3 S S"]:
    return torch.full(SHAPE, value, dtype=torch.uint8)


def batch(places: list[Place], values: list[int] | None = None) -> JournalBatch:
    """Images that can be told apart; by default 10 * class + round."""
    values = values or [10 * class_index + round_index for class_index, round_index, _ in places]
    return JournalBatch(places, torch.stack([picture(v) for v in values]))


def write(path: Path, *batches: JournalBatch) -> None:
    with JournalWriter(path, HEADER, SHAPE) as writer:
        for each in batches:
            writer.append(each)


def values(journal: Journal, class_index: int) -> list[int]:
    """What ``batch`` put in, one number an image."""
    images = journal.read(class_index)
    assert images.shape[1:] == SHAPE
    assert all(bool((image == image.flatten()[0]).all()) for image in images)
    return [int(image.flatten()[0]) for image in images]


THREE_BATCHES = (
    batch([(0, 0, 0), (1, 0, 0)]),
    batch([(2, 0, 0), (0, 1, 0), (1, 1, 0)]),
    batch([(2, 1, 0), (0, 2, 0)]),
)


def record_ends(path: Path) -> list[int]:
    return [each.end for each in Journal.open(path).batches]


def test_images_come_back_by_class_in_the_order_of_rounds(tmp_path: Path) -> None:
    write(tmp_path / "j", batch([(4, 2, 0), (7, 0, 0)]), batch([(4, 0, 0)]), batch([(4, 1, 0)]))
    journal = Journal.open(tmp_path / "j")
    assert values(journal, 4) == [40, 41, 42]
    assert values(journal, 7) == [70]
    assert journal.read(5).shape == (0, 3, 2, 2)
    assert journal.rounds(4) == [0, 1, 2]
    assert journal.counts() == {4: 3, 7: 1}


def test_pixels_come_back_exactly(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8, generator=rng)
    with JournalWriter(tmp_path / "j", {}, (3, 32, 32)) as writer:
        writer.append(JournalBatch([(0, index, 0) for index in range(20)], images))
    assert torch.equal(Journal.open(tmp_path / "j").read(0), images)


def test_images_in_another_memory_order_come_back_exactly(tmp_path: Path) -> None:
    images = torch.arange(4 * 12, dtype=torch.uint8).view(4, 3, 2, 2)
    turned = images.to(memory_format=torch.channels_last)
    write(tmp_path / "j", JournalBatch([(0, index, 0) for index in range(4)], turned))
    assert torch.equal(Journal.open(tmp_path / "j").read(0), images)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 2)),
            min_size=1,
            max_size=5,
        ),
        max_size=6,
    )
)
def test_the_last_attempt_at_an_image_counts(
    tmp_path_factory: pytest.TempPathFactory, places: list[list[Place]]
) -> None:
    path = tmp_path_factory.mktemp("attempts") / "j"
    expected: dict[tuple[int, int], tuple[int, int]] = {}
    number = 0
    batches = []
    for group in places:
        numbers = list(range(number, number + len(group)))
        number += len(group)
        batches.append(batch(group, numbers))
        for (class_index, round_index, attempt), value in zip(group, numbers, strict=True):
            key = (class_index, round_index)
            expected[key] = max(expected.get(key, (0, 0)), (attempt, value))
    write(path, *batches)
    journal = Journal.open(path)
    for class_index in range(4):
        rounds = sorted(r for c, r in expected if c == class_index)
        assert values(journal, class_index) == [expected[class_index, r][1] for r in rounds]


def test_complete_rounds_counts_from_the_first_and_stops_at_a_gap(tmp_path: Path) -> None:
    write(tmp_path / "j", *THREE_BATCHES)
    journal = Journal.open(tmp_path / "j")
    assert journal.complete_rounds(3) == 2  # round 2 has class 0 only
    assert journal.complete_rounds(4) == 0  # class 3 has none
    write(tmp_path / "j", batch([(c, 3, 0) for c in range(3)]))
    journal.refresh()
    assert journal.complete_rounds(3) == 2


def test_the_boundaries_of_batches_are_kept(tmp_path: Path) -> None:
    write(tmp_path / "j", *THREE_BATCHES)
    batches = Journal.open(tmp_path / "j").batches
    assert [each.accepted for each in batches] == [
        ((0, 0, 0), (1, 0, 0)),
        ((2, 0, 0), (0, 1, 0), (1, 1, 0)),
        ((2, 1, 0), (0, 2, 0)),
    ]


def test_what_was_rejected_is_kept_without_its_pixels_also_when_nothing_else_was_made(
    tmp_path: Path,
) -> None:
    none = torch.zeros(0, *SHAPE, dtype=torch.uint8)
    first = batch([(0, 0, 0), (1, 0, 1)])
    with JournalWriter(tmp_path / "j", HEADER, SHAPE) as writer:
        writer.append(JournalBatch(first.accepted, first.images, rejected=[(2, 0, 0), (3, 0, 5)]))
        writer.append(JournalBatch([], none, rejected=[(2, 0, 1)]))
        writer.append(batch([(2, 0, 2)]))
    journal = Journal.open(tmp_path / "j")
    assert [each.rejected for each in journal.batches] == [((2, 0, 0), (3, 0, 5)), ((2, 0, 1),), ()]
    assert [each.accepted for each in journal.batches] == [
        ((0, 0, 0), (1, 0, 1)),
        (),
        ((2, 0, 2),),
    ]
    assert journal.counts() == {0: 1, 1: 1, 2: 1}
    assert values(journal, 2) == [20]


def test_a_cut_at_any_byte_costs_the_last_batch_and_the_rest_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, *THREE_BATCHES)
    whole = path.read_bytes()
    _, start, end = record_ends(path)
    assert end == len(whole)
    for cut in range(start, end):
        path.write_bytes(whole[:cut])
        journal = Journal.open(path)
        assert len(journal.batches) == 2
        assert journal.dropped_bytes == cut - start
        assert [values(journal, c) for c in range(3)] == [[0, 1], [10, 11], [20]]
        write(path, THREE_BATCHES[2])
        assert path.read_bytes() == whole


def test_damage_to_any_byte_of_the_last_batch_costs_that_batch(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, *THREE_BATCHES)
    whole = path.read_bytes()
    _, start, end = record_ends(path)
    for place in range(start, end):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        journal = Journal.open(path)
        assert len(journal.batches) == 2
        assert journal.dropped_bytes == end - start


def test_damage_before_the_last_batch_is_an_error_at_any_byte(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, *THREE_BATCHES)
    whole = path.read_bytes()
    start, end, _ = record_ends(path)
    expected = (
        f"bytes {start} to {end} are damaged.* cut the file to {start} bytes to keep the 2 im"
    )
    for place in range(start, end):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with pytest.raises(JournalError, match=expected):
            Journal.open(path)
        with pytest.raises(JournalError, match=expected):
            JournalWriter(path, HEADER, SHAPE)


def test_zeros_at_the_end_as_a_loss_of_power_may_leave_them_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, *THREE_BATCHES)
    whole = path.read_bytes()
    start = record_ends(path)[1]
    path.write_bytes(whole[:start] + bytes(5000))
    assert Journal.open(path).dropped_bytes == 5000
    write(path, THREE_BATCHES[2])
    assert path.read_bytes() == whole


def test_a_journal_cut_within_its_header_is_begun_again_but_not_read(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path)
    header = path.read_bytes()
    write(path, THREE_BATCHES[0])
    whole = path.read_bytes()
    for cut in range(len(header)):
        path.write_bytes(header[:cut])
        with pytest.raises(JournalError, match="does not begin with a journal's header"):
            Journal.open(path)
        write(path, THREE_BATCHES[0])
        assert path.read_bytes() == whole


def test_a_journal_with_another_header_is_refused_by_its_first_difference(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, *THREE_BATCHES)
    before = path.read_bytes()
    with pytest.raises(JournalError, match="j: its model is 'tiny', this run's is 'sdxl-turbo'"):
        JournalWriter(path, {"model": "sdxl-turbo", "seed": 1}, SHAPE)
    with pytest.raises(JournalError, match="its seed is 0, this run's is None"):
        JournalWriter(path, {"model": "tiny"}, SHAPE)
    with pytest.raises(
        JournalError, match=r"image_shape is \(3, 2, 2\), this run's is \(3, 4, 4\)"
    ):
        JournalWriter(path, HEADER, (3, 4, 4))
    assert path.read_bytes() == before


def test_a_header_is_equal_to_what_json_makes_of_it(tmp_path: Path) -> None:
    header = {"classes": (1, 2), "nested": {"a": None}}
    for _ in range(2):
        with JournalWriter(tmp_path / "j", header, SHAPE):
            pass
    assert Journal.open(tmp_path / "j").header.settings == {
        "classes": [1, 2],
        "nested": {"a": None},
    }


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x02}\n", b"[]\n", b'{"format": "other", "version": 2}\n']
)
def test_a_file_that_is_no_journal_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "j").write_bytes(content)
    expected = r"j: cannot read the journal \(it does not begin with a journal's header\)"
    with pytest.raises(JournalError, match=expected):
        Journal.open(tmp_path / "j")


def test_a_journal_of_another_version_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "j")
    newer = (tmp_path / "j").read_bytes().replace(b'"version": 2', b'"version": 3')
    (tmp_path / "j").write_bytes(newer)
    with pytest.raises(JournalError, match="version 3, expected 2"):
        Journal.open(tmp_path / "j")


def test_a_missing_journal_and_one_that_cannot_be_made_are_told(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"cannot read the journal \(No such file"):
        Journal.open(tmp_path / "j")
    with pytest.raises(JournalError, match=r"cannot write the journal \(No such file"):
        JournalWriter(tmp_path / "missing" / "j", HEADER, SHAPE)


def test_the_writers_reader_has_all_that_was_appended(tmp_path: Path) -> None:
    with JournalWriter(tmp_path / "j", HEADER, SHAPE) as writer:
        assert writer.reader().counts() == {}
        for made, each in enumerate(THREE_BATCHES, start=1):
            writer.append(each)
            assert len(writer.reader().batches) == made
        assert writer.written == 7
        assert values(writer.reader(), 0) == [0, 1, 2]


def test_a_refresh_does_not_read_old_batches_again(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, *THREE_BATCHES[:2])
    journal = Journal.open(path)
    write(path, THREE_BATCHES[2])
    content = bytearray(path.read_bytes())
    content[record_ends(path)[0] + 1] ^= 1  # a second reading would find this
    path.write_bytes(content)
    journal.refresh()
    assert len(journal.batches) == 3


def test_a_batch_that_is_just_being_written_appears_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, *THREE_BATCHES)
    whole = path.read_bytes()
    _, start, end = record_ends(path)
    path.write_bytes(whole[:start])
    journal = Journal.open(path)
    for size in range(start + 1, end):
        path.write_bytes(whole[:size])
        journal.refresh()
        assert (len(journal.batches), journal.dropped_bytes) == (2, size - start)
    path.write_bytes(whole)
    journal.refresh()
    assert (len(journal.batches), journal.dropped_bytes) == (3, 0)


def test_a_journal_that_became_shorter_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "j", *THREE_BATCHES)
    journal = Journal.open(tmp_path / "j")
    os.truncate(tmp_path / "j", record_ends(tmp_path / "j")[0])
    with pytest.raises(JournalError, match="it has become shorter"):
        journal.refresh()
    with pytest.raises(JournalError, match="it has become shorter"):
        journal.read(0)


def test_append_waits_while_two_batches_are_in_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go_on = threading.Event(), threading.Event()

    def encode_slowly(*arguments: object) -> bytes:
        writing.set()
        assert go_on.wait(30)
        return encode_record(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("challenge.journal.encode_record", encode_slowly)
    with JournalWriter(tmp_path / "j", HEADER, SHAPE) as writer:
        writer.append(THREE_BATCHES[0])
        assert writing.wait(30)
        writer.append(THREE_BATCHES[1])
        third = threading.Thread(target=writer.append, args=[THREE_BATCHES[2]])
        third.start()
        third.join(timeout=0.2)
        assert third.is_alive()
        assert writer.written == 0
        go_on.set()
        third.join(timeout=30)
        assert not third.is_alive()
    assert len(Journal.open(tmp_path / "j").batches) == 3


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """File sizes at the calls of fsync."""
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    return sizes


def test_the_disk_is_synced_when_the_interval_is_over_and_at_the_end(
    tmp_path: Path, clock: FakeClock, synced: list[int]
) -> None:
    path = tmp_path / "j"
    with JournalWriter(path, HEADER, SHAPE, sync_interval_s=1000.0, clock=clock) as writer:
        synced.clear()  # that of the header
        for now_s in (0.0, 999.0, 1001.0, 2000.0):  # the third batch is due
            clock.now_s = now_s
            writer.append(THREE_BATCHES[0])
            writer.reader()
        ends = record_ends(path)
        assert synced == [ends[2]]
    assert synced == [ends[2], ends[3]]


def test_the_disk_is_synced_when_no_further_batch_comes(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle = threading.Event()
    with JournalWriter(tmp_path / "j", HEADER, SHAPE, sync_interval_s=0.01, clock=clock) as writer:
        monkeypatch.setattr(os, "fsync", lambda _: idle.set())
        writer.append(THREE_BATCHES[0])
        assert idle.wait(30)


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_at_the_next_call_and_keeps_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, THREE_BATCHES[0])
    reason = rf"j: cannot write the journal \({os.strerror(errno.EFBIG)}\)"
    with largest_file(path.stat().st_size + 20):
        writer = JournalWriter(path, HEADER, SHAPE)
        writer.append(THREE_BATCHES[1])
        with pytest.raises(JournalError, match=reason):
            writer.reader()
        with pytest.raises(JournalError, match=reason):
            writer.append(THREE_BATCHES[2])
        with pytest.raises(JournalError, match=reason):
            _ = writer.written
        with pytest.raises(JournalError, match=reason):
            writer.close()
    journal = Journal.open(path)
    assert len(journal.batches) == 1
    assert journal.dropped_bytes == 20
    write(path, *THREE_BATCHES[1:])
    assert len(Journal.open(path).batches) == 3


def test_a_full_disk_does_not_keep_a_caller_waiting_for_ever(tmp_path: Path) -> None:
    def fill() -> None:
        with JournalWriter(tmp_path / "j", HEADER, SHAPE) as writer:
            while True:
                writer.append(THREE_BATCHES[0])

    with largest_file(1000), pytest.raises(JournalError, match="cannot write"):
        fill()


def test_nothing_is_written_behind_a_batch_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, encoded, both_are_in_flight = tmp_path / "j", [], threading.Event()

    def encode_and_count(*arguments: object) -> bytes:
        encoded.append(arguments)
        assert both_are_in_flight.wait(30)
        return encode_record(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("challenge.journal.encode_record", encode_and_count)
    write(path)
    with largest_file(path.stat().st_size + 20):
        writer = JournalWriter(path, HEADER, SHAPE)
        writer.append(THREE_BATCHES[0])
        writer.append(THREE_BATCHES[1])
        both_are_in_flight.set()
        with pytest.raises(JournalError, match="cannot write"):
            writer.close()
    assert len(encoded) == 1
    assert Journal.open(path).dropped_bytes == 20


def test_an_error_in_the_block_is_not_hidden_by_one_of_the_disk(tmp_path: Path) -> None:
    def interrupted() -> None:
        with JournalWriter(tmp_path / "j", HEADER, SHAPE) as writer:
            writer.append(batch([(0, 0, 0)] * 100))
            raise KeyboardInterrupt

    with largest_file(200), pytest.raises(KeyboardInterrupt):
        interrupted()


def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    program = """
import os, signal, sys, torch
from pathlib import Path
from challenge.journal import JournalBatch, JournalWriter
images = torch.full((5, 3, 2, 2), 9, dtype=torch.uint8)
writer = JournalWriter(Path(sys.argv[1]), {}, (3, 2, 2), sync_interval_s=1000.0)
for round_index in range(4):
    writer.append(JournalBatch([(index, round_index, 0) for index in range(5)], images))
while writer.written < 20:
    pass
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path / "j")], check=False)
    assert ended.returncode == -signal.SIGKILL
    journal = Journal.open(tmp_path / "j")
    assert journal.complete_rounds(5) == 4
    assert values(journal, 4) == [9, 9, 9, 9]


def test_wrong_batches_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 images"):
        JournalBatch([(0, 0, 0)], torch.zeros(2, 3, 2, 2, dtype=torch.uint8))
    with pytest.raises(ValueError, match="no images"):
        JournalBatch([], torch.zeros(0, 3, 2, 2, dtype=torch.uint8))
    writer = JournalWriter(tmp_path / "j", HEADER, SHAPE)
    with pytest.raises(ValueError, match=r"shape \(3, 4, 4\), expected \(3, 2, 2\)"):
        writer.append(JournalBatch([(0, 0, 0)], torch.zeros(1, 3, 4, 4, dtype=torch.uint8)))
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="is closed"):
        writer.append(THREE_BATCHES[0])


def test_views_of_a_picture_come_back_apart_and_read_gives_the_first(tmp_path: Path) -> None:
    images = torch.arange(2 * 6 * 4, dtype=torch.uint8).view(2, 6, 2, 2)
    with JournalWriter(tmp_path / "j", {}, (6, 2, 2)) as writer:
        writer.append(JournalBatch([(0, 0, 0), (0, 1, 0)], images))
    journal = Journal.open(tmp_path / "j")
    views = journal.read_views(0)
    assert views.shape == (2, 2, 3, 2, 2)
    assert torch.equal(views[:, 1], images[:, 3:])
    assert torch.equal(journal.read(0), images[:, :3])
    assert torch.equal(journal.read_views(0, most=1), views[:1])
