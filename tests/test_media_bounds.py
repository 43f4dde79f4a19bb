"""What is too large, no file, a playlist or an odd image is refused by name or read at a bound."""

from __future__ import annotations

import gc
import os
import socket
import struct
import sys
import zlib
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from moppet.media import images, probe, read_frames, video
from moppet.media.images import image_note, image_size, load_image
from moppet.values import MediaError
from test_media import close_to, encode, exif_jpeg, quarters


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )


def encoded(suffix: str, image: np.ndarray) -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
@pytest.mark.parametrize("shape", [(37, 91), (120, 16)])
def test_the_header_gives_the_size(suffix: str, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 255, (*shape, 3), np.uint8)
    assert image_size(encoded(suffix, image)) == (shape[1], shape[0])


def test_every_start_of_an_image_has_a_size_or_none() -> None:
    for suffix in (".png", ".jpg", ".webp", ".bmp", ".tif"):
        data = encoded(suffix, quarters(40, 30))
        for length in range(len(data)):
            assert image_size(data[:length]) in (None, (40, 30))


def test_a_small_file_that_is_a_huge_image_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(32_000, 32_000) + bytes(1000))
    with pytest.raises(MediaError, match=r"32000 x 32000 pixels, at most 64 million"):
        probe(path)
    assert load_image(path) is None


@pytest.mark.parametrize(("most", "scale"), [(20_000, 1), (19_199, 2), (4_799, 4), (1_199, 8)])
def test_a_large_jpeg_is_read_at_a_part_of_its_size_and_this_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, scale: int
) -> None:
    path = tmp_path / "large.jpg"
    path.write_bytes(encoded(".jpg", cv2.cvtColor(quarters(), cv2.COLOR_RGB2BGR)))
    monkeypatch.setattr(images, "MOST_PIXELS", most)
    image = load_image(path)
    assert image is not None and image.shape[:2] == (120 // scale, 160 // scale)
    assert close_to(image, quarters(160 // scale, 120 // scale), 30)
    note = image_note(path)
    assert note is None if scale == 1 else note == f"it is read at 1/{scale} of its size."


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_read_as_their_upper_eight(tmp_path: Path, suffix: str) -> None:
    rgb = quarters().astype(np.uint16) * 257
    path = tmp_path / f"deep{suffix}"
    path.write_bytes(encoded(suffix, rgb[..., ::-1]))
    assert close_to(load_image(path), quarters(), 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "form", ['tiff:Orientation="{}"', "<tiff:Orientation>{}</tiff:Orientation>"]
)
def test_xmp_turns_an_image_that_has_no_exif(tmp_path: Path, orientation: int, form: str) -> None:
    upright = quarters()
    by_exif, by_xmp = tmp_path / "e.jpg", tmp_path / "x.jpg"
    data = encoded(".jpg", cv2.cvtColor(upright, cv2.COLOR_RGB2BGR))
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation]) + bytes(7)
    by_exif.write_bytes(exif_jpeg(data, tiff))
    text = b"http://ns.adobe.com/xap/1.0/\0<x>" + form.format(orientation).encode() + b"</x>"
    by_xmp.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(text) + 2) + text + data[2:])
    expected = load_image(by_exif)
    assert expected is not None
    assert np.array_equal(load_image(by_xmp), expected)


def test_what_of_an_image_is_not_read_is_said(tmp_path: Path) -> None:
    page = cv2.cvtColor(quarters(), cv2.COLOR_RGB2BGR)
    pages, one, moving = tmp_path / "p.tif", tmp_path / "o.tif", tmp_path / "a.png"
    pages.write_bytes(cv2.imencodemulti(".tif", [page, page])[1].tobytes())
    one.write_bytes(encoded(".tif", page))
    animation = cv2.Animation()
    animation.frames, animation.durations = [page, page[::-1].copy()], [100, 100]
    assert cv2.imwriteanimation(str(moving), animation)
    assert image_note(pages) == "only the first page is read: save the pages as files to read all."
    assert image_note(one) is None
    assert "only the first image of the animation" in (image_note(moving) or "")


def test_heic_is_read_whole_or_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "photo.heic"
    image = quarters(640, 480)
    pillow_heif.from_bytes(mode="RGB", size=(640, 480), data=image.tobytes()).save(path)
    assert close_to(load_image(path), image)
    assert [frame.status for frame in read_frames(path)] == ["ok"]
    renamed = tmp_path / "photo.mp4"
    renamed.write_bytes(path.read_bytes())
    assert close_to(next(read_frames(renamed)).image, image)
    monkeypatch.setattr(images, "_has_heif", lambda: False)
    for source in (path, renamed, tmp_path):
        if source is tmp_path:
            renamed.unlink()
        with pytest.raises(MediaError, match=r"HEIC.*pip install 'moppet\[heif\]'"):
            probe(source)


def test_the_image_libraries_do_not_write_to_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = encoded(".png", quarters())
    profile = b"iCCP" + b"odd\0\0" + zlib.compress(b"no profile")
    chunk = struct.pack(">I", len(profile) - 4) + profile + struct.pack(">I", zlib.crc32(profile))
    (tmp_path / "a.png").write_bytes(data[:33] + chunk + data[33:])
    (tmp_path / "b.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "c.jpg").write_bytes(encoded(".jpg", quarters())[:-40] + bytes(40))
    for name in ("a.png", "b.png", "c.jpg"):
        load_image(tmp_path / name)
    os.write(2, b"still open\n")
    assert capfd.readouterr().err == "still open\n"


@pytest.mark.skipif(sys.platform != "linux", reason="needs named pipes and devices")
def test_pipes_sockets_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.mp4"))
        for path in (tmp_path / "pipe.mp4", tmp_path / "socket.mp4", Path("/dev/zero")):
            with pytest.raises(MediaError, match="a pipe, a socket or a device"):
                probe(path)


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "frames%d.mp4"])
@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{0}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{0}\n",
        "ffconcat version 1.0\nfile '{0}'\n",
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nm=video 5004 RTP/AVP 96\r\n",
    ],
)
def test_a_playlist_opens_no_other_file(tmp_path: Path, name: str, text: str) -> None:
    neighbor = encode(tmp_path / "neighbor.ts", stamps=range(5))
    path = tmp_path / name
    path.write_text(text.format(neighbor), newline="")
    with pytest.raises(MediaError, match="is a playlist that names other files"):
        probe(path)


def test_a_large_video_is_read_smaller_and_a_huge_one_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encode(tmp_path / "large.mp4", stamps=range(3))
    monkeypatch.setattr(video, "_LONGEST_SIDE", 80)
    assert [frame.image.shape for frame in read_frames(path) if frame.image is not None] == [
        (60, 80, 3)
    ] * 3
    assert close_to(next(read_frames(path)).image, quarters(80, 60), 30)
    assert (probe(path).width, probe(path).height) == (80, 60)
    monkeypatch.setattr(video, "_MOST_PIXELS", 160 * 120 - 1)
    with pytest.raises(MediaError, match=r"160 x 120 pixels.*smaller size"):
        probe(path)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_side_data_of_an_unknown_type_hides_no_rotation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, degrees: int
) -> None:
    path = encode(tmp_path / "r.mp4", stamps=range(2), turn=(degrees, False))

    def unknown(frame: object) -> None:
        raise ValueError("31 is not a valid Type")

    monkeypatch.setattr(video, "_display_matrix", unknown)
    expected = np.ascontiguousarray(np.rot90(quarters(), degrees // 90))
    assert close_to(next(read_frames(path)).image, expected)


def test_no_frame_outlives_its_image(tmp_path: Path) -> None:
    path = encode(tmp_path / "r.mp4", stamps=range(30), turn=(90, False))
    gc.collect()
    gc.disable()  # what only the search for cycles would free is gigabytes at 8K
    try:
        images_read = [frame.image for frame in read_frames(path, threads=1)]
        alive = sum(isinstance(thing, av.VideoFrame) for thing in gc.get_objects())
    finally:
        gc.enable()
    assert len(images_read) == 30
    assert alive <= 3


@pytest.mark.parametrize("threads", [1, None])
def test_a_file_that_grows_is_read_to_the_end_it_had(tmp_path: Path, threads: int | None) -> None:
    path = encode(tmp_path / "r.ts", stamps=range(40))
    part = path.read_bytes()
    path.write_bytes(part * (1 + 200_000 // len(part)))  # more than FFmpeg reads ahead
    whole = sum(1 for _ in read_frames(path, threads=threads))
    count = 0
    for _ in read_frames(path, threads=threads):
        count += 1
        with path.open("ab") as file:
            file.write(part)
        assert count <= whole
    assert count >= whole - 1  # the last frame may end behind the end that the file had
