"""DNG files built tag by tag."""

import numpy as np
import tifffile

XYZ_TO_SRGB = [
    3.2404542,
    -1.5371385,
    -0.4985314,
    -0.969266,
    1.8760108,
    0.041556,
    0.0556434,
    -0.2040259,
    1.0572252,
]


def write_dng(path, light, thumbnail=True, baseline=None, bigendian=False):
    """Write a Bayer DNG of a camera whose primaries are sRGB's, of uniform grey light in [0, 1]."""
    matrix = [n for value in XYZ_TO_SRGB for n in (round(value * 10000), 10000)]
    tags = [
        (50706, 1, 4, (1, 4, 0, 0), True),
        (50708, 2, 0, "Made", True),
        (271, 2, 0, "Maker", True),
        (272, 2, 0, "Made", True),
        (50721, 10, 9, matrix, True),
        (50728, 5, 3, [1, 1] * 3, True),
        (50778, 3, 1, 21, True),
    ]
    tags += [(50730, 10, 1, (baseline, 1), True)] if baseline is not None else []
    cfa = [(33421, 3, 2, (2, 2), True), (33422, 1, 4, (0, 1, 1, 2), True), (50717, 4, 1, 65535, True)]
    mosaic = np.full((384, 512), round(light * 65535), np.uint16)
    mosaic[::32, ::32] = min(65535, 2 * round(light * 65535))  # so that the white is not the brightest sample
    with tifffile.TiffWriter(path, byteorder=">" if bigendian else "<") as file:
        if thumbnail:
            small = np.full((48, 64, 3), 200, np.uint8)
            file.write(small, photometric="rgb", subfiletype=1, subifds=1, extratags=tags, metadata=None)
            tags = []
        file.write(mosaic, photometric="cfa", subfiletype=0, extratags=cfa + tags, metadata=None)
