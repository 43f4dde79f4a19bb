"""A paragraph for the methods section of a paper, with its references, from a study's records."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import moppet
from moppet.cohort.study_folder import StudyFolder
from moppet.files import as_damaged, read_json
from moppet.timeline.time_axis import format_length
from moppet.values import UsageError

REFERENCES: Final[Mapping[str, str]] = {
    "moppet": "",
    "zhang2016": """@article{zhang2016,
  author = {Zhang, Kaipeng and Zhang, Zhanpeng and Li, Zhifeng and Qiao, Yu},
  title = {Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks},
  journal = {IEEE Signal Processing Letters}, volume = {23}, number = {10},
  pages = {1499--1503}, year = {2016}
}""",
    "cohen1960": """@article{cohen1960,
  author = {Cohen, Jacob},
  title = {A Coefficient of Agreement for Nominal Scales},
  journal = {Educational and Psychological Measurement}, volume = {20}, number = {1},
  pages = {37--46}, year = {1960}
}""",
    "krippendorff2011": """@techreport{krippendorff2011,
  author = {Krippendorff, Klaus},
  title = {Computing {Krippendorff's} Alpha-Reliability},
  institution = {University of Pennsylvania}, year = {2011}
}""",
    "shrout1979": """@article{shrout1979,
  author = {Shrout, Patrick E. and Fleiss, Joseph L.},
  title = {Intraclass Correlations: Uses in Assessing Rater Reliability},
  journal = {Psychological Bulletin}, volume = {86}, number = {2},
  pages = {420--428}, year = {1979}
}""",
    "holm1979": """@article{holm1979,
  author = {Holm, Sture},
  title = {A Simple Sequentially Rejective Multiple Test Procedure},
  journal = {Scandinavian Journal of Statistics}, volume = {6}, number = {2},
  pages = {65--70}, year = {1979}
}""",
    "boker2002": """@article{boker2002,
  author = {Boker, Steven M. and Rotondo, Jennifer L. and Xu, Minquan and King, Kadijah},
  title = {Windowed Cross-Correlation and Peak Picking for the Analysis of Variability in the
    Association Between Behavioral Time Series},
  journal = {Psychological Methods}, volume = {7}, number = {3},
  pages = {338--355}, year = {2002}
}""",
    "theiler1992": """@article{theiler1992,
  author = {Theiler, James and Eubank, Stephen and Longtin, Andr{\\'e} and Galdrikian, Bryan and
    Farmer, J. Doyne},
  title = {Testing for Nonlinearity in Time Series: the Method of Surrogate Data},
  journal = {Physica D}, volume = {58}, pages = {77--94}, year = {1992}
}""",
    "bernieri1988": """@article{bernieri1988,
  author = {Bernieri, Frank J. and Reznick, J. Steven and Rosenthal, Robert},
  title = {Synchrony, Pseudosynchrony, and Dissynchrony: Measuring the Entrainment Process in
    Mother--Infant Interactions},
  journal = {Journal of Personality and Social Psychology}, volume = {54}, number = {2},
  pages = {243--253}, year = {1988}
}""",
}
"""Key → BibTeX entry; that of moppet itself is made with its version."""


@dataclass(frozen=True)
class Methods:
    """text: paragraphs with keys such as [@cohen1960]. bibtex: the entries of these keys."""

    text: str
    bibtex: str


def describe_methods(study: StudyFolder, agreement: Path | None = None) -> Methods:
    """Return how a study was analyzed, in words for a paper.

    agreement: reliability.json or agreement.json of `moppet compare`; without it, the text says
    that the agreement is missing. Results of `summarize` and `dyads` in the study's folder are
    described if they are there. Raises UsageError if a file cannot be read.
    """
    paragraphs = [
        " ".join(_recordings(study)),
        " ".join(_analysis(study)),
        " ".join(_agreement(agreement)),
        " ".join(_statistics(study)),
    ]
    text = "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
    keys = [key for key in REFERENCES if f"@{key}" in text]
    return Methods(text + "\n", "\n\n".join(map(_entry, keys)) + "\n")


def _entry(key: str) -> str:
    if key != "moppet":
        return REFERENCES[key]
    return f"""@software{{moppet,
  author = {{{{The moppet authors}}}},
  title = {{moppet: facial expressions of infants, children and adults in photos and video}},
  version = {{{moppet.__version__}}}, license = {{Apache-2.0}}
}}"""


def _recordings(study: StudyFolder) -> Iterator[str]:
    found = study.recordings
    people = {one["info"].get("participant") for one in found} - {None}
    lengths = [float(one["analyzed_s"]) for one in found if one["analyzed_s"] is not None]
    whose = f" of {_count(len(people), 'participant')}" if people else ""
    yield f"We analyzed {_count(len(found), 'recording')}{whose}"
    total, middle = format_length(sum(lengths)), format_length(_median(lengths))
    yield f"({total} in all; median length {middle})"
    yield "with moppet [@moppet]."
    if sizes := sorted({f"{o['width']} × {o['height']}" for o in found if o.get("width")}):
        yield f"Video size: {_some(sizes)} pixels."


def _analysis(study: StudyFolder) -> Iterator[str]:
    found = study.recordings
    versions = _distinct(one["moppet_version"] for one in found)
    models = _distinct(
        f"{one['model_name']} (SHA-256 {str(one['model_sha256'])[:12]}…)" for one in found
    )
    yield (
        f"Expressions were read by the model{_s(models)} {_some(models)} of "
        f"moppet {_some(versions)}."
    )
    detectors = _distinct(one["detector"] for one in found)
    cite = " [@zhang2016]" if "mtcnn" in detectors else ""
    yield f"Faces were found with {_some(detectors)}{cite} and followed over time."
    yield from _settings([one.get("settings") or {} for one in found])
    shares = [
        (one["with_face_s"], one["unsure_s"], one["analyzed_s"])
        for one in found
        if None not in (one["with_face_s"], one["unsure_s"], one["analyzed_s"])
    ]
    face_s, unsure_s, all_s = (
        (sum(column) for column in zip(*shares, strict=True)) if shares else (*(0.0, 0.0, 0.0),)
    )
    if all_s and face_s:
        yield (
            f"A face was found in {face_s / all_s:.0%} of the time; in {unsure_s / face_s:.0%} of "
            "the time with a face, no face was read with confidence, and this time is left out of "
            "all shares."
        )
    corrected = [one for one in found if one["corrections"]]
    if corrected:
        coders = _distinct(c for one in corrected for c in str(one["coders"]).split("; "))
        seconds = sum(one["corrected_s"] or 0 for one in corrected)
        yield (
            f"{_count(len(coders), 'coder')} corrected {format_length(seconds)} in "
            f"{_count(len(corrected), 'recording')}."
        )
    else:
        yield "The labels are the model's: nobody corrected them."


def _settings(settings: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    every = _distinct(one.get("every", 1) for one in settings)
    if every != ["1"]:
        yield f"Every {_some(every)}th frame was analyzed."
    distinct = {json.dumps(one.get("timeline"), sort_keys=True) for one in settings}
    if len(distinct) > 1:
        yield (
            f"The recordings were smoothed with {len(distinct)} different settings, which "
            "study.json lists."
        )
        return
    smoothing = settings[0].get("timeline") or {}
    if {"smooth_s", "unsure_below", "low_quality_below"} <= smoothing.keys():
        yield (
            "Probabilities were smoothed over time with a Gaussian of "
            f"{smoothing['smooth_s']:g} s (standard deviation). A frame is unsure if its largest "
            f"probability is below {smoothing['unsure_below']:g} or the quality of the face below "
            f"{smoothing['low_quality_below']:g}."
        )
    if {"enter", "leave", "min_episode_s", "max_gap_s"} <= smoothing.keys():
        yield (
            f"Episodes start at a probability of {smoothing['enter']:g}, end below "
            f"{smoothing['leave']:g} or after {smoothing['max_gap_s']:g} s without the face, and "
            f"last at least {smoothing['min_episode_s']:g} s."
        )


def _agreement(path: Path | None) -> Iterator[str]:
    if path is None:
        yield (
            "[Agreement with human coders is missing: code a part, run moppet compare, and add "
            "--agreement.]"
        )
        return
    content = read_json(path, "agreement", UsageError)
    message = f"{path} is not reliability.json or agreement.json of moppet compare."
    with as_damaged(message, UsageError):
        if "alpha" not in content:
            for pair in content["pairs"]:
                yield _pair_text(pair, pair["units"]["kappa"], pair["compared_s"], "")
            return
        for pair in content["pairs"]:
            where = f" of {_count(pair['recordings'], 'recording')}"
            yield _pair_text(pair, pair["kappa"], pair["compared_s"], where)
        alpha = content["alpha"]
        yield f"Krippendorff's alpha of all raters was {_interval(alpha)} [@krippendorff2011]."


def _pair_text(pair: Mapping[str, Any], kappa: Mapping[str, Any], seconds: float, of: str) -> str:
    return (
        f"Cohen's kappa of {pair['first']} and {pair['second']} was {_interval(kappa)} over "
        f"{format_length(seconds)}{of} [@cohen1960]."
    )


def _statistics(study: StudyFolder) -> Iterator[str]:
    summary, dyads = study.folder / "summary/summary.json", study.folder / "dyads/dyads.json"
    message = "{} is damaged: run the command again that wrote it."
    if summary.is_file():
        content = read_json(summary, "summary", UsageError)
        with as_damaged(message.format(summary), UsageError):
            yield (
                "A participant's value is the mean over its recordings, weighted by their time. "
                "Intervals are 95 % percentile intervals of "
                f"{content['draws']:,} bootstrap samples of participants."
            )
            if content["comparisons"]:
                yield (
                    f"Groups were compared with {_count(len(content['comparisons']), 'test')} by "
                    "permutation of participants, corrected after Holm [@holm1979]."
                )
    if dyads.is_file():
        content = read_json(dyads, "dyads", UsageError)
        with as_damaged(message.format(dyads), UsageError):
            first, second = content["roles"]
            yield (
                f"The {first} and the {second} of {_count(content['dyads'], 'dyad')} were compared "
                "by windowed cross-correlation [@boker2002] (windows of "
                f"{content['window_s']:g} s, lags up to {content['max_lag_s']:g} s, sampled every "
                f"{content['step_s']:g} s) "
                "against shuffled partners [@bernieri1988] and phase-randomized series "
                "[@theiler1992]."
            )


def _interval(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return "undefined"
    text = f"{figure['value']:.2f}"
    if figure["low"] is None:
        return text
    return f"{text} (95 % interval {figure['low']:.2f} to {figure['high']:.2f})"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _s(words: Sequence[str]) -> str:
    return "" if len(words) == 1 else "s"


def _distinct(values: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys("unknown" if value is None else str(value) for value in values))


def _some(words: Sequence[str]) -> str:
    if len(words) > 6:
        return f"{', '.join(words[:6])} and {len(words) - 6} others"
    return " and ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} and {words[-1]}"


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None
