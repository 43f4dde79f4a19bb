"""The training faces that a picture is made from, where a method begins with a face."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.data.faces import find_manifest_faces
from moppet.data.likeness import content_hash
from moppet.data.manifest import Manifest
from moppet.synthesise.pictures import training_rows
from moppet.synthesise.plan import Request
from moppet.synthesise.seeds import seed_of
from moppet.synthesise.settings import Settings
from moppet.values import Image, MoppetError

_CHILDREN: Final = ("infant", "child")


@dataclass(frozen=True)
class Source:
    """A training face. image: (size, size, 3) RGB uint8. sha256: its picture's content hash."""

    image: Image
    sha256: str
    age_band: str | None


class Sources:
    """The real training faces of a manifest, drawn from by each request's own seed."""

    def __init__(self, manifest: Manifest, settings: Settings) -> None:
        self.manifest, self.settings = manifest, settings
        self.rows = training_rows(manifest, settings)
        self.labels = manifest.column("label")
        self.bands = manifest.column("age_band")
        self._faceless: set[int] = set()

    def fingerprint(self) -> str:
        """Tells the training pictures from any others, whatever order they came in."""
        found = sorted(content_hash(self.manifest.image(int(row))) for row in self.rows)
        return hashlib.sha256("\n".join(found).encode()).hexdigest()

    def check(self, requests: Iterable[Request]) -> None:
        """Raise MoppetError unless every kind of request has a face to begin with."""
        kinds = {(r.label, r.occlusion == "dummy"): r for r in reversed(list(requests))}
        for request in kinds.values():
            self.draw(request)

    def draw(self, request: Request, attempt: int = 0) -> Source:
        """Return a face for a request; another for another attempt.

        It has the class that is asked for, or any other where in-painting changes the expression;
        a dummy goes to an infant or a child, as far as ages are known.
        Pictures without a face are passed over, unless the settings keep them (`only_found`).
        Raises MoppetError where there is none.
        """
        rows = self.candidates(request)
        if not len(rows):
            raise MoppetError(
                f"no training face can become {request.label!r}"
                f"{' with a dummy' if request.occlusion == 'dummy' else ''}: none is left of "
                "the classes and ages that were asked for."
            )
        rng = np.random.default_rng(seed_of(request.seed, "source", attempt))
        count = len(rows)
        while len(rows):
            row = int(rng.choice(rows))
            if row not in self._faceless:
                source = self.read(row)
                if source is not None:
                    return source
                self._faceless.add(row)
            rows = rows[rows != row]
        raise MoppetError(
            f"no face was found in any of the {count:,} training pictures that could become "
            f"{request.label!r}: look at them with `moppet data audit --faces`, or take the whole "
            "pictures with only_found=false."
        )

    def candidates(self, request: Request) -> NDArray[np.intp]:
        """Return the manifest's rows that a request may begin with."""
        s = self.settings
        own = self.labels[self.rows] == request.label
        rows = self.rows[~own if s.method == "inpaint" and s.change == "expression" else own]
        if request.occlusion == "dummy":
            rows = rows[[band in (*_CHILDREN, None) for band in self.bands[rows]]]
        return np.asarray(rows, np.intp)

    def read(self, row: int) -> Source | None:
        """Return a row's face with room around it, as large as the pictures to make.

        None where no face is found and the settings leave such pictures out.
        """
        picture = self.manifest.image(row)
        faces = find_manifest_faces(self.manifest.select([row]))
        if self.settings.only_found and not faces.found[0]:
            return None
        cut = faces.cuts[0]
        colour = np.repeat(cut[:, :, None], 3, axis=2) if cut.ndim == 2 else cut
        side = self.settings.size
        flags = cv2.INTER_AREA if colour.shape[0] > side else cv2.INTER_CUBIC
        image = np.asarray(cv2.resize(colour, (side, side), interpolation=flags), np.uint8)
        return Source(image, content_hash(picture), self.bands[row])
