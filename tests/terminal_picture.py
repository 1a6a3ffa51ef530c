"""A picture of a terminal from what ``tmux capture-pane -e -p`` wrote, for the README.

python tests/terminal_picture.py CAPTURE.txt docs/terminal.svg --title "generate --model tiny"
"""

import argparse
import io
import re
from pathlib import Path

from rich.ansi import AnsiDecoder
from rich.console import Console


def picture(capture: str, title: str) -> str:
    """An SVG of the lines, as wide as the longest; it loads no font from elsewhere."""
    lines = list(AnsiDecoder().decode(capture.rstrip()))  # a style may go on over lines
    width = max(line.cell_len for line in lines)
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(line, soft_wrap=True)
    drawn = console.export_svg(title=title, unique_id="terminal")
    return re.sub(r"@font-face\s*\{.*?\}\s*", "", drawn, flags=re.DOTALL)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("capture", type=Path)
    parser.add_argument("svg", type=Path)
    parser.add_argument("--title", default="")
    given = parser.parse_args()
    given.svg.write_text(picture(given.capture.read_text(), given.title))
