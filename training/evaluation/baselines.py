"""What the emotions could be told from without the model: the same cases, answered plainly.

    majority    the emotion that the training rows have most often
    lexicon     the emotion whose words stand in the text; Neutral where none does
    tfidf       logistic regression on TF-IDF of words and pairs of words

The untuned base model is asked through its own runtime: `training.evaluation.model.open_model`.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import util
from pathlib import Path

import numpy as np

from contextface_ros.errors import MissingDependency
from contextface_ros.types import EMOTIONS, Emotion
from training.evaluation.cases import Case
from training.metrics import Labels

NAMES = ("untuned", "tfidf", "lexicon", "majority")

TITLES = {
    "untuned": "untuned base",
    "tfidf": "TF-IDF + logistic regression",
    "lexicon": "lexicon (Empath)",
    "majority": "majority class",
}

EMPATH_CATEGORIES: Mapping[Emotion, tuple[str, ...]] = {
    Emotion.ANGRY: ("anger", "rage", "irritability", "exasperation"),
    Emotion.SAD: ("sadness", "disappointment", "suffering"),
    Emotion.SURPRISE: ("surprise", "confusion"),
    Emotion.FEAR: ("fear", "nervousness", "horror"),
    Emotion.HAPPY: ("joy", "cheerfulness", "contentment", "fun"),
    Emotion.DISGUST: ("disgust",),
}
"""Categories of Empath (Fast, Chen and Bernstein, CHI 2016; MIT) that say an emotion of ours."""


def answers(name: str, cases: Sequence[Case], trained: Sequence[Case]) -> Labels:
    """(N,) int64 indices into EMOTIONS that a baseline answers.

    Args:
        name: "majority", "lexicon" or "tfidf".
        cases: what is asked.
        trained: cases that it may learn from.

    Raises:
        MissingDependency: scikit-learn or empath is not installed.
    """
    if name == "majority":
        commonest, _ = Counter(case.emotion for case in trained).most_common(1)[0]
        return np.full(len(cases), EMOTIONS.index(commonest))
    if name == "lexicon":
        return by_words([case.text for case in cases], empath_words())
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


def by_words(texts: Sequence[str], words: Mapping[str, tuple[Emotion, ...]]) -> Labels:
    """The emotion with the most words in each text; one of several emotions counts its share."""
    out = np.full(len(texts), EMOTIONS.index(Emotion.NEUTRAL))
    for row, text in enumerate(texts):
        votes = np.zeros(len(EMOTIONS))
        for word in re.findall(r"[a-z']+", text.lower()):
            for emotion in words.get(word, ()):
                votes[EMOTIONS.index(emotion)] += 1 / len(words[word])
        if votes.any():
            out[row] = votes.argmax()
    return out


def empath_words() -> dict[str, tuple[Emotion, ...]]:
    """The word lists of the package empath, of which only this file is read, no code run.

    Raises:
        MissingDependency: it is not installed.
    """
    spec = util.find_spec("empath")
    if spec is None or spec.origin is None:
        raise MissingDependency("the lexicon needs empath: pip install -r requirements/train.txt")
    file = Path(spec.origin).parent / "data" / "categories.tsv"
    with file.open(encoding="utf-8", newline="") as stream:
        rows = {row[0]: row[1:] for row in csv.reader(stream, delimiter="\t") if row}
    found: dict[str, tuple[Emotion, ...]] = {}
    for emotion, categories in EMPATH_CATEGORIES.items():
        for word in {word for category in categories for word in rows[category]}:
            found[word] = (*found.get(word, ()), emotion)
    return found
