"""What the emotions could be told from without the model: the same cases, answered plainly.

    majority    the emotion that the training rows have most often
    lexicon     the emotion with the most words in the text; Neutral where there are none
    tfidf       logistic regression on TF-IDF of words and pairs of words

The untuned base model is asked through its own runtime: `training.evaluation.model.open_model`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from contextface_ros.errors import MissingDependency
from contextface_ros.types import EMOTIONS
from training.evaluation.cases import Case
from training.evaluation.lexicon import by_words
from training.metrics import Labels

NAMES = ("untuned", "tfidf", "lexicon", "majority")

TITLES = {
    "untuned": "untuned base",
    "tfidf": "TF-IDF, logistic regr.",
    "lexicon": "lexicon",
    "majority": "majority class",
}


def answers(name: str, cases: Sequence[Case], trained: Sequence[Case]) -> Labels:
    """(N,) int64 indices into EMOTIONS that a baseline answers.

    Args:
        name: "majority", "lexicon" or "tfidf".
        cases: what is asked.
        trained: cases that it may learn from.

    Raises:
        MissingDependency: scikit-learn is not installed.
    """
    if name == "majority":
        commonest, _ = Counter(case.emotion for case in trained).most_common(1)[0]
        return np.full(len(cases), EMOTIONS.index(commonest))
    if name == "lexicon":
        return by_words([case.text for case in cases])
    return by_tfidf([case.text for case in cases], trained)


def by_tfidf(texts: Sequence[str], trained: Sequence[Case]) -> Labels:
    """Logistic regression on TF-IDF. Raises MissingDependency without scikit-learn."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
    except ImportError:
        raise MissingDependency(
            "the TF-IDF baseline needs scikit-learn: pip install -r requirements/train.txt"
        ) from None
    known = np.array([EMOTIONS.index(case.emotion) for case in trained])
    if len(np.unique(known)) == 1:
        return np.full(len(texts), known[0])
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2 if len(known) > 99 else 1),
        LogisticRegression(C=4.0, class_weight="balanced", max_iter=1000),
    )
    model.fit([case.text for case in trained], known)
    return np.asarray(model.predict(list(texts)), dtype=np.int64)
