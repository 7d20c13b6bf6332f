#!/usr/bin/env python3
"""A terminal's screen as a picture: screen-to-svg.py TITLE <SCREEN >PICTURE

Reads what `tmux capture-pane -p -e` prints: lines of text with SGR sequences (ECMA-48, 8.3.117).
"""
import re
import sys
from html import escape

CELL_WIDTH, LINE_HEIGHT, MARGIN = 8.4, 17, 10
BACKGROUND, FOREGROUND = "#1c1c1c", "#dddddd"
# The sixteen colours of a terminal, normal and bright.
COLOURS = [
    "#000000", "#cd3131", "#2fae55", "#c7a500", "#4a8ae8", "#bc5fbc", "#1fa8c9", "#dddddd",
    "#777777", "#f14c4c", "#4be07d", "#f0e14a", "#7cb0ff", "#dd8add", "#50d0ee", "#ffffff",
]
TOKEN = re.compile(r"\x1b\[([0-9;]*)m|([^\x1b]+)")


class Style:
    """What SGR sequences have set so far."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.colour, self.ground, self.bold, self.reversed = FOREGROUND, BACKGROUND, False, False

    def apply(self, codes):
        codes = [int(code or 0) for code in codes.split(";")]
        while codes:
            code = codes.pop(0)
            if code == 0:
                self.reset()
            elif code == 1:
                self.bold = True
            elif code == 7:
                self.reversed = True
            elif code == 22:
                self.bold = False
            elif code == 27:
                self.reversed = False
            elif code == 39:
                self.colour = FOREGROUND
            elif code == 49:
                self.ground = BACKGROUND
            elif code in (38, 48) and codes[:1] == [5]:
                self.set_colour(code == 48, codes[1])
                codes = codes[2:]
            else:
                self.apply_short(code)

    def apply_short(self, code):
        for first, bright in ((30, 0), (40, 0), (90, 8), (100, 8)):
            if first <= code < first + 8:
                self.set_colour(first in (40, 100), code - first + bright)

    def set_colour(self, is_ground, number):
        colour = COLOURS[number] if number < len(COLOURS) else FOREGROUND
        if is_ground:
            self.ground = colour
        else:
            self.colour = colour

    def shown(self):
        pair = (self.colour, self.ground)
        return pair[::-1] if self.reversed else pair


def pieces(line, style):
    """Column, text and style of each run of one style."""
    column = 0
    for codes, text in TOKEN.findall(line):
        if not text:
            style.apply(codes)
            continue
        colour, ground = style.shown()
        yield column, text, colour, ground, style.bold
        column += len(text)


def main():
    lines = sys.stdin.read().rstrip("\n").split("\n")
    style, grounds, texts, columns = Style(), [], [], 0
    for number, line in enumerate(lines):
        top = MARGIN + number * LINE_HEIGHT
        for column, text, colour, ground, bold in pieces(line, style):
            left, width = MARGIN + column * CELL_WIDTH, len(text) * CELL_WIDTH
            columns = max(columns, column + len(text))
            if ground != BACKGROUND:
                grounds.append(f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{LINE_HEIGHT}" fill="{ground}"/>')
            if text.strip():
                weight = ' font-weight="bold"' if bold else ""
                texts.append(
                    f'<text x="{left:.1f}" y="{top + 13}" fill="{colour}"{weight} textLength="{width:.1f}">{escape(text)}</text>'
                )
    width, height = columns * CELL_WIDTH + 2 * MARGIN, len(lines) * LINE_HEIGHT + 2 * MARGIN
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img" aria-label="{escape(sys.argv[1])}">')
    print(f'<rect width="{width:.0f}" height="{height}" rx="6" fill="{BACKGROUND}"/>')
    print(*grounds, sep="\n")
    print('<g font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14" xml:space="preserve">')
    print(*texts, "</g>", "</svg>", sep="\n")


if __name__ == "__main__":
    main()
