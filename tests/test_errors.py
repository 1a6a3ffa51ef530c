import pytest

from challenge.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("no such\nlayer"), "no such"),
        (RuntimeError("\n  no such \n"), "no such"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_an_exception_is_told_in_one_line(error: Exception, line: str) -> None:
    assert first_line(error) == line
