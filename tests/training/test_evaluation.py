from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contextface_ros.contextface import predicted
from contextface_ros.errors import BadInput
from contextface_ros.types import (
    EMOTIONS,
    EXPRESSION_SIZE,
    OPEN_BASIS,
    Context,
    Emotion,
    Float32Array,
    Perspective,
    Prediction,
)
from tests.tiny_bundle import make_tiny_bundle
from training import evaluate
from training.data.targets import Target
from training.evaluation import baselines
from training.evaluation.cases import Case, CaseSet, written_set
from training.evaluation.faces import mean_face
from training.evaluation.model import open_model
from training.evaluation.report import Report, Task, add_baselines, measure
from training.evaluation.tables import show

ROOT = Path(evaluate.__file__).parent.parent
KNOWN = np.ones(EXPRESSION_SIZE, dtype=bool)


def probabilities(emotion: Emotion) -> Float32Array:
    out: Float32Array = np.full(len(EMOTIONS), 0.05, np.float32)
    out[EMOTIONS.index(emotion)] = 0.7
    return out


class Told:
    """A model that was told what to say to each context."""

    def __init__(self, cases: Sequence[Case], says: Callable[[Case], Prediction]) -> None:
        self._answers = {case.context: says(case) for case in cases}

    def predict_many(self, contexts: Sequence[Context]) -> list[Prediction]:
        return [self._answers[context] for context in contexts]


def truth(case: Case) -> Prediction:
    assert case.target is not None
    return predicted(
        probabilities(case.emotion), case.target.coefficients, case.target.basis, False
    )


@pytest.fixture(scope="module")
def spoken() -> CaseSet:
    """A few dozen of the written contexts."""
    return CaseSet("speaker", written_set("dev", Perspective.SPEAKER).cases[:140])


def test_who_says_the_truth_has_no_error(spoken: CaseSet) -> None:
    report = measure(Told(spoken.cases, truth), "truth", [Task(spoken, spoken.cases)])
    labels, face = report.tables["speaker emotion"], report.tables["speaker face"]
    assert labels["uar"] == labels["war"] == labels["f1_macro"] == 1.0
    assert (report.confusions["speaker"] == np.diag(np.bincount(spoken.labels))).all()
    assert face["l2"] == face["l2_over_mean"] == 0.0
    assert face["fd"] == pytest.approx(0.0, abs=1e-5)
    assert face["l2_random"] > face["l2_mean"] > 0.05
    assert report.tables["strength"]["right"] > 0.9


def test_who_always_says_the_mean_face_is_the_baseline_mean(spoken: CaseSet) -> None:
    mean = mean_face([case.target for case in spoken.cases if case.target is not None])

    def says(case: Case) -> Prediction:
        return predicted(probabilities(Emotion.SAD), mean, OPEN_BASIS, False)

    report = measure(Told(spoken.cases, says), "mean", [Task(spoken, spoken.cases)])
    face = report.tables["speaker face"]
    assert face["l2_over_mean"] == pytest.approx(1.0)
    assert face["fd_over_mean"] == pytest.approx(1.0)
    assert face["l2_prediction_to_mean"] == 0.0  # the paper's wording finds it flawless
    assert report.tables["speaker emotion"]["uar"] == pytest.approx(1 / 7)


def test_what_was_not_annotated_counts_nowhere(spoken: CaseSet) -> None:
    half = KNOWN.copy()
    half[50:] = False
    cases = CaseSet(
        "mine",
        tuple(
            replace(case, target=replace(case.target, known=half))
            for case in spoken.cases
            if case.target is not None
        ),
    )

    def says(case: Case) -> Prediction:
        assert case.target is not None
        beta = case.target.coefficients.copy()
        beta[50:] = 5.0
        return predicted(probabilities(case.emotion), beta, OPEN_BASIS, False)

    face = measure(Told(cases.cases, says), "half", [Task(cases, cases.cases)]).tables["mine face"]
    assert face["l2"] == 0.0
    assert face["fd"] == pytest.approx(0.0, abs=1e-5)


def test_faces_of_two_bases_are_not_compared() -> None:
    case = Case(
        name="a",
        kind="quote",
        words=Context(quote="Hello."),
        emotion=Emotion.HAPPY,
        target=Target("flame2020", np.ones(EXPRESSION_SIZE, np.float32), KNOWN),
    )
    cases = CaseSet("mine", (case, replace(case, name="b", words=Context(quote="Hi."))))

    def says(case: Case) -> Prediction:
        return predicted(
            probabilities(case.emotion), np.ones(EXPRESSION_SIZE, np.float32), OPEN_BASIS, False
        )

    with pytest.raises(BadInput, match="annotated in flame2020, the model answers in open-1"):
        measure(Told(cases.cases, says), "model", [Task(cases, cases.cases)])


def test_baselines_learn_what_words_tell() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: run `make setup-train`")

    def case(text: str, emotion: Emotion) -> Case:
        return Case(text, "quote", Context(quote=text), emotion)

    trained = [case(f"rain again {n}", Emotion.SAD) for n in range(9)]
    trained += [case(f"cake for us {n}", Emotion.HAPPY) for n in range(5)]
    asked = [case("so much rain", Emotion.SAD), case("so much cake", Emotion.HAPPY)]
    said = {name: baselines.answers(name, asked, trained) for name in ("tfidf", "majority")}
    happy, sad = EMOTIONS.index(Emotion.HAPPY), EMOTIONS.index(Emotion.SAD)
    assert said["tfidf"].tolist() == [sad, happy]
    assert said["majority"].tolist() == [sad, sad]
    words = [case("I am furious", Emotion.ANGRY), case("Platform two.", Emotion.NEUTRAL)]
    assert baselines.answers("lexicon", words, trained).tolist() == [
        EMOTIONS.index(case.emotion) for case in words
    ]


def test_the_report_has_what_readme_and_card_show(spoken: CaseSet) -> None:
    heard = CaseSet("listener", written_set("dev", Perspective.LISTENER).cases[:140])
    human = CaseSet("human texts", tuple(replace(c, target=None) for c in spoken.cases))
    tasks = [Task(cases, cases.cases) for cases in (spoken, heard)]
    report = measure(Told(spoken.cases + heard.cases, truth), "truth", tasks)
    report.tables |= measure(
        Told(human.cases, lambda case: truth(spoken.cases[human.cases.index(case)])),
        "truth",
        [Task(human, spoken.cases)],
    ).tables
    figures: dict[str, Any] = runpy.run_path(str(ROOT / "benchmarks" / "model_figures.py"))
    assert "| speaker, written contexts | 140 | **1.000**" in figures["emotions"](report.tables)
    assert "| human texts | 1.00 |" in figures["classes"](report.tables)
    assert "| listener | 0.000 |" in figures["faces"](report.tables)


def test_the_tables_are_printed_with_baselines_and_the_papers_figures(
    spoken: CaseSet, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    task = Task(spoken, spoken.cases)
    report = measure(Told(spoken.cases, truth), "truth", [task])
    add_baselines(report, [task], ["lexicon", "majority"], tmp_path, threads=1)
    show(report)
    printed = capsys.readouterr().out
    assert "lexicon" in printed
    assert "majority class" in printed
    assert "paper, 13B, SFEW-C" in printed
    assert "no comparison" in printed
    assert report.baselines["majority"]["speaker emotion"]["uar"] == pytest.approx(1 / 7)


def test_a_bundle_is_measured_on_a_users_texts(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")
    make_tiny_bundle(tmp_path / "tiny")
    rows = [
        {"text": text, "emotion": emotion, "au": {"AU12": 0.5}}
        for text, emotion in (("I love it.", "Happy"), ("It died.", "Sad"), ("Yuck.", "Disgust"))
    ]
    data = tmp_path / "mine.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"
    evaluate.main(
        [str(tmp_path / "tiny"), "--data", str(data), "--out", str(out), "--baselines", "lexicon"]
    )
    report = json.loads((out / "evaluation.json").read_text())
    assert report["mine emotion"]["n"] == 3
    assert report["mine face"]["l2"] > 0
    assert np.sum(report["confusion"]["mine"]) == 3
    assert report["baselines"]["lexicon"]["mine emotion"]["war"] == 1.0
    assert (out / "confusion_mine.png").read_bytes().startswith(b"\x89PNG")


def test_figures_written_into_a_bundle_are_read_back(tmp_path: Path) -> None:
    make_tiny_bundle(tmp_path / "tiny")
    report = Report("tiny", tables={"speaker emotion": {"n": 3.0, "uar": 0.25}})
    evaluate.write_into_bundle(report, tmp_path / "tiny")
    manifest = (tmp_path / "tiny" / "bundle.yaml").read_text()
    assert "speaker_emotion_uar: 0.25" in manifest
    assert "trained_on" in manifest


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    said = r"neither bundle\.yaml nor a checkpoint"
    with pytest.raises(BadInput, match=said), open_model(tmp_path):
        pass
    with pytest.raises(SystemExit, match=said):
        evaluate.main([str(tmp_path), "--part", "dev", "--baselines"])
