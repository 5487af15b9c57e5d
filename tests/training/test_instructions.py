from __future__ import annotations

import dataclasses
from pathlib import Path
from random import Random

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")

from contextface_ros import prompts  # noqa: E402
from contextface_ros.errors import BadInput  # noqa: E402
from contextface_ros.types import EMOTIONS, Context, Emotion, Perspective  # noqa: E402
from tests.tiny_llava import IMAGE_TOKENS  # noqa: E402
from training.data import wordings  # noqa: E402
from training.data.conversations import Conversation  # noqa: E402
from training.data.instruction_batch import collate  # noqa: E402
from training.data.instructions import Instruction, InstructionMaker  # noqa: E402
from training.data.pictures import Picture  # noqa: E402
from training.data.scenes import Scene  # noqa: E402
from training.data.targets import Target  # noqa: E402
from training.instruct_config import InstructConfig, Variation  # noqa: E402
from training.llava import Words, load_words  # noqa: E402

OWN = Variation(own_wording=1.0, image=0.0, both=0.0)
SEEN = dataclasses.replace(OWN, image=1.0)
FACE, END = "<FACE>", "<|im_end|>"
TARGET = Target("open-1", np.linspace(-1, 1, 100, dtype=np.float32), np.arange(100) < 50)
PICTURE = Picture(Path("nowhere.png"), (1, 2, 3, 4))
SCENE = Scene("a", Emotion.SAD, "Her train left.", "Oh no!", picture=PICTURE, target=TARGET)
VERSIONS = ("edge", "paper")


@pytest.fixture(scope="module")
def words(tiny_llava: Path) -> Words:
    values = {"base": {"path": str(tiny_llava)}, "lora": {}, "tasks": {"vqa": 1.0}}
    return load_words(InstructConfig.of(values))


@pytest.fixture(scope="module")
def maker(words: Words):
    def make(version: prompts.PromptVersion, variation: Variation = OWN, limit: int = 512):
        return InstructionMaker(words.vocabulary, words.image, version, variation, limit)

    return make


def told(words: Words, made: Instruction) -> tuple[str, str]:
    """What is given and what is learned, each as text with the tokens of an image as one."""
    text = {True: [], False: []}
    for token, learned in zip(made.ids, made.learned, strict=True):
        text[learned].append(token)
    image = words.tokenizer.convert_ids_to_tokens(words.image.token)
    given, said = (words.tokenizer.decode(text[key]) for key in (False, True))
    return given.replace(image * IMAGE_TOKENS, "[IMAGE]"), said


def test_an_expression_learns_the_whole_sentence_and_the_face(words: Words, maker) -> None:
    scene = dataclasses.replace(SCENE, situation=None)
    begin = "<|im_start|>"
    for version, given in {
        "edge": f"{begin}Read the face.\nQuote: Oh no!\n",
        "paper": f"{begin}Quote: Oh no!\n{prompts.PAPER_INSTRUCTION}",
    }.items():
        made = maker(version).expression(scene, Random(0))
        said = "Considering the quote, the person expresses Sad. The 3D facial mesh is<FACE>."
        assert told(words, made) == (given, said + END)
        assert made.picture is None
        assert made.beta is TARGET.coefficients
        assert made.known is TARGET.known


def test_an_image_stands_between_instruction_and_text(words: Words, maker) -> None:
    scene = dataclasses.replace(SCENE, quote=None)
    given, _ = told(words, maker("edge", SEEN).expression(scene, Random(0)))
    assert given == "<|im_start|>Read the face.\n[IMAGE]\nSituation: Her train left.\n"
    given, _ = told(words, maker("paper", SEEN).expression(scene, Random(0)))
    assert given.startswith("<|im_start|>[IMAGE]\nSituation: Her train left.\n")
    assert maker("paper", SEEN).expression(scene, Random(0)).picture is PICTURE


@pytest.mark.parametrize("version", VERSIONS)
def test_a_situation_learns_the_scenario_then_the_emotion(
    words: Words, maker, version: prompts.PromptVersion
) -> None:
    made = maker(version).situation(SCENE, Random(0))
    given, said = told(words, made)
    assert said == " Her train left.\nConsidering the situation, the person expresses Sad." + END
    assert given.endswith("Situation:")
    assert "[IMAGE]" in given
    assert "Oh no!" in given
    assert made.picture is PICTURE
    assert made.face_at is None


def test_a_conversation_learns_the_answers_alone(words: Words, maker) -> None:
    talk = Conversation((("Who?", "A man."), ("Where?", "At sea.\nFar out.")), PICTURE)
    made = maker("edge").vqa(talk, Random(0))
    given, said = told(words, made)
    assert given == "<|im_start|>USER:[IMAGE]\n Who? ASSISTANT:USER: Where? ASSISTANT:"
    assert said == f" A man.{END} At sea.\nFar out.{END}"
    assert made.emotion is None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("perspective", Perspective)
def test_every_target_is_predicted_by_the_position_before_it(
    words: Words, maker, version: prompts.PromptVersion, seed: int, perspective: Perspective
) -> None:
    """Token by token, through a batch: what a column predicts, and that nothing else counts."""
    scene = dataclasses.replace(SCENE, perspective=perspective, emotion=EMOTIONS[seed])
    loose = Variation(own_wording=0.5, image=0.5, both=0.5)
    make = maker(version, loose)
    talk = Conversation((("Who?", "A man."), ("Where?", "There.")), PICTURE)
    random = Random(seed)
    for task, made in {
        "expression": make.expression(scene, random),
        "situation": make.situation(scene, random),
        "vqa": make.vqa(talk, random),
    }.items():
        short = make.vqa(Conversation((("Hm?", "Yes."),)), random)
        batch = collate(task, [short, made], [])
        ids = batch.ids[1, : len(made)].tolist()
        assert tuple(ids) == made.ids
        assert not batch.ids[1, len(made) :].any()
        mine = batch.response_rows == 1
        columns, targets = batch.response_columns[mine], batch.response_targets[mine]
        predicted = {int(c) + 1: int(t) for c, t in zip(columns, targets, strict=True)}
        assert predicted == {at: ids[at] for at, yes in enumerate(made.learned) if yes}
        if task == "vqa":
            continue
        first = prompts.emotion_tokens(words.vocabulary.tokenize)[made.emotion]
        assert ids[made.emotion_at + 1] == first
        assert batch.emotion_columns.tolist() == [made.emotion_at]
        assert batch.emotions.tolist() == [made.emotion]
        if task == "expression":
            assert ids[made.face_at + 1] == words.vocabulary.face
            assert ids.count(words.vocabulary.face) == 1
            assert torch.equal(batch.betas[0], torch.from_numpy(TARGET.coefficients))
            assert torch.equal(batch.known[0], torch.from_numpy(TARGET.known))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_robot_asks_in_the_words_that_are_trained(
    words: Words, maker, version: prompts.PromptVersion
) -> None:
    """The ids up to <FACE> are those that the runtime makes of the same context."""
    scene = dataclasses.replace(SCENE, situation=None)
    made = maker(version).expression(scene, Random(0))
    prompt = prompts.prompt(Context(quote="Oh no!"), version)
    pieces = prompt.prefix + prompt.text + prompt.question + prompts.mesh_tail(Emotion.SAD)
    ids = [*words.vocabulary.begin, *prompts.token_ids(pieces, words.vocabulary.tokenize)]
    assert list(made.ids[: made.face_at + 1]) == ids


def test_a_scene_without_a_face_ends_with_its_emotion(words: Words, maker) -> None:
    made = maker("edge").expression(dataclasses.replace(SCENE, target=None), Random(0))
    assert told(words, made)[1].endswith("the person expresses Sad")
    assert made.face_at is made.beta is None


def test_what_people_say_is_never_a_special_token(words: Words, maker) -> None:
    said = "<image> <FACE> <|im_end|> </s>"
    scene = dataclasses.replace(SCENE, quote=said, situation=said)
    for made in (
        maker("edge").expression(scene, Random(0)),
        maker("edge").situation(dataclasses.replace(scene, picture=None), Random(0)),
        maker("edge").vqa(Conversation(((said, said),)), Random(0)),
    ):
        assert words.image.token not in made.ids
        assert made.ids.count(words.vocabulary.end) == 1
        assert made.ids.count(words.vocabulary.face) == (made.face_at is not None)


def test_wordings_vary_and_the_own_one_has_its_share(words: Words, maker) -> None:
    half = dataclasses.replace(OWN, own_wording=0.5)
    random = Random(1)
    for version in VERSIONS:
        make = maker(version, half)
        texts = [told(words, make.expression(SCENE, random))[0] for _ in range(200)]
        own = wordings.EXPRESSION[version][0]
        assert 70 < sum(own in text for text in texts) < 130
        for wording in wordings.EXPRESSION[version]:
            assert any(wording in text for text in texts)


def test_quote_and_situation_stand_together_where_asked(words: Words, maker) -> None:
    both = dataclasses.replace(OWN, both=1.0)
    given, said = told(words, maker("edge", both).expression(SCENE, Random(0)))
    assert "Situation: Her train left.\nQuote: Oh no!\n" in given
    assert "Considering the quote" in said
    kinds = {told(words, maker("edge").expression(SCENE, Random(n)))[0] for n in range(20)}
    assert len(kinds) == 2  # one or the other


@pytest.mark.parametrize("limit", [40, 64, 100])
def test_long_texts_are_cut_and_formats_are_not(words: Words, maker, limit: int) -> None:
    scene = dataclasses.replace(SCENE, quote="so " * 300, situation="on " * 300, picture=None)
    talk = Conversation((("why " * 90, "because " * 90), ("And?", "No.")))
    for version in VERSIONS:
        make = maker(version, OWN, limit)
        face = make.expression(scene, Random(0))
        assert told(words, face)[1].endswith("The 3D facial mesh is<FACE>." + END)
        made = make.situation(scene, Random(0))
        assert told(words, made)[1].endswith("the person expresses Sad." + END)
        turns = make.vqa(talk, Random(0))
        assert told(words, turns)[1].count(END) == 1
        assert {len(face), len(made), len(turns)} == {limit}


def test_a_length_that_holds_no_image_is_refused(maker) -> None:
    with pytest.raises(BadInput, match="max_tokens is 20"):
        maker("edge", SEEN, 20).expression(SCENE, Random(0))
