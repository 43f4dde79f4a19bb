"""Labels and scores → figures with intervals. Undefined is NaN, never 0.

docs/metrics.md defines every figure, with its range, its undefined cases and its source.
"""

from __future__ import annotations

from moppet.metrics.calibration import Reliability, brier_score, calibration_error, reliability
from moppet.metrics.comparison import (
    FoldDifference,
    McNemar,
    correct_p_values,
    corrected_t_test,
    mcnemar_test,
)
from moppet.metrics.counts import (
    Labels,
    accuracy,
    balanced_accuracy,
    cohen_kappa,
    confusion,
    f1_scores,
    g_mean,
    macro_f1,
    macro_precision,
    macro_recall,
    precisions,
    recalls,
)
from moppet.metrics.delong import AucDifference, delong_test
from moppet.metrics.intervals import (
    Difference,
    DrawnFigures,
    Estimate,
    bootstrap,
    bootstrap_many,
    from_rows,
    paired_bootstrap,
    paired_bootstrap_many,
    within,
)
from moppet.metrics.ranking import RocCurve, auc, aucs, macro_auc, roc_curve
from moppet.metrics.raters import (
    guess_agreements,
    guess_plurality_agreements,
    rater_agreements,
    rater_plurality_agreements,
    vote_distances,
    vote_divergences,
)
from moppet.metrics.rates import event_rate, exact_share
from moppet.metrics.summary import Summary, as_json, drawn_figures, summarise

__all__ = [
    "AucDifference",
    "Difference",
    "DrawnFigures",
    "Estimate",
    "FoldDifference",
    "Labels",
    "McNemar",
    "Reliability",
    "RocCurve",
    "Summary",
    "accuracy",
    "as_json",
    "auc",
    "aucs",
    "balanced_accuracy",
    "bootstrap",
    "bootstrap_many",
    "brier_score",
    "calibration_error",
    "cohen_kappa",
    "confusion",
    "correct_p_values",
    "corrected_t_test",
    "delong_test",
    "drawn_figures",
    "event_rate",
    "exact_share",
    "f1_scores",
    "from_rows",
    "g_mean",
    "guess_agreements",
    "guess_plurality_agreements",
    "macro_auc",
    "macro_f1",
    "macro_precision",
    "macro_recall",
    "mcnemar_test",
    "paired_bootstrap",
    "paired_bootstrap_many",
    "precisions",
    "rater_agreements",
    "rater_plurality_agreements",
    "recalls",
    "reliability",
    "roc_curve",
    "summarise",
    "vote_distances",
    "vote_divergences",
    "within",
]
