"""Write pictures as a video: MP4 with H.264, which browsers and phones play."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.files import atomic_path

_QUALITY = "18"  # x264's quality, from 0 (lossless) to 51 (worst): nearly indistinguishable from the input
# HDTV's colours in FFmpeg's numbers, stated in the file: players otherwise guess by the size.
_BT709, _LIMITED = 1, 1


def write_video(path: Path, frames: Iterable[np.ndarray], rate: int, overwrite: bool = False) -> None:
    """Write frames as a video, atomically.

    Args:
        path: File to write, ending in .mp4.
        frames: Frames [H, W, 3] uint8, sRGB, all of one even height and width.
        rate: Frames per second.

    Raises:
        ClearpaneError: There are no frames, sizes are odd or differ, or the file cannot be written.
        MissingExtraError: PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("writing videos", "3d") from error
    # The index goes to the front, so that playback can start before the whole file is loaded.
    options = {"movflags": "faststart"}
    with (
        atomic_path(path, overwrite) as temporary,
        av.open(str(temporary), "w", format="mp4", options=options) as container,
    ):
        stream = None
        size = (0, 0)
        for pixels in frames:
            if stream is None:
                size = pixels.shape[:2]
                if size[0] % 2 or size[1] % 2:
                    raise ClearpaneError(f"{path}: a video's height and width are even, not {size}")
                stream = container.add_stream("libx264", rate=rate, options={"crf": _QUALITY})
                stream.height, stream.width = size
                stream.pix_fmt = "yuv420p"
                context = stream.codec_context
                context.colorspace = context.color_primaries = context.color_trc = _BT709
                context.color_range = _LIMITED
            if pixels.shape[:2] != size:
                raise ClearpaneError(f"{path}: a video's pictures are all of one size")
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            container.mux(stream.encode(frame))
        if stream is None:
            raise ClearpaneError(f"{path}: there are no pictures for a video")
        container.mux(stream.encode(None))
