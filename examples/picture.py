"""Write a PNG of a digit as somebody might draw it, black on white: a 7, or a 6 that leans far to the right."""

import argparse
import sys

from PIL import Image, ImageDraw

STROKES = {
    "7": [(110, 50), (205, 45), (165, 120), (140, 200)],
    "6": [(231, 82), (156, 78), (100, 122), (101, 175), (152, 192), (177, 147), (110, 117)],
}

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("digit", choices=STROKES, nargs="?", default="7")

picture = Image.new("L", (320, 240), 250)
ImageDraw.Draw(picture).line(STROKES[parser.parse_args().digit], fill=30, width=16, joint="curve")
picture.save(sys.stdout.buffer, "PNG")
