"""Lags: what they promise, under whatever sequence of goals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from contextface_ros.face.lag import DONE, FASTEST_PER_S, Course, Lag

EPSILON_S = 1e-6


@dataclass(frozen=True)
class Change:
    """After `wait_s`, towards `goal`."""

    wait_s: float
    goal: float
    duration_s: float


changes = st.lists(
    st.builds(Change, st.floats(0.0, 2.0), st.sampled_from([0.0, 0.3, 1.0]), st.floats(0.01, 5.0)),
    min_size=1,
    max_size=12,
)


@given(changes, st.floats(0.0, 0.5))
def test_position_and_velocity_are_continuous_through_every_interruption(
    sequence: list[Change], later_s: float
) -> None:
    lag, time_s = Lag.resting(np.array([0.0])), 0.0
    for change in sequence:
        time_s += change.wait_s
        following = lag.towards(np.array([change.goal]), time_s, change.duration_s)
        assert following.at(time_s) == pytest.approx(lag.at(time_s), abs=1e-12)
        # From what is all but at rest the rate does not glide: 1e-5 times the fastest rate.
        jump = float((following.velocity(time_s) - lag.velocity(time_s))[0])
        assert abs(jump) <= 1e-5 * FASTEST_PER_S
        lag = following
    probe_s = time_s + later_s
    slope = (lag.at(probe_s + EPSILON_S) - lag.at(probe_s)) / EPSILON_S
    assert slope == pytest.approx(lag.velocity(probe_s), abs=0.02), "it is not the derivative"


@given(changes)
def test_nothing_goes_past_the_goals(sequence: list[Change]) -> None:
    course, time_s = Course.resting(np.array([0.3])), 0.0
    for change in sequence:
        time_s += change.wait_s
        course = course.then(np.array([change.goal]), time_s, change.duration_s)
    reached = [0.3, *(change.goal for change in sequence)]
    for probe_s in np.linspace(0.0, time_s + 6.0, 200):
        assert min(reached) - 1e-9 <= float(course.at(probe_s)[0]) <= max(reached) + 1e-9


@given(changes)
def test_the_formula_is_the_solution_of_the_three_lags(sequence: list[Change]) -> None:
    """Against an integrator, the rate gliding included."""
    lag, time_s = Lag.resting(np.array([0.0])), 0.0
    stages = np.zeros(3)
    for change in sequence[:4]:
        lag = lag.towards(np.array([change.goal]), time_s, change.duration_s)

        def slope(t: float, y: np.ndarray, lag: Lag = lag) -> np.ndarray:
            behind = np.array([lag.goal[0], y[0], y[1]]) - y
            return np.asarray(lag._rate_per_s(t) * behind)

        end_s = time_s + change.wait_s + 0.01
        stages = solve_ivp(slope, (time_s, end_s), stages, rtol=1e-8, atol=1e-10).y[:, -1]
        time_s = end_s
        assert lag.at(time_s) == pytest.approx(stages[2], abs=1e-5)


@pytest.mark.parametrize("duration_s", [0.2, 1.0, 3.0])
def test_a_step_is_nearly_done_after_its_duration_and_starts_gently(duration_s: float) -> None:
    lag = Lag.resting(np.array([0.0])).towards(np.array([1.0]), 5.0, duration_s)
    assert lag.at(5.0 + duration_s) == pytest.approx(0.95, abs=1e-3)
    assert lag.at(4.0) == 0.0
    assert lag.velocity(5.0) == 0.0
    assert 0.0 < float(lag.at(5.0 + 0.001 * duration_s)[0]) < 1e-6
    assert math.isclose(DONE, 6.296, abs_tol=1e-3)


def test_a_course_keeps_what_lies_ahead_and_forgets_what_is_over() -> None:
    course = Course.resting(np.zeros(1))
    for i in range(100):
        course = course.since(float(i)).then(np.ones(1), float(i), 0.5)
        course = course.then(np.zeros(1), i + 10.0, 0.5)
        assert len(course.lags) <= 3
    assert course.at(100.0) == pytest.approx(1.0, abs=1e-4)
    assert course.at(111.0) == pytest.approx(0.0, abs=1e-3)


def test_a_change_that_is_put_in_front_takes_the_place_of_what_lay_ahead() -> None:
    course = Course.resting(np.zeros(1)).then(np.ones(1), 5.0, 0.5).then(np.zeros(1), 2.0, 0.5)
    assert course.at(9.0) == 0.0
