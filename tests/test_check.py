import hashlib
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor

from challenge.check import SubmissionReport, check_submission
from challenge.pixel_scan import PixelScan
from challenge.spec import CIFAR100, TINYIMAGENET, DatasetSpec
from challenge.submission import SubmissionWriter

Images = Float[Tensor, "N 3 S S"]


def pixels(count: int = 200, spec: DatasetSpec = CIFAR100) -> Images:
    """Pictures in [0, 1] that fill the range."""
    rng = torch.Generator().manual_seed(7)
    return torch.rand(count, *spec.image_shape, generator=rng)


def normalized(images: Images, spec: DatasetSpec = CIFAR100) -> Images:
    mean = torch.tensor(spec.mean).view(3, 1, 1)
    return (images - mean) / torch.tensor(spec.std).view(3, 1, 1)


def check(folder: Path, saved: Any, **options: Any) -> SubmissionReport:
    torch.save(saved, folder / "somebody.pt")
    return check_submission(folder / "somebody.pt", **options)


def only(sentences: tuple[str, ...]) -> str:
    assert len(sentences) == 1, sentences
    assert "\n" not in sentences[0]
    assert "somebody.pt: " in sentences[0]
    return sentences[0]


@pytest.mark.parametrize("spec", [CIFAR100, TINYIMAGENET], ids=lambda spec: spec.name)
def test_a_good_file_is_valid_and_described(tmp_path: Path, spec: DatasetSpec) -> None:
    report = check(tmp_path, normalized(pixels(2 * spec.num_classes, spec), spec))
    assert report.valid
    assert report.problems == report.warnings == ()
    assert (report.dataset, report.images, report.ipc) == (spec.name, 2 * spec.num_classes, 2)
    assert report.sha256 == hashlib.sha256((tmp_path / "somebody.pt").read_bytes()).hexdigest()
    # of uniform pixels: mean 1/2, std sqrt(1/12)
    expected_mean = [(0.5 - mean) / std for mean, std in zip(spec.mean, spec.std, strict=True)]
    assert report.mean == pytest.approx(expected_mean, abs=0.01)
    assert report.std == pytest.approx([12**-0.5 / std for std in spec.std], abs=0.01)


def test_mean_and_std_are_per_channel_over_all_chunks() -> None:
    scan = PixelScan(CIFAR100, 4)
    first, second = torch.zeros(3, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    second[:, 1] = 4.0
    scan.add(first)
    scan.add(second)
    # three zeros and a four: mean 1, variance (3 * 1 + 9) / 4 = 3
    assert scan.mean == (0.0, 1.0, 0.0)
    assert scan.std == pytest.approx((0.0, 3**0.5, 0.0))


def test_our_own_writer_makes_valid_files(tmp_path: Path) -> None:
    path = tmp_path / "cifar100.pt"
    with SubmissionWriter(path, CIFAR100, 200) as writer:
        writer.write(normalized(pixels()))
        submission = writer.finish()
    report = check_submission(path)
    assert report.valid
    assert report.sha256 == submission.sha256


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((200, 32, 32, 3), r"expected \(N, 3, 32, 32\) for CIFAR-100 or .*permute\(0, 3, 1, 2\)"),
        ((200, 3, 28, 28), r"shape is \(200, 3, 28, 28\), expected .* resize"),
        (
            (200, 1, 32, 32),
            r"shape is \(200, 1, 32, 32\), expected \(N, 3, 32, 32\) for CIFAR-100;",
        ),
        ((200, 3, 64, 32), "expected"),
        ((200, 3072), "expected"),
        ((), "expected"),
        ((0, 3, 32, 32), "there are 0 images, expected a multiple of 100"),
        ((150, 3, 32, 32), "there are 150 images, expected a multiple of 100"),
        ((100, 3, 64, 64), "there are 100 images, expected a multiple of 200 for Tiny-ImageNet"),
    ],
    ids=str,
)
def test_a_wrong_shape_or_count_is_a_problem(
    tmp_path: Path, shape: tuple[int, ...], expected: str
) -> None:
    rng = torch.Generator().manual_seed(1)
    report = check(tmp_path, torch.randn(shape, generator=rng).clamp(-1.5, 1.8))
    assert not report.valid
    with pytest.raises(AssertionError, match=expected):
        raise AssertionError(only(report.problems))


def test_a_file_for_the_other_data_set_is_a_problem(tmp_path: Path) -> None:
    report = check(tmp_path, normalized(pixels()), dataset="tinyimagenet")
    assert "expected (N, 3, 64, 64) for Tiny-ImageNet" in only(report.problems)
    assert report.dataset == "tinyimagenet"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_another_dtype_is_a_problem_and_the_rest_is_still_judged(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    images = normalized(pixels()).to(dtype)
    images[3] = images[150]
    report = check(tmp_path, images)
    assert f"dtype is {dtype}, expected torch.float32" in only(report.problems)
    assert "exact copies" in only(report.warnings)


def test_complex_values_are_a_problem(tmp_path: Path) -> None:
    report = check(tmp_path, torch.zeros(100, 3, 32, 32, dtype=torch.complex64))
    assert "torch.complex64" in only(report.problems)
    assert report.warnings == ()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_a_problem(tmp_path: Path, value: float) -> None:
    images = normalized(pixels())
    images[[121, 199], 1, 0, 5] = value
    report = check(tmp_path, images)
    assert "in 2 of 200 images (first: image 121, class 60)" in only(report.problems)
    assert report.mean is report.std is None


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("0..1", pixels()),
        ("-1..1", pixels() * 2 - 1),
        ("0..255", pixels() * 255),
        ("0..255", (pixels() * 0.6 + 0.1) * 255),  # neither black nor white
    ],
)
def test_images_that_were_never_normalised_are_a_problem(
    tmp_path: Path, name: str, images: Images
) -> None:
    report = check(tmp_path, images)
    assert f"the values fill the range {name} (found" in only(report.problems)
    assert "mean (0.5071, 0.4866, 0.4409)" in only(report.problems)
    assert report.warnings == ()


@pytest.mark.parametrize("values", [(0.0, 1.0), (1.0, 0.0)])
def test_the_ends_of_the_range_may_lie_in_different_chunks(values: tuple[float, float]) -> None:
    scan = PixelScan(CIFAR100, 2)
    for value in values:
        scan.add(torch.full((1, 3, 32, 32), value))
    assert "the values fill the range 0..1 (found 0.000 to 1.000)" in scan.problems()[0]


def test_bytes_are_a_problem_twice_over(tmp_path: Path) -> None:
    report = check(tmp_path, (pixels() * 255).to(torch.uint8))
    assert len(report.problems) == 2
    assert "torch.uint8" in report.problems[0]
    assert "0..255" in report.problems[1]


@settings(deadline=None)
@given(
    spec=st.sampled_from([CIFAR100, TINYIMAGENET]),
    low=st.floats(0, 1),
    high=st.floats(0, 1),
)
def test_no_normalised_set_of_grey_images_is_called_unnormalised(
    spec: DatasetSpec, low: float, high: float
) -> None:
    images = torch.full((2, *spec.image_shape), min(low, high))
    images[:, :, :16] = max(low, high)
    scan = PixelScan(spec, 2)
    scan.add(normalized(images, spec))
    assert scan.problems() == []


def test_pale_images_that_might_be_unnormalised_are_a_warning(tmp_path: Path) -> None:
    report = check(tmp_path, pixels() * 0.5 + 0.2)
    assert report.valid
    assert "all values lie in 0..1 (found 0.200 to 0.700)" in only(report.warnings)


@pytest.mark.parametrize("shift", [1.0, -1.0])
def test_values_that_no_pixel_can_have_are_a_warning(tmp_path: Path, shift: float) -> None:
    images = normalized(pixels())
    images[42, 2] += shift
    report = check(tmp_path, images)
    assert report.valid
    warning = only(report.warnings)
    assert "values that no pixel can have in 1 of 200 images (first: image 42, class 21)" in warning
    assert "expected -1.898 to 2.024 for CIFAR-100" in warning


def test_normalising_twice_is_warned_of(tmp_path: Path) -> None:
    report = check(tmp_path, normalized(normalized(pixels())))
    assert "in 200 of 200 images" in only(report.warnings)


def test_images_of_one_colour_are_a_warning(tmp_path: Path) -> None:
    images = pixels()
    images[17] = torch.tensor([0.1, 0.5, 0.9]).view(3, 1, 1)
    images[18] = torch.tensor([0.2, 0.5, 0.9]).view(3, 1, 1)
    images[19, :2] = 0.5  # only two of its channels
    report = check(tmp_path, normalized(images))
    assert report.valid
    assert "one colour only in 2 of 200 images (first: image 17, class 8)" in only(report.warnings)


def test_copies_are_counted_within_and_across_classes(tmp_path: Path) -> None:
    images = normalized(pixels(1000))
    images[301] = images[300]  # both of class 30
    images[303] = images[300]
    images[999] = images[0]  # of classes 99 and 0, in different chunks
    images[501] = images[500]
    images[501, 2, 31, 31] += 0.1  # no copy
    report = check(tmp_path, images)
    assert report.valid
    warning = only(report.warnings)
    assert "3 of 1000 images are exact copies of an earlier one" in warning
    assert "1 of them of one in another class" in warning
    assert "(first: image 301, class 30, of image 300, class 30)" in warning


def test_a_part_of_a_larger_tensor_is_a_warning(tmp_path: Path) -> None:
    report = check(tmp_path, normalized(pixels(300))[:100])
    assert report.valid
    assert "holds 3,686,400 bytes for a tensor of 1,228,800" in only(report.warnings)


def test_values_that_stand_for_many_places_are_a_problem_told_at_once(tmp_path: Path) -> None:
    report = check(tmp_path, torch.zeros(1).expand(10**9, 3, 64, 64))
    found = (
        "the file holds 4 bytes for a tensor of 49,152,000,000,000: its values stand for several"
    )
    assert found in only(report.problems)


def test_images_in_another_memory_order_are_fine(tmp_path: Path) -> None:
    images = normalized(pixels()).to(memory_format=torch.channels_last)
    images[5] = images[3]
    report = check(tmp_path, images)
    assert report.valid
    assert "1 of 200 images are exact copies" in only(report.warnings)


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_holds_code_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    trace = tmp_path / "trace"
    saved = (normalized(pixels()), Bomb(trace))
    torch.save(saved, tmp_path / "somebody.pt", _use_new_zipfile_serialization=zipped)
    report = check_submission(tmp_path / "somebody.pt")
    assert not report.valid
    assert "holds more than a tensor" in only(report.problems)
    assert "refused unread" in only(report.problems)
    assert not trace.exists()
    torch.load(tmp_path / "somebody.pt", weights_only=False)
    assert trace.exists()  # it would have gone off


@pytest.mark.parametrize(
    ("saved", "kind"),
    [
        ({"images": torch.zeros(100, 3, 32, 32)}, "dict"),
        ([torch.zeros(100, 3, 32, 32)], "list"),
        (torch.nn.Parameter(torch.zeros(100, 3, 32, 32)), "Parameter"),
        (3, "int"),
    ],
    ids=["dict", "list", "parameter", "number"],
)
def test_anything_but_one_plain_tensor_is_a_problem(tmp_path: Path, saved: Any, kind: str) -> None:
    report = check(tmp_path, saved)
    assert f"an object of type {kind}, expected one plain tensor" in only(report.problems)


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(100, 3, 32, 32).to_sparse(), torch.zeros(100, 3, 32, 32, device="meta")],
    ids=["sparse", "meta"],
)
def test_a_tensor_without_plain_values_is_a_problem(tmp_path: Path, tensor: Tensor) -> None:
    assert "expected dense float32 values" in only(check(tmp_path, tensor).problems)


def test_a_missing_file_and_a_folder_are_problems(tmp_path: Path) -> None:
    missing = check_submission(tmp_path / "somebody.pt", "cifar100")
    assert "somebody.pt: there is no such file" in only(missing.problems)
    assert (missing.dataset, missing.images, missing.sha256) == ("cifar100", 0, None)
    (tmp_path / "somebody.pt").mkdir()
    assert "not a file" in only(check_submission(tmp_path / "somebody.pt").problems)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no tensor",
        b"PK\x03\x04 no zip",
        pickle.dumps([1, 2, 3]),
        json.dumps({"images": []}).encode(),
        bytes(1000),
        b"\x80\x02.",
    ],
    ids=["empty", "text", "zip magic", "pickle", "json", "zeros", "empty pickle"],
)
def test_what_is_not_a_torch_file_is_a_problem(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "somebody.pt").write_bytes(content)
    problem = only(check_submission(tmp_path / "somebody.pt").problems)
    assert "damaged or not one that torch.save wrote (" in problem
    assert "()" not in problem


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_damage_to_a_file_gets_past_the_report(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damage") / "somebody.pt"
    torch.save(torch.zeros(1, 3, 4, 4), path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    assert not check_submission(path).valid


def test_torchs_old_format_is_read(tmp_path: Path) -> None:
    images = normalized(pixels())
    torch.save(images, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert check_submission(tmp_path / "old.pt").valid


def test_a_file_that_was_packed_again_by_a_zip_tool_is_read(tmp_path: Path) -> None:
    torch.save(normalized(pixels()), tmp_path / "stored.pt")
    source = zipfile.ZipFile(tmp_path / "stored.pt")
    target = zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED)
    with source, target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    stored, packed = (check_submission(tmp_path / name) for name in ("stored.pt", "packed.pt"))
    assert packed.valid
    assert packed.mean == stored.mean
