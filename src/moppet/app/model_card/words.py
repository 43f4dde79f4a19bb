"""The card's fixed sentences, which hold for every model, and what its figures are called."""

from __future__ import annotations

from typing import Final

from moppet.app.evaluation.words import FIGURES, MEANINGS

ABOUT: Final = (
    "Sections after “Model Cards for Model Reporting” (Mitchell et al. 2019). Every figure is read "
    "from what was saved with the model; nothing is typed in."
)
USES: Final = (
    "Meant for: saying, from a picture or a video, which of its classes a face shows, on the "
    "user's own machine, as a reading that a person can check.",
    "Meant for people who code facial behaviour in recordings, and for those who build and study "
    "such readers.",
    "Not meant for diagnosis, for finding out what somebody feels, thinks or intends, or for any "
    "decision about a person that no person makes.",
    "Not meant for watching people who have not agreed, or whose parents have not.",
    "Laws may forbid a use: in the European Union, inferring emotions of people at work or in "
    "education is prohibited except for medical or safety reasons (Regulation (EU) 2024/1689, "
    "Article 5).",
)
FACTORS: Final = (
    "Readings of faces are known to depend on age, sex, skin colour, turn of the head, light, "
    "what covers the face, sharpness, and on how people of a place and time show and name "
    "expressions."
)
DECISION: Final = (
    "A face's class is the one with the largest probability, whatever that is. Probabilities are "
    "softmax(logits / temperature) with the card's temperature, 1 where it gives none (Guo et al. "
    "2017)."
)
INTERVALS: Final = (
    "Beside each figure stands its 95 % interval. It says how far the figure would move with other "
    "faces of the same kind, and nothing of another kind of faces. A dash is a figure that is not "
    "defined; it is never 0."
)
ETHICS: Final = (
    "An expression is not a feeling. What a face shows can be put on, held back or read wrongly, "
    "and the labels that a model learns are other people's readings, not the truth of a person.",
    "Mistakes fall on people who cannot object, children above all. Whoever uses a reading has "
    "to be able to look at the recording and to overrule it.",
    "A picture of a face is personal data. moppet reads on the machine that it runs on and sends "
    "nothing anywhere; whoever keeps recordings and results answers for them.",
    "Children can agree to little and their parents speak for them: film, keep and label only "
    "what they have agreed to, and delete it when they ask.",
    "A model repeats the lopsidedness of its pictures. Groups that the tables do not name were "
    "not looked at, which is no sign that they are read well.",
)
ADVICE: Final = (
    "Measure on faces of your own before you rely on the model (`moppet evaluate`), and code some "
    "recordings by hand beside it.",
    "Compare a difference between groups with its interval and its n before you speak of one.",
)
FEW: Final = 30
"""Fewer faces than this are too few to say how well they are read."""

TITLES: Final = {
    **FIGURES,
    "ece_before_scaling": "calibration error before temperature scaling",
    "commonest": "always answering the commonest class",
}
EXPLAINED: Final = {
    **MEANINGS,
    "ece_before_scaling": "the same at temperature 1",
    "commonest": "the accuracy of a guess that looks at no face",
}
PER_CLASS: Final = {
    "recall": "of the faces of a class, the share that is read as it",
    "precision": "of the faces that are read as a class, the share that is of it",
    "f1": "harmonic mean of recall and precision",
    "auc": "area under the ROC curve, the class against the others",
}
CLASS_TITLES: Final = {"recall": "recall", "precision": "precision", "f1": "F1", "auc": "AUC"}


def title_of(figure: str) -> str:
    """Return what a figure is called, also one that is not known here."""
    return TITLES.get(figure, figure.replace("_", " "))
