from terminal_picture import picture


def test_the_picture_holds_the_lines_and_loads_nothing() -> None:
    drawn = picture("\x1b[32mVALID\x1b[0m\nsecond line\n\n", "a title")
    assert drawn.startswith("<svg")
    assert "VALID" in drawn
    assert "second&#160;line" in drawn
    assert "a&#160;title" in drawn or "a title" in drawn
    assert "url(http" not in drawn
    assert "@font-face" not in drawn
