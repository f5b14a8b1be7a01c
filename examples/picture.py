"""Write a PNG of a 7 as somebody might draw it: any size, black on white."""

import sys

from PIL import Image, ImageDraw

picture = Image.new("L", (320, 240), 250)
ImageDraw.Draw(picture).line([(110, 50), (205, 45), (165, 120), (140, 200)], fill=30, width=16, joint="curve")
picture.save(sys.stdout.buffer, "PNG")
