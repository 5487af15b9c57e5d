"""The motion, by its properties: whatever comes and whenever."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contextface_ros.errors import BadInput
from contextface_ros.face.attitude import ATTITUDES, Attention, parse_attention
from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.face.emotion_layer import TEMPI, EmotionLayer, Style
from contextface_ros.face.idle import BLINKS_PER_MINUTE, Idle
from contextface_ros.face.lag import Course
from contextface_ros.face.limits import HIGHEST, add, limited
from contextface_ros.face.motion import HAND_OVER_S, Motion
from contextface_ros.face.regions import Region, parse_regions, units_of
from contextface_ros.types import EMOTIONS, Emotion

FRAME_S = 1 / 60

REST = np.zeros(52)
STILL = Motion(Idle(1), living=Course.resting(np.zeros(52)))
"""A face that does nothing of its own accord."""


def unit(name: str) -> int:
    return ARKIT_NAMES.index(name)


def face(**weights: float) -> np.ndarray:
    pose = np.zeros(52)
    for name, weight in weights.items():
        pose[unit(name)] = weight
    return pose


SMILE = face(mouthSmileLeft=0.8, mouthSmileRight=0.8, cheekSquintLeft=0.5, cheekSquintRight=0.5)
FROWN = face(browDownLeft=0.9, browDownRight=0.9, mouthFrownLeft=0.6, mouthFrownRight=0.6)

Event = Callable[[Motion, float], Motion]

faces = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).random(52))
events = st.one_of(
    st.builds(
        lambda weights, label, style: lambda m, t: m.express(weights, label, t, style),
        faces,
        st.sampled_from([*EMOTIONS, None]),
        st.builds(
            Style, st.floats(0.0, 2.0), st.floats(0.2, 5.0), st.floats(0.0, 3.0), st.floats(0, 3)
        ),
    ),
    st.builds(lambda a: lambda m, t: m.attend(a, t, 2.0), st.sampled_from(list(Attention))),
    st.builds(
        lambda regions: lambda m, t: m.lend(regions, t),
        st.frozensets(st.sampled_from(list(Region))),
    ),
    st.builds(lambda alive: lambda m, t: m.live(alive, t), st.booleans()),
    st.just(lambda m, t: m.fall_asleep(t)),
)
scripts = st.lists(st.tuples(st.floats(0.0, 1.5), events), min_size=1, max_size=10)


SAME_TIME = [
    (0.0, lambda m, t: m.attend(Attention.LISTENING, t, 2.0)),
    (0.25, lambda m, t: m.attend(Attention.IDLE, t, 2.0)),
    (0.0, lambda m, t: m.attend(Attention.IDLE, t, 2.0)),
    (0.0, lambda m, t: m.fall_asleep(t)),
]


@settings(max_examples=60)
@given(scripts)
@example(SAME_TIME)
def test_pose_and_velocity_are_continuous_whatever_interrupts(
    script: list[tuple[float, Event]],
) -> None:
    """The change of a step of 0.1 ms is what the velocity before foretells.

    A jump of position would show in the step across it, one of velocity in that step too: it would
    be another than the one before and after by the jump. The fastest that is smooth, the lids of a
    blink, changes its velocity by 0.09 in such a step.

    Events less than two steps apart come at one time: what a motion was before its last event it
    has forgotten, so the past is asked of the motion before the first of them.
    """
    step_s = 1e-4
    motion, time_s = Motion(Idle(3)).asleep().lend(frozenset(), 0.0), 0.0
    before = [motion.pose(0.0).astype(float)] * 3
    for wait_s, event in script:
        if wait_s >= 2 * step_s:
            time_s += wait_s
            before = [motion.pose(time_s - k * step_s).astype(float) for k in (2, 1, 0)]
        motion = event(motion, time_s)
        after = [motion.pose(time_s + k * step_s).astype(float) for k in (0, 1, 2)]
        assert np.abs(after[0] - before[2]).max() < 1e-6, "it jumps"
        velocity_before = (before[2] - before[0]) / (2 * step_s)
        velocity_after = (after[2] - after[0]) / (2 * step_s)
        assert np.abs(velocity_after - velocity_before).max() < 0.25, "its velocity jumps"


@settings(max_examples=60)
@given(scripts)
def test_no_limit_is_exceeded_and_no_frame_leaps(script: list[tuple[float, Event]]) -> None:
    motion, time_s, before = Motion(Idle(4)), 0.0, Motion(Idle(4)).pose(0.0)
    for wait_s, event in [*script, (3.0, lambda m, t: m)]:
        for at_s in np.arange(time_s, time_s + wait_s, FRAME_S):
            pose = motion.pose(at_s)
            assert (pose >= 0.0).all()
            assert (pose <= HIGHEST + 1e-6).all()
            assert pose.dtype == np.float32
            before = pose
        time_s += wait_s
        motion = event(motion, time_s)
    assert before.shape == (52,)


@given(scripts)
def test_the_same_seed_and_the_same_events_give_the_same_face(
    script: list[tuple[float, Event]],
) -> None:
    def play(seed: int) -> np.ndarray:
        motion, time_s = Motion(Idle(seed)), 0.0
        for wait_s, event in script:
            time_s += wait_s
            motion = event(motion, time_s)
        return motion.pose(time_s + 0.5)

    np.testing.assert_array_equal(play(11), play(11))


def test_another_seed_blinks_at_other_times() -> None:
    times = np.arange(0.0, 20.0, FRAME_S)
    one, other = ([Idle(seed).lids(t) for t in times] for seed in (1, 2))
    assert not np.allclose(one, other)


# --- the emotion --------------------------------------------------------------------------------


@pytest.mark.parametrize("emotion", [*EMOTIONS, None])
def test_a_face_rises_stays_and_decays_to_rest(emotion: Emotion | None) -> None:
    motion, tempo = STILL.express(SMILE, emotion, 1.0), TEMPI[emotion]
    smile = unit("mouthSmileLeft")
    weights = [float(motion.pose(t)[smile]) for t in np.arange(1.0, 12.0, FRAME_S)]
    apex = int(np.argmax(weights))
    assert (np.diff(weights[:apex]) >= 0).all()
    assert (np.diff(weights[apex:]) <= 0).all()
    assert motion.pose(1.0 + tempo.onset_s)[smile] == pytest.approx(0.95 * 0.8, abs=0.01)
    assert motion.pose(1.0 + tempo.onset_s + tempo.hold_s)[smile] == pytest.approx(0.8, abs=0.04)
    end_s = 1.0 + tempo.onset_s + tempo.hold_s + tempo.decay_s
    assert motion.pose(end_s)[smile] == pytest.approx(0.05 * 0.8, abs=0.01)
    assert motion.pose(60.0).max() < 1e-4


def test_surprise_is_fast_and_brief_and_sadness_slow() -> None:
    onsets = {emotion: TEMPI[emotion].onset_s for emotion in EMOTIONS}
    totals = {e: TEMPI[e].onset_s + TEMPI[e].hold_s + TEMPI[e].decay_s for e in EMOTIONS}
    assert min(onsets, key=onsets.__getitem__) == min(totals, key=totals.__getitem__) == "Surprise"
    assert max(onsets, key=onsets.__getitem__) == max(totals, key=totals.__getitem__) == "Sad"
    for emotion in EMOTIONS:
        assert TEMPI[emotion].decay_s > TEMPI[emotion].onset_s


def test_gain_and_speed() -> None:
    smile = unit("mouthSmileLeft")

    def weight(at_s: float, style: Style) -> float:
        return float(STILL.express(SMILE, Emotion.HAPPY, 0.0, style).pose(at_s)[smile])

    assert weight(1.0, Style(gain=0.5)) == pytest.approx(0.4, abs=0.01)
    assert weight(1.0, Style(gain=2.0)) == pytest.approx(1.0, abs=0.01)
    onset_s = TEMPI[Emotion.HAPPY].onset_s
    assert weight(onset_s / 2, Style(speed=2.0)) == pytest.approx(
        weight(onset_s, Style()), abs=1e-4
    )
    assert weight(30.0, Style(hold=100.0)) == pytest.approx(0.8, abs=0.01)


def test_a_new_emotion_is_seen_in_the_next_frame() -> None:
    for frame in range(50):
        motion = STILL.express(SMILE, Emotion.HAPPY, 0.0).express(FROWN, Emotion.ANGRY, frame / 10)
        without = STILL.express(SMILE, Emotion.HAPPY, 0.0)
        at_s = frame / 10 + FRAME_S
        assert np.abs(motion.pose(at_s) - without.pose(at_s)).max() > 1e-5


# --- hysteresis ---------------------------------------------------------------------------------


def alternate(
    period_s: float, labels: Sequence[Emotion], hysteresis_s: float = 1.5
) -> tuple[list[Emotion | None], list[np.ndarray]]:
    """Labels in turn, one each period; what is shown in every frame."""
    shown: list[Emotion | None] = []
    poses: list[np.ndarray] = []
    motion, due_s, turn = STILL, 0.0, 0
    style = Style(hysteresis_s=hysteresis_s)
    for time_s in np.arange(0.0, 20.0, FRAME_S):
        if time_s >= due_s:
            label = labels[turn % len(labels)]
            weights = SMILE if label == Emotion.HAPPY else FROWN
            motion = motion.express(weights, label, float(time_s), style)
            turn, due_s = turn + 1, due_s + period_s
        shown.append(motion.emotion.label_at(float(time_s)))
        poses.append(motion.pose(float(time_s)))
    return shown, poses


TWO = (Emotion.HAPPY, Emotion.ANGRY)
THREE = (*TWO, Emotion.FEAR)


def changes(shown: list[Emotion | None]) -> int:
    return sum(a != b for a, b in pairwise(shown))


@pytest.mark.parametrize("period_s", [FRAME_S, 0.1, 0.45])
@pytest.mark.parametrize("labels", [TWO, THREE, (Emotion.SAD, Emotion.NEUTRAL)])
def test_labels_that_alternate_do_not_make_the_face_flicker(
    period_s: float, labels: Sequence[Emotion]
) -> None:
    shown, poses = alternate(period_s, labels)
    assert changes(shown) <= len(labels) - 1
    late = np.array(poses[-300:])
    assert np.ptp(late, axis=0).max() < 0.02, "the face still moves"


def test_without_hysteresis_it_would_flicker() -> None:
    shown, poses = alternate(0.5, TWO, hysteresis_s=0.0)
    assert changes(shown) > 30
    assert np.ptp(np.array(poses[-300:]), axis=0).max() > 0.3


def test_labels_that_change_slowly_are_all_shown() -> None:
    shown, _ = alternate(3.0, TWO)
    assert changes(shown) == 6


def test_an_emotion_that_was_just_left_comes_back_if_it_is_asked_for_long_enough() -> None:
    layer = EmotionLayer().express(SMILE, Emotion.HAPPY, 0.0, Style())
    layer = layer.express(FROWN, Emotion.ANGRY, 1.0, Style())
    for time_s in 1.6, 2.1, 2.6:  # asking again does not put it off
        layer = layer.express(SMILE, Emotion.HAPPY, time_s, Style())
    assert layer.label_at(3.0) == Emotion.ANGRY
    assert layer.label_at(3.2) == Emotion.HAPPY
    assert layer.at(3.7)[unit("mouthSmileLeft")] > 0.7
    assert layer.express(FROWN, Emotion.FEAR, 4.0, Style()).label_at(4.0) == Emotion.FEAR


def test_a_contradicted_return_leaves_things_as_they_were() -> None:
    layer = EmotionLayer().express(SMILE, Emotion.HAPPY, 0.0, Style())
    layer = layer.express(FROWN, Emotion.ANGRY, 1.0, Style())
    layer = layer.express(SMILE, Emotion.HAPPY, 1.5, Style())
    layer = layer.express(FROWN, Emotion.ANGRY, 2.0, Style())
    for time_s in np.arange(2.0, 8.0, 0.1):
        assert layer.label_at(float(time_s)) == Emotion.ANGRY
        assert layer.at(float(time_s))[unit("mouthSmileLeft")] < 0.6
    assert layer.at(3.5)[unit("mouthSmileLeft")] < 0.01


# --- idle ---------------------------------------------------------------------------------------


def test_it_blinks_as_often_as_people_and_shuts_its_lids() -> None:
    lids = np.array([Idle(5).lids(t) for t in np.arange(0.0, 600.0, FRAME_S)])
    shut = lids > 0.99
    blinks = int((shut[1:] & ~shut[:-1]).sum())
    assert blinks == pytest.approx(10 * BLINKS_PER_MINUTE, abs=2)
    assert (lids == 0.0).mean() > 0.85
    starts = np.flatnonzero(shut[1:] & ~shut[:-1]) * FRAME_S
    assert np.diff(starts).std() > 0.5, "as a clock does"
    assert np.diff(starts).min() > 0.5


def test_a_blink_shuts_the_eyes_of_any_face() -> None:
    startled = face(eyeWideLeft=1.0, eyeWideRight=1.0)
    motion = Motion(Idle(5)).express(startled, Emotion.SURPRISE, 0.0, Style(hold=100.0))
    poses = np.array([motion.pose(t) for t in np.arange(5.0, 15.0, FRAME_S)])
    shut = poses[:, unit("eyeBlinkLeft")] > 0.99
    assert shut.any()
    assert poses[shut][:, unit("eyeWideLeft")].max() < 0.02
    assert poses[~shut][:, unit("eyeWideLeft")].max() > 0.85


def test_breath_and_gaze_are_small_and_never_still() -> None:
    poses = np.array([Idle(6).at(t) for t in np.arange(0.0, 60.0, FRAME_S)])
    without_lids = np.delete(poses, [unit("eyeBlinkLeft"), unit("eyeBlinkRight")], axis=1)
    assert 0.05 < without_lids.max() < 0.12
    jaw = poses[:, unit("jawOpen")]
    assert 0.01 < np.ptp(jaw) <= 0.02
    assert (jaw[1:] != jaw[:-1]).all()
    left = poses[:, unit("eyeLookOutLeft")] - poses[:, unit("eyeLookInLeft")]
    right = poses[:, unit("eyeLookInRight")] - poses[:, unit("eyeLookOutRight")]
    np.testing.assert_allclose(left, right)  # both eyes look the same way
    assert left.min() < -0.02
    assert left.max() > 0.02


@given(st.floats(-1e6, 1e6), st.integers(0, 2**31 - 1))
def test_idle_is_a_pure_function_of_time(time_s: float, seed: int) -> None:
    first = Idle(seed).at(time_s)
    Idle(seed).at(time_s + 100.0)
    np.testing.assert_array_equal(first, Idle(seed).at(time_s))
    assert ((first >= 0.0) & (first <= 1.0)).all()


@given(st.floats(0.0, 1000.0), st.integers(0, 1000))
def test_idle_has_no_edges(time_s: float, seed: int) -> None:
    one, other = Idle(seed).at(time_s), Idle(seed).at(time_s + 1e-5)
    assert np.abs(one - other).max() < 5e-4


# --- attitude -----------------------------------------------------------------------------------


def test_attitudes_come_go_and_differ() -> None:
    thinking = STILL.attend(Attention.THINKING, 0.0, 10.0)
    assert thinking.pose(2.0)[unit("eyeLookUpLeft")] > 0.2
    assert thinking.attend(Attention.IDLE, 2.0, 10.0).pose(5.0).max() < 1e-3
    listening = STILL.attend(Attention.LISTENING, 0.0, 10.0).pose(2.0)
    assert listening[unit("browInnerUp")] > 0.1
    assert listening[unit("eyeLookUpLeft")] == 0.0


def test_nobody_listens_for_ever() -> None:
    assert STILL.attend(Attention.THINKING, 0.0, 3.0).pose(20.0).max() < 1e-3


def test_an_emotion_is_seen_through_an_attitude() -> None:
    for attention in Attention:
        assert ATTITUDES[attention].max() <= 0.35
        motion = STILL.attend(attention, 0.0, 9.0).express(FROWN, Emotion.ANGRY, 0.0)
        assert motion.pose(1.5)[unit("browDownLeft")] > 0.85


def test_attention_is_read_or_refused() -> None:
    assert parse_attention(" Listening ") is Attention.LISTENING
    with pytest.raises(BadInput, match="idle, listening, thinking"):
        parse_attention("x" * 1000)


# --- regions ------------------------------------------------------------------------------------


def test_every_unit_is_of_exactly_one_region() -> None:
    counts = sum(units_of(frozenset({region})).astype(int) for region in Region)
    np.testing.assert_array_equal(counts, 1)
    assert units_of(frozenset({Region.JAW})).sum() == 4


@pytest.mark.parametrize("region", list(Region))
def test_a_lent_region_fades_and_is_left_out_and_the_rest_goes_on(region: Region) -> None:
    everything = np.full(52, 0.6)
    motion = STILL.express(everything, Emotion.HAPPY, 0.0, Style(hold=100.0))
    mask = units_of(frozenset({region}))
    lent = motion.lend(frozenset({region}), 5.0)
    assert lent.played(5.1).all(), "what is left out at once stops with a jerk elsewhere"
    assert lent.pose(8.0)[mask].max() < 1e-3
    np.testing.assert_array_equal(lent.played(8.0), ~mask)
    np.testing.assert_allclose(lent.pose(8.0)[~mask], motion.pose(8.0)[~mask], atol=1e-3)
    back = lent.lend(frozenset(), 8.0)
    assert back.played(8.0).all()
    assert back.pose(8.0)[mask].max() < 1e-3
    np.testing.assert_allclose(back.pose(8.0 + 4 * HAND_OVER_S), motion.pose(9.0), atol=2e-3)


def test_regions_are_read_or_refused() -> None:
    assert parse_regions("mouth, Jaw") == {Region.MOUTH, Region.JAW}
    assert parse_regions("") == parse_regions(" , ") == frozenset()
    with pytest.raises(BadInput, match="'nose' is no region"):
        parse_regions("mouth,nose")


@given(st.text(max_size=50))
def test_any_text_is_regions_or_bad_input(text: str) -> None:
    try:
        assert parse_regions(text) <= frozenset(Region)
    except BadInput as error:
        assert len(str(error)) < 250


# --- sum and limits -----------------------------------------------------------------------------

weights = st.integers(0, 2**32 - 1).map(lambda s: np.random.default_rng(s).random(52))


@given(weights, weights)
def test_a_sum_of_layers_stays_in_range_and_is_a_sum_while_small(
    one: np.ndarray, other: np.ndarray
) -> None:
    both = add(one, other)
    assert ((both >= np.maximum(one, other)) & (both <= 1.0)).all()
    np.testing.assert_allclose(add(0.01 * one, 0.01 * other), 0.01 * (one + other), atol=1e-4)


@given(weights)
def test_limits_leave_small_weights_and_hold_large_ones(pose: np.ndarray) -> None:
    assert (limited(pose) <= HIGHEST + 1e-6).all()
    alone = 0.3 * pose * (np.arange(52) % 2 == 0)
    opposed = limited(alone)
    look = np.array([n.startswith(("eyeLook", "eyeWide")) for n in ARKIT_NAMES])
    np.testing.assert_allclose(opposed[~look], alone[~look], atol=0.03)


def test_what_pulls_both_ways_keeps_its_difference() -> None:
    pose = limited(face(eyeLookUpLeft=0.5, eyeLookDownLeft=0.3))
    assert pose[unit("eyeLookUpLeft")] - pose[unit("eyeLookDownLeft")] == pytest.approx(
        0.2, abs=0.01
    )
    assert pose[unit("eyeLookDownLeft")] < 0.2


def test_falling_asleep_ends_at_rest_and_waking_begins_there() -> None:
    motion = Motion(Idle(7)).express(SMILE, Emotion.HAPPY, 0.0).fall_asleep(1.0)
    assert motion.pose(1.0).max() > 0.7
    assert motion.pose(3.0).max() < 1e-3
    waking = Motion(Idle(7)).asleep().lend(frozenset(), 0.0)
    assert waking.pose(0.0).max() == 0.0


def test_the_page_about_the_motion_has_these_tempi() -> None:
    page = (Path(__file__).parents[2] / "docs" / "motion.md").read_text(encoding="utf-8")
    for emotion, tempo in TEMPI.items():
        if emotion is not None:
            row = f"| {emotion.value} | {tempo.onset_s} | {tempo.hold_s} | {tempo.decay_s} |"
            assert row in page
