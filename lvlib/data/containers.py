"""What a video file holds, found out through FFmpeg: by walking through its packets, or by decoding all of it.

What a container says about itself is not trusted. A picture is what a decode from the start gives, whatever the header
announces: files are cut without being encoded again (an edit list hides samples), streams are copied into containers
that number them otherwise, headers count slots that are empty, sound goes on when the pictures have ended.
"""

import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lvlib.data.pictures import shown_size
from lvlib.data.truncation import missing_bytes
from lvlib.errors import UserError, printable

# The demuxers that read one file: none that follows addresses (playlists), and none that opens others (scripts).
_FORMATS = ("apng,asf,avi,dv,flv,gif,h264,hevc,ivf,m4v,matroska,mov,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,swf,wtv,"
            "yuv4mpegpipe")
_MOST_PIXELS = 2**27  # of one picture; 8K video has 2**25
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file", "max_pixels": str(_MOST_PIXELS)}
_ANNOUNCE_LENGTH = ("asf", "avi", "flv", "matroska", "mov")  # what others say is found in the file as it is
_MAY_BE_EMPTY = ("flv1", "h263", "mpeg4", "msmpeg4v2", "msmpeg4v3", "vc1", "vp6", "vp6f", "wmv1", "wmv2", "wmv3")
_EMPTY = 19  # bytes: so small a packet of these codecs may say "as before", and hold no picture
_ANY_RATE = 25.0  # frames a second, where nothing tells
NO_STAMP = int(np.iinfo(np.int64).min)

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Contents:
    """The frames of a video file, in the order in which they are shown."""

    frames: int
    fps: float
    size: tuple[int, int]
    """Height and width at which the first one is shown: upright, with square pixels."""
    pixels: int
    """Of all frames together: what decoding them costs."""
    stamps: np.ndarray
    """int64 (frames,): the time stamp of each, in units of the stream; NO_STAMP where it has none."""
    checks: np.ndarray
    """uint32 (frames,): a checksum of each. Empty where they were not all decoded."""
    starts: np.ndarray
    """int64: the frames at which decoding can begin, in order."""


def survey(path: Path) -> Contents | None:
    """What a file holds by its packets: milliseconds, for only its first frame is decoded.

    None where packets do not tell: some are hidden, hold no picture or share their time stamps, the first pictures
    lack what they build on, or the file breaks off. Raises UserError if it has no pictures, and whatever PyAV raises
    if it is no video.
    """
    with opened(path) as (container, stream):
        walk, first = _Walk(stream), None
        for packet in read_packets(container, stream, walk):
            first = first or next(iter(decoded(stream, packet)), None)
        stamps = np.sort(walk.stamps)
        if (walk.doubtful or missing_bytes(path) or not len(stamps) or walk.starts[:1] != [0] or first is None
                or first.pts != stamps[0] or (stamps[1:] == stamps[:-1]).any()):
            return None
        starts = np.searchsorted(stamps, np.array(walk.stamps)[walk.starts])
        return Contents(len(stamps), _rate(stream, stamps, walk.end), shown_size(first, pixel_shape(stream)),
                        len(stamps) * first.width * first.height, stamps, np.empty(0, np.uint32), starts)


def examine(path: Path) -> Contents:
    """What a file holds by decoding all of it.

    Raises UserError if it has no pictures, or if more than a tenth of those that it holds (its packets, and what is
    missing where it breaks off) cannot be decoded; and whatever PyAV raises if it is no video.
    """
    with opened(path) as (container, stream):
        walk, size, pixels, fields = _Walk(stream), (0, 0), 0, 0
        stamps: list[int] = []
        checks: list[int] = []
        starts: list[int] = []
        for frame in read_frames(container, stream, walk):
            size = size if stamps else shown_size(frame, pixel_shape(stream))
            if frame.key_frame or not stamps:
                starts.append(len(stamps))
            stamps.append(stamp_of(frame))
            checks.append(check_of(frame))
            pixels += frame.width * frame.height
            fields += frame.interlaced_frame and stream.codec_context.name == "h264"
        # A packet may hold one of the two fields of a frame, or say that there is nothing new.
        lost = max(0, walk.pictures - len(stamps) - walk.maybe_empty - fields)
        missing = _missing(path, container, stream, walk)
        held = len(stamps) + lost + missing
        if missing and missing + lost > 0.1 * held:
            raise UserError(f"{path} is cut off: only {len(stamps)} frames can be read")
        if not stamps or lost > 0.1 * held:
            raise UserError(f"{path} is damaged: only {len(stamps)} of its {held} frames can be decoded")
        if lost:
            log.warning("%s: %d of its %d frames cannot be decoded and are left out", printable(path), lost, held)
        rate = _rate(stream, np.sort([stamp for stamp in stamps if stamp != NO_STAMP]), walk.end)
        return Contents(len(stamps), rate, size, pixels, np.array(stamps, np.int64), np.array(checks, np.uint32),
                        np.array(starts, np.int64))


@contextmanager
def opened(path: Path) -> Iterator[tuple]:
    """The container, and its stream of pictures. Raises UserError if it has none that can be decoded, and whatever
    PyAV raises if it is no video."""
    av = import_av()
    # After "file:" no part of a name is taken for a protocol. A tag that is not UTF-8 does no harm.
    with av.open(f"file:{path}", options=_OPTIONS, metadata_errors="replace") as container:
        streams = [stream for stream in container.streams.video
                   if not stream.disposition & av.stream.Disposition.attached_pic]  # the cover of an album
        if not streams and (container.streams.audio or container.streams.video):
            raise UserError(f"{path} has no pictures, only sound")
        if not streams:
            raise UserError(f"{path} is not a video that can be read, or it is cut off")
        if streams[0].codec_context is None:
            raise UserError(f"{path} is not a video that can be read: FFmpeg has no decoder for its pictures")
        # No threads of its own, here and where it makes RGB: a loader's worker, forked, would wait for them for ever.
        streams[0].codec_context.thread_count = 1
        streams[0].codec_context.options = {"max_pixels": str(_MOST_PIXELS)}
        yield container, streams[0]


def read_packets(container, stream, walk: "_Walk | None" = None) -> Iterator:
    """The packets of the stream, from here to the end, or to where they cannot be read any more."""
    packets = container.demux(stream, *container.streams.audio) if walk else container.demux(stream)
    try:
        for packet in packets:
            if walk:
                walk.add(packet)
            if packet.size and packet.stream is stream:
                yield packet
    except import_av().FFmpegError:
        if walk:
            walk.broken = walk.doubtful = True


def read_frames(container, stream, walk: "_Walk | None" = None) -> Iterator:
    """The frames of the stream, from here on: all that can be decoded."""
    for packet in read_packets(container, stream, walk):
        yield from decoded(stream, packet)
    yield from decoded(stream, None)  # what the decoder has kept back


def decoded(stream, packet) -> list:
    """The frames that a decoder gives for a packet; none where it fails."""
    try:
        return stream.decode(packet)
    except import_av().FFmpegError:
        return []


def stamp_of(frame) -> int:
    """Of the frame, or else of the packet that made the decoder give it; NO_STAMP if there is neither."""
    stamp = frame.dts if frame.pts is None else frame.pts
    return NO_STAMP if stamp is None else stamp


def check_of(frame) -> int:
    """A checksum of all pixels, as they are stored."""
    check, form = 0, frame.format
    for number, plane in enumerate(frame.planes):
        if plane.line_size <= 0:  # upside down in memory
            return zlib.crc32(frame.to_ndarray(format="rgb24", threads=1))
        bits = [8 * -(-part.bits // 8) for part in form.components if part.plane == number]
        used = plane.width * (sum(bits) if form.is_planar else form.padded_bits_per_pixel) // 8
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # longer than the picture is wide
        check = zlib.crc32(np.ascontiguousarray(rows[:, :used]).data, check)
    return check


def pixel_shape(stream) -> float:
    """How many times as wide as high a pixel is shown."""
    ratio = float(stream.sample_aspect_ratio or 1)
    return ratio if 1 / 16 <= ratio <= 16 else 1.0


def import_av():
    try:
        import av
    except ImportError:
        raise UserError("video and sound files need the package av: pip install lvlib[train]") from None
    return av


class _Walk:
    """What the packets of a container tell, one after the other."""

    def __init__(self, stream):
        self.codec, self.format, self.index = stream.codec_context.name, stream.container.format.name, stream.index
        self.usual_length = round(1 / (stream.time_base * (stream.average_rate or _ANY_RATE)))  # of a picture
        self.stamps: list[int] = []  # of the packets that hold pictures
        self.starts: list[int] = []  # which of them can be decoded without the ones before
        self.end = NO_STAMP  # of the last picture, in units of the stream
        self.ends: dict[int, int] = {}  # where each stream ends, also the sound
        self.pictures = self.maybe_empty = 0
        self.doubtful = False  # more is needed than packets to say which pictures there are
        self.broken = False  # the last one is not whole

    def add(self, packet) -> None:
        stamp, index = packet.dts if packet.pts is None else packet.pts, packet.stream_index
        if stamp is not None:
            end = stamp + (packet.duration or (self.usual_length if index == self.index else 0))
            if end > self.ends.get(index, NO_STAMP):
                self.ends[index] = end
        if index != self.index or not packet.size:
            return
        self.broken = packet.is_corrupt
        hidden = packet.is_discard or (self.codec in ("vp8", "libvpx") and not bytes(packet)[0] & 16)
        empty = self.codec in _MAY_BE_EMPTY and packet.size <= _EMPTY
        guessed = packet.pts is None or (self.format == "avi" and packet.pts != packet.dts)  # AVI stores no order
        self.doubtful |= hidden or empty or guessed or packet.is_corrupt
        if hidden:
            return
        self.pictures += 1
        self.maybe_empty += empty
        if packet.is_keyframe:
            self.starts.append(len(self.stamps))
        self.stamps.append(NO_STAMP if stamp is None else stamp)
        if stamp is not None and end > self.end:
            self.end = end


def _rate(stream, stamps: np.ndarray, end: int) -> float:
    """Frames a second: what the file says, if time stamps (in rising order) agree, else what they say. Pauses of a
    recording, or where a clock was set anew, do not count: more than ten times the usual distance."""
    said = [float(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate]
    if len(stamps) < 2 or stamps[0] == stamps[-1]:
        return said[0] if said else _ANY_RATE
    gaps, tick = np.diff(stamps), float(stream.time_base)
    usual = np.median(gaps[gaps > 0])
    gaps = gaps[gaps <= 10 * usual]
    last = end - stamps[-1] if 0 < end - stamps[-1] <= 10 * usual else gaps.mean()
    total, apart = gaps.sum(), gaps[gaps > 0]  # of parts joined end to end, time stamps come twice
    measured = [length / tick for length in ((len(gaps) + 1) / (total + last), len(gaps) / total, len(apart) / total)]
    for rate in (*said, 1 / (usual * tick)):
        if min(abs(rate / other - 1) for other in measured) < 0.02:
            return float(rate)
    return float(measured[0])


def _missing(path: Path, container, stream, walk: _Walk) -> int:
    """How many pictures are missing where a file breaks off; 0 if it does not, or nothing tells."""
    lacking, name = missing_bytes(path), container.format.name
    if not lacking and not walk.broken:
        return 0
    if name == "gif":  # it does not say how long it should be: nobody knows, so it counts as too much
        return walk.pictures
    if name.split(",")[0] not in _ANNOUNCE_LENGTH or not walk.pictures:
        return 0
    tick, rate = float(stream.time_base), float(stream.average_rate or _ANY_RATE)
    begin = min((stamp for stamp in walk.stamps if stamp != NO_STAMP), default=0)
    there = (walk.end - begin) * tick
    announced = stream.duration * tick if stream.duration else _tagged_seconds(stream.metadata.get("DURATION", ""))
    if name == "avi":
        announced = max(announced, stream.frames / rate)
    if not announced and container.duration:
        ends = [end * float(container.streams[index].time_base) for index, end in walk.ends.items()]
        announced, there = container.duration / 1e6, max(ends) - min(0.0, begin * tick)
    if not announced:
        size = path.stat().st_size
        return round(walk.pictures * lacking / size)
    return max(0, round((announced - there) * rate))


def _tagged_seconds(text: str) -> float:
    """Of Matroska's "00:01:02.500000000"; 0 for anything else."""
    try:
        hours, minutes, seconds = text.rstrip("\0").split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return 0.0
