"""Detect, track, crop and classify the faces of successive frames."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, cast

import numpy as np

from moppet.infer.alignment import align_face, crop_quality, with_pose
from moppet.infer.detectors import Detector, detect_any_way_up
from moppet.infer.expression_model import ExpressionModel
from moppet.infer.tracking import Track, assign, overlap
from moppet.media.cuts import CutDetector, face_patch, is_same_face, pack, unpack
from moppet.timeline.schema import FACE_FLOATS, RawRow
from moppet.values import Face, FaceError, Frame, Image

_SAME_FACE: Final = 0.4
_TURNED_EVERY_S: Final = 1.0
_TIMES: Final = ("_shot_s", "_last_scan_s", "_last_turned_s")  # -inf: not yet


@dataclass(frozen=True)
class ReaderSettings:
    """How often to search for faces.

    scan_every_s: whole frames are searched for new faces at least this often; in between, known
        faces are tracked.
    detect_every_frame: search every frame without tracking.
    unrelated: the images are photos, not a film: nobody is followed from one to the next.
    forget_after_s: a face that was absent for longer gets a new face_id.
    low_quality_below: rows of faces with a lower quality have the status `low_quality`.
    """

    scan_every_s: float = 0.5
    detect_every_frame: bool = False
    unrelated: bool = False
    forget_after_s: float = 1.0
    low_quality_below: float = 0.3


class FoundFaces(NamedTuple):
    """What was found in successive frames, before it is classified.

    rows: raw timeline rows, without probabilities. crops: the row and the aligned face,
        (112, 112, 3) RGB uint8, of each face that can be classified.
    """

    rows: list[RawRow]
    crops: list[tuple[RawRow, Image]]


class FaceReader:
    """Converts frames into raw timeline rows; keeps its tracks between calls."""

    def __init__(
        self, detector: Detector, model: ExpressionModel, settings: ReaderSettings
    ) -> None:
        self.detector = detector
        self.model = model
        self.settings = settings
        self.tracks: list[Track] = []
        self.next_id = 0
        self.cuts_s: list[float] = []
        """Times of the hard cuts found so far."""
        self._cuts = CutDetector()
        self._shot_s = -math.inf  # where the shot begins
        self._suspended: list[Track] = []  # of the shot before the last cut
        self._patches: dict[int, Image] = {}  # of the faces in the previous image, once needed
        self._previous: tuple[Image, dict[int, Face]] | None = None  # which then yields them
        self._size: tuple[int, int] | None = None  # height, width of the previous image
        self._last_scan_s = -math.inf
        self._last_turned_s = -math.inf

    def resume(self, rows: Sequence[RawRow]) -> None:
        """Continue after these rows: their last tracks are followed, new faces get new ids."""
        self.tracks = tracks_at_end(rows, self.settings.forget_after_s)
        ids = [face_id for row in rows if (face_id := row.get("face_id")) is not None]
        self.next_id = 1 + max(ids, default=-1)
        self._shot_s = self._last_scan_s = self._last_turned_s = -math.inf
        self.cuts_s, self._cuts, self._suspended, self._size = [], CutDetector(), [], None
        self._patches, self._previous = {}, None

    def read(self, frames: Sequence[Frame], *, live: bool = False) -> list[RawRow]:
        """Return the rows of successive frames, one per frame and face.

        The last frame (and the first of a recording) is searched for new faces, which are then
        tracked backward to where they appear. With live=True, pass one frame at a time; it is
        searched when a search is due.
        """
        return self.classify(self.find(frames, live=live))

    def find(self, frames: Sequence[Frame], *, live: bool = False) -> FoundFaces:
        """Return the faces of successive frames, as `read` does before it classifies them.

        Only this changes the state of the reader.
        """
        seen: list[dict[int, Face]] = [{} for _ in frames]
        images = [i for i, frame in enumerate(frames) if frame.image is not None]
        for position, i in enumerate(images):
            elapsed = frames[i].time_s - self._last_scan_s
            due = elapsed >= self.settings.scan_every_s
            first = self._last_scan_s == -math.inf
            last = position == len(images) - 1
            self._read_frame(frames, seen, i, due if live else last or first)
        return self._rows(frames, seen)

    def classify(self, found: FoundFaces) -> list[RawRow]:
        """Return the rows with what the model says of their faces."""
        rows, crops = found
        if crops:
            scores = self.model.predict(np.stack([crop for _, crop in crops]))
            for i, (row, _) in enumerate(crops):
                row["p"] = scores.probabilities[i]
                if scores.display is not None:
                    row["d"] = scores.display[i]
                if scores.movement_names:
                    row["m"] = scores.movements[i]
        return rows

    def state(self) -> dict[str, Any]:
        """Return what the next frame depends on, as JSON values for `restore`."""
        self._cut_patches()
        return {
            "tracks": [track.to_list() for track in self.tracks],
            "suspended": [track.to_list() for track in self._suspended],
            "next_id": self.next_id,
            "size": self._size,
            "times_s": [_finite(getattr(self, name)) for name in _TIMES],
            "cuts_s": self.cuts_s,
            "cut": self._cuts.state(),
            "patches": [[face_id, pack(patch)] for face_id, patch in self._patches.items()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state, as if reading had never stopped."""
        self.tracks = [Track.from_list(values) for values in state["tracks"]]
        self._suspended = [Track.from_list(values) for values in state["suspended"]]
        self.next_id = int(state["next_id"])
        self._size = None if state["size"] is None else (state["size"][0], state["size"][1])
        for name, time_s in zip(_TIMES, state["times_s"], strict=True):
            setattr(self, name, -math.inf if time_s is None else float(time_s))
        self.cuts_s = [float(time_s) for time_s in state["cuts_s"]]
        self._cuts.restore(state["cut"])
        self._patches = {int(face_id): unpack(patch) for face_id, patch in state["patches"]}
        self._previous = None

    def _read_frame(
        self, frames: Sequence[Frame], seen: list[dict[int, Face]], i: int, search: bool
    ) -> None:
        frame = frames[i]
        assert frame.image is not None
        if self.settings.unrelated:
            self.tracks, cut = [], True
        else:
            cut = self._notice_cut(frame.image, frame.time_s)
        limit = self.settings.forget_after_s
        self.tracks = [t for t in self.tracks if frame.time_s - t.time_s <= limit]
        lost = self._follow(frame.image, frame.time_s, seen[i])
        if search or lost or cut:
            for face in self._search(frame.image, frame.time_s, seen[i]):
                track = Track(self.next_id, face, frame.time_s)
                self.next_id += 1
                seen[i][track.face_id] = face
                self._follow_back(frames[:i], seen, track)
                self.tracks.append(track)
        self._previous = frame.image, dict(seen[i])

    def _cut_patches(self) -> None:
        """Make the patches of the previous image's faces: only a cut and a stop need them."""
        if self._previous is not None:
            image, faces = self._previous
            self._patches = {key: face_patch(image, face.box_px) for key, face in faces.items()}
            self._previous = None

    def _notice_cut(self, image: Image, time_s: float) -> bool:
        """End the tracks at a hard cut, take them up again after a flash, and follow the size."""
        size = image.shape[:2]
        if self._size is not None and size != self._size:
            ratio = np.array([size[1] / self._size[1], size[0] / self._size[0]], np.float32)
            self.tracks = [track.scaled(ratio) for track in self.tracks]
        self._size = size
        change = self._cuts.check(image, time_s)
        if change == "none":
            return False
        self._shot_s = time_s
        if change == "cut":
            self.cuts_s.append(time_s)
            self._cut_patches()
            # A face that stays as it is, while much around it changes, is the same face.
            stays = [self._stays(image, track) for track in self.tracks]
            self._suspended = [t for t, same in zip(self.tracks, stays, strict=True) if not same]
            self.tracks = [t for t, same in zip(self.tracks, stays, strict=True) if same]
        else:
            self.cuts_s.pop()
            self.tracks, self._suspended = self._suspended + self.tracks, []
        return True

    def _stays(self, image: Image, track: Track) -> bool:
        before = self._patches.get(track.face_id)
        return before is not None and is_same_face(before, face_patch(image, track.face.box_px))

    def _follow(self, image: Image, time_s: float, seen: dict[int, Face]) -> bool:
        """Track the known faces into a frame; return whether the whole frame must be searched."""
        if self.settings.detect_every_frame or self.settings.unrelated:
            return True
        boxes = [track.expect(time_s) for track in self.tracks]
        expected = np.array(boxes, np.float32).reshape(-1, 4)
        rolls = np.array([track.face.roll for track in self.tracks], np.float32)
        found = self.detector.follow(image, expected, np.nan_to_num(rolls))
        if found is None:
            return True
        lost = False
        newest = max((track.time_s for track in self.tracks), default=time_s)
        for k in _by_score(found):
            face, track = found[k], self.tracks[k]
            fits = face is not None and overlap(expected[k], face.box_px) > _SAME_FACE / 2
            taken = face is not None and _is_among(face, seen.values())
            if face is not None and fits and not taken:
                face = with_pose(face)
                seen[track.face_id] = face
                track.move(face, time_s)
            elif track.time_s == newest:
                # Only a face seen in the previous frame triggers a search. A face that stays absent
                # is looked for at its last place, and in the regular searches.
                lost = True
        return lost

    def _search(self, image: Image, time_s: float, seen: dict[int, Face]) -> list[Face]:
        """Search a whole frame, reassign lost tracks, and return the new faces."""
        self._last_scan_s = time_s
        absent = [track for track in self.tracks if track.face_id not in seen]
        boxes = [track.expect(time_s) for track in absent]

        def unseen(found: Iterable[Face]) -> list[Face]:
            return [with_pose(face) for face in found if not _is_among(face, seen.values())]

        upright = self.detector.detect([image])[0]
        faces = unseen(upright)
        matches = assign(boxes, faces)
        is_turn_due = not faces and not seen and time_s - self._last_turned_s >= _TURNED_EVERY_S
        # Rotated heads are searched for with each new face, and every second without a face.
        if is_turn_due or len(faces) > len(matches) - matches.count(None):
            self._last_turned_s = time_s
            faces = unseen(detect_any_way_up(self.detector, image, upright))
            matches = assign(boxes, faces)
        for track, match in zip(absent, matches, strict=True):
            if match is not None:
                seen[track.face_id] = faces[match]
                track.move(faces[match], time_s)
        return [face for k, face in enumerate(faces) if k not in matches]

    def _follow_back(
        self, frames: Sequence[Frame], seen: list[dict[int, Face]], track: Track
    ) -> None:
        """Track a new face backward through the frames before it was detected."""
        if self.settings.detect_every_frame or self.settings.unrelated:
            return
        back = replace(track)
        for i in range(len(frames) - 1, -1, -1):
            image = frames[i].image
            if frames[i].time_s < self._shot_s:
                return
            if image is None:
                continue
            box, roll = back.expect(frames[i].time_s), np.array([back.face.roll], np.float32)
            found = self.detector.follow(image, box[None], np.nan_to_num(roll))
            face = found[0] if found else None
            if face is None or overlap(box, face.box_px) < _SAME_FACE / 2:
                return
            if _is_among(face, seen[i].values()):
                return
            face = with_pose(face)
            seen[i][track.face_id] = face
            back.move(face, frames[i].time_s)

    def _rows(self, frames: Sequence[Frame], seen: list[dict[int, Face]]) -> FoundFaces:
        rows: list[RawRow] = []
        crops: list[tuple[RawRow, Image]] = []
        for frame, faces in zip(frames, seen, strict=True):
            if not faces or frame.image is None:
                status = "no_face" if frame.image is not None else frame.status
                rows.append({"frame": frame.index, "time_s": frame.time_s, "status": status})
                continue
            for face_id, face in sorted(faces.items()):
                try:
                    crop = align_face(frame.image, face.landmarks_px)
                except FaceError:
                    crop = None
                quality = 0.0 if crop is None else crop_quality(crop, face)
                low = quality < self.settings.low_quality_below
                row = _face_row(frame, face_id, face, quality, "low_quality" if low else "ok")
                rows.append(row)
                if crop is not None:
                    crops.append((row, crop))
        return FoundFaces(rows, crops)


def tracks_at_end(rows: Sequence[RawRow], forget_after_s: float) -> list[Track]:
    """Return the tracks that are active at the end of these rows, to resume an analysis."""
    tracks: dict[int, Track] = {}
    for row in reversed(rows):
        face_id = row.get("face_id")
        if rows[-1]["time_s"] - row["time_s"] > forget_after_s:
            break
        if face_id is not None and face_id not in tracks:
            values: Mapping[str, Any] = row
            box = np.array([values[name] for name in FACE_FLOATS[:4]], np.float32)
            no_landmarks = np.full((5, 2), np.nan, np.float32)
            score, roll = values["detection_score"] or 0.0, values["roll"]
            face = Face(box, no_landmarks, score, roll=math.nan if roll is None else roll)
            tracks[face_id] = Track(face_id, face, row["time_s"])
    return [tracks[face_id] for face_id in sorted(tracks)]


def _face_row(frame: Frame, face_id: int, face: Face, quality: float, status: str) -> RawRow:
    row = {"frame": frame.index, "time_s": frame.time_s, "face_id": face_id, "status": status}
    values = (*face.box_px.tolist(), face.score, face.yaw, face.pitch, face.roll, quality)
    return cast(RawRow, row | dict(zip(FACE_FLOATS, values, strict=True)) | {"p": None})


def _finite(time_s: float) -> float | None:
    return time_s if math.isfinite(time_s) else None


def _by_score(found: Sequence[Face | None]) -> list[int]:
    """Return the indices by descending score: a face found by two tracks goes to the better."""
    scores = [face.score if face is not None else 0.0 for face in found]
    return sorted(range(len(found)), key=lambda k: -scores[k])


def _is_among(face: Face, others: Iterable[Face]) -> bool:
    return any(overlap(face.box_px, other.box_px) > _SAME_FACE for other in others)
