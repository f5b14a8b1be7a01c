"""The numbers of the digit finder, each with the kind of picture that needs it.

`python -m bench.pictures` measures what a change of one of them costs.
"""

# How a picture is looked at

WORKING_AREA = 50_000
"""Pixels that are looked at, whatever the picture's size and proportions. This bounds the time."""

WORKING_SIDE = 160
"""A smaller picture is enlarged to this: below it, strokes are too thin for a mask of whole pixels."""

SAMPLE = 10_000
"""Pixels that a median or a percentile is computed from, at least."""

SMALL = 56
"""A digit of fewer pixels than this in the working picture is looked at again, closer: small digits on a page."""

TINY = 16
"""Nothing is concluded from fewer pixels before the closer look."""

# What is ink

THRESHOLDS = (0.22, 0.4, 0.6, 0.8)
"""Shares of the strongest ink. Low ones hold faint strokes together, high ones leave out the lines of the paper."""

FLAT_THRESHOLDS = (0.5,)
"""The same where the paper is taken for flat: strokes so thick that a closing takes them for paper."""

LEAST_CONTRAST = 0.06
"""Share of the range of brightness. Less is the paper's own texture."""

NOISE_FACTOR = 3.5
"""Ink begins at this number of standard deviations of the grain."""

LEAST_SIGNAL_TO_NOISE = 4.2
"""Of a digit's mean ink to the grain. Shapes in mere noise are below."""

MEDIAN_NOISE = 0.015
"""With more grain than this, a stroke of one pixel cannot be told from it."""

PEAK_RANK = 40
"""The strongest ink is that of this many pixels, so that dust and the crossings of a thin pen do not count."""

SMALL_PEAK_RANK = 16
"""The same where a digit of 8 px is looked for."""

SOLID_STROKE, SOLID_PEAK = 4.0, 0.4
"""A stroke so wide and so dark is no remnant of a thin one. Thin strokes need not be looked for, which saves time."""

WIDEST_SPACE = 0.2
"""Share of a digit's longer side. A wider stroke may be the space between thin strokes."""

THIN_PEAK = 0.75
"""Where a median leaves less of the strongest ink, it removed the strokes of a thin pen."""

STEEP, MOST_STEEP = 0.05, 0.25
"""A slope of brightness per pixel, and the share of pixels with such a slope, above which a picture is a pattern."""

# What is paper

PAPER_SHARE = 0.33
"""Share of the square root of the picture's area: the kernel of the closing, wider than strokes and narrower than
shadows."""

RIM_AREA = 0.25
"""Share of the picture. More is no rim: a desk, a frame, the black corners of a scan."""

# What belongs to a digit

MOST_PARTS = 24
"""Connected parts that are looked at, the largest first: noise has thousands."""

MOST_PARTS_OF_A_ROW = 100
"""The same for several digits. A row in which more are strokes is refused."""

MOST_STROKES = 6
"""A digit in more parts is a pattern."""

MOST_STROKES_AT_THE_BORDER = 3
"""The same for what reaches the picture's border: patterns do, and digits that are cropped tightly."""

LEAST_SHARE = 0.45
"""Of all ink."""

BROKEN = 0.07
"""Share of the height. A narrower gap may be a break in a stroke."""

BRIDGE = 0.06
"""Share of the picture's shorter side: gaps that are closed where nothing else stands out, for dotted strokes."""

SEPARABLE = 0.7
"""Share of the variance: bridged strokes are as clear as others, bridged blots are not."""

MOST_BRIDGED = 0.5
"""Share of the strokes that such closing may add: dust on blank paper has less ink of its own."""

SHARP = 1.3
"""Of the strongest ink: how much a stroke rises over its width, at the border and in pieces. Blots end gradually."""

THICKEST_STROKE = 0.42
"""Share of a digit's longer side. What is thicker is a blot."""

# Several digits in a row

LOW_THRESHOLDS = 3
"""The number of thresholds that are used. Above the highest one, some digits fall to pieces."""

DUST = 0.03
"""Share of the largest stroke. Less is no part of a digit."""

SAME_COLUMNS = 0.6
"""Share of the narrower stroke's width: strokes above each other are one digit, leaning neighbours overlap less."""

WHOLE_DIGIT = 0.5
"""Share of the tallest digit. Less is a bar or a hook of the nearest one."""

NEAR = 0.2
"""Share of the tallest digit: how near such a bar is."""

WIDEST_DIGIT = 1.3
"""Of the row's height. What is wider may be two digits that touch at this threshold."""

TOUCHING = 0.25
"""Factor for each such digit, where the thresholds disagree about the number."""

LINE, LINE_SPACE = 0.5, 0.25
"""Shares of the tallest stroke's height: strokes this tall with such a space between them are on two lines."""

ABOUT_AS_GOOD = 0.8
"""Share of the best threshold's likeness: a lower threshold breaks fewer thin strokes."""

LEAST_ROW_SHARE = 0.8
"""Of all ink, in the digits of a row: noise has as much between them."""

# Dark or light

SPACES = 0.6
"""Factor for strokes inside others of the opposite polarity: the spaces inside a digit look like strokes."""

SPACES_OF_THIN_STROKES, THIN_AROUND = 0.2, 0.5
"""The same factor where the strokes around are this much thinner: a thin pen encloses wide spaces."""

NO_SEAM = 0.8
"""Spaces are as strong as the strokes around them. The blurred seam of a stroke is weaker than the stroke."""

FRAMED = 3.0
"""Factor for strokes inside a frame of the same ink: the box of a form."""

HALO = 0.25
"""JPEG and enlarging put a faint seam of the opposite polarity around ink, of at most this share of it."""

LEAST_BESIDE = 2
"""Of 255, between a digit's ink and what surrounds its box: the edge of a disc has as much on either side."""

# What the network is given

FITTED_SHARE = 20 / 28
"""Of the network's shape: the box that MNIST's digits fill."""

THINNEST_STROKE = 0.125
"""Share of the digit's longer side. Thinner strokes are thickened: scaled down they would fade."""

WIDEST_STROKE = 0.16
"""Share of the digit's longer side. Wider strokes are thinned."""

THINNEST_IN_MNIST = 1.05
"""Pixels: the mean width of MNIST's thinnest strokes."""

MOST_LEAN = (-0.6, 0.1)
"""Columns per row, to the right and to the left. Digits that lean further are sheared this far: turned by 20°."""

MOST_SHEAR = 0.8
"""What leans still more is no upright digit."""
