"""Other wordings of the instructions, so that a model follows the request and not one string.

The robot always asks in the words of `contextface_ros.prompts`, which training draws with a
probability of their own (`Variation.own_wording`). Free questions come as their data set has them.
"""

from __future__ import annotations

from random import Random

from contextface_ros import prompts
from contextface_ros.prompts import PromptVersion

EXPRESSION: dict[PromptVersion, tuple[str, ...]] = {
    "edge": (
        prompts.INSTRUCTION,
        "Which feeling does the face show?\n",
        "Say how the person feels and show the face.\n",
        "Find the emotion and its 3D face.\n",
        "Picture the person's face in this moment.\n",
        "What does this moment do to the face?\n",
    ),
    "paper": (
        prompts.PAPER_INSTRUCTION,
        "Say which emotion this is and show the 3D face that goes with it.\n",
        "Which emotion does the person feel, and what does the 3D face look like?\n",
        "Choose the fitting emotion, then give the face as a 3D mesh.\n",
        "Judge the emotion from this and answer with a 3D facial mesh.\n",
        "Tell the emotion and render the expression in 3D.\n",
    ),
}

SITUATION: dict[PromptVersion, tuple[str, ...]] = {
    "edge": (
        prompts.IMAGINE,
        "What may have happened to the person in the red box?\n",
        "Describe the scene behind the words of the person in the red box.\n",
        "Look at the person in the red box and tell the story of this moment.\n",
        "Why would the marked person say this here?\n",
    ),
    "paper": (
        prompts.PAPER_IMAGINE,
        "What happens to the person in the red box? End with the emotion.\n",
        "Describe the scene in which the marked person says this, and the feeling in it.\n",
        "Explain why the person in the red box says so, then tell the emotion.\n",
        "Tell what led to these words of the marked person, then choose the emotion.\n",
    ),
}


def draw(wordings: tuple[str, ...], own: float, random: Random) -> str:
    """The robot's own wording, the first, with probability `own`; else one of the others."""
    return wordings[0] if random.random() < own else random.choice(wordings[1:])
