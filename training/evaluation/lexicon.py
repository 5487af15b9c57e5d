"""A small lexicon of emotion words, written for this project: what a reader of words alone has.

An entry is the beginning of a word, or a whole word if it ends in "$". Neutral has no words: it is
what is answered where none is found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from contextface_ros.types import EMOTIONS, Emotion
from training.metrics import Labels

WORDS: Mapping[Emotion, str] = {
    Emotion.ANGRY: (
        "angr annoy furious fury mad$ rage raging outrag irritat frustrat hate$ hated$ hates$ "
        "resent hostil livid pissed fuck damn$ idiot stupid moron liar lied$ lying$ unfair yell "
        "shout slam bastard asshole bullshit blame sick$ fed$ enough$ dare$ stop$ insult betray "
        "cheat rude threaten revenge argu fight$ fights$ fighting$"
    ),
    Emotion.SAD: (
        "sad$ sadly$ sadness$ saddest$ sorrow grief griev cry$ cried$ cries$ crying$ tear$ tears$ "
        "weep wept$ mourn funeral died$ dead$ death$ dies$ dying$ lonel alone$ miss$ missed$ "
        "missing$ lost$ loss$ heartbr broke$ depress hopeless regret sorry$ goodbye unhappy "
        "miserabl disappoint hurt$ hurts$ hurting$ poor$ pain$ painful empty$ gone$ buried$ grave$ "
        "rip$ unfortunate alas$ cancer$ divorc"
    ),
    Emotion.SURPRISE: (
        "surpris wow$ whoa$ woah$ omg$ unexpected astonish amazed$ shock stunn suddenly$ "
        "unbelievabl incredibl really$ seriously$ wait$ what$ huh$ oh$ gosh$ startl speechless "
        "wonder$ curious$ how$ believe$ never$ actually$ impossibl strange$ weird$ since$"
    ),
    Emotion.FEAR: (
        "fear afraid scar terrif terror panic fright horrif horror nightmar nervous anxi worr "
        "dread danger threat creep$ trembl shak shiver hide$ hiding$ run$ escap help$ careful$ "
        "please$ risk alarm spook tense$ gun$ knife$ kill$ noise$ dark$ uneasy"
    ),
    Emotion.HAPPY: (
        "happ joy glad$ delight love$ loved$ loves$ loving$ lovely$ great$ wonderful awesome "
        "amazing$ fantastic excellent beautiful best$ thank congrat proud pride excit fun$ funny$ "
        "laugh lol$ lmao$ haha smil cheer celebrat enjoy nice$ good$ cool$ perfect yay$ win$ won$ "
        "winning$ birthday relie hope$ hopeful pleas$ pleased$ sweet$ cute$ welcome$ favorite "
        "favourite glow grin hug$ hugs$ married$ wedding"
    ),
    Emotion.DISGUST: (
        "disgust gross$ nasty$ eww ew$ yuck yuk$ vile$ revolt repuls sicken nause vomit puke "
        "filth dirty$ stink stank$ smell rotten rotting$ mould mold$ slim slime$ maggot cockroach "
        "roach rat$ rats$ toilet spit$ pervert disgrac shame cringe creepy$ pathetic awful$ "
        "horribl trash garbage"
    ),
}


def by_words(texts: Sequence[str]) -> Labels:
    """(N,) int64: the emotion with the most words in each text; the first of several that tie."""
    patterns = [_pattern(WORDS.get(emotion, "")) for emotion in EMOTIONS]
    out = np.full(len(texts), EMOTIONS.index(Emotion.NEUTRAL))
    for row, text in enumerate(texts):
        votes = [len(p.findall(text.lower())) if p is not None else 0 for p in patterns]
        if any(votes):
            out[row] = int(np.argmax(votes))
    return out


def _pattern(entries: str) -> re.Pattern[str] | None:
    if not entries:
        return None
    words = (word[:-1] + r"\b" if word.endswith("$") else word for word in entries.split())
    return re.compile(rf"\b(?:{'|'.join(words)})")
