"""Words before a stop that does not end the sentence, lower case and without their last stop."""

from __future__ import annotations


def _set(names: str) -> frozenset[str]:
    return frozenset(names.split())


ENDLESS = _set(
    # English titles and references
    "dr mr mrs ms prof st gen sen rep gov capt lt col sgt maj cmdr rev hon pres supt mt ft messrs "
    "vs e.g i.e cf viz approx esp incl resp al ca appt "
    # German, French, Spanish, Italian, Portuguese
    "bzw z.b d.h u.a evtl ggf inkl vgl sog hr fr mme mlle mgr sra srta dra sig dott ej p.ej"
)
"""Always followed by more of the same sentence."""

WITH_NUMBER = _set("no nos nr fig figs vol vols pp pg ch chap sec art eq para tel ext ver min max p")
"""Only before a number: `No. 5`, but also `No. I do not.`"""

UNTIL_CAPITAL = _set(
    "a.m p.m etc inc ltd co corp llc jr sr bros dept univ assn est ave blvd rd hwy apt misc avg temp govt ph.d m.d "
    "b.a m.a b.c a.d usw str min max mon tue tues wed thu thur thurs fri sat sun jan feb mar apr jun jul aug sep "
    "sept oct nov dec"
)
"""May end a sentence: they do if the next word begins with a capital letter."""

STARTERS = _set(
    "the a an it he she i we you they this that these those there here in on at as if is are do does did can could "
    "would will what who where when why how which but and so or yet then now however although while because since "
    "after before also yes no well okay ok let let's it's i'm i'll i've that's there's his her their my our your "
    "its not for to from with please maybe perhaps today tomorrow one some many most all"
)
"""Words that begin a sentence when they follow initials: `in the U.S. The army`, but not `the U.S. Army`."""
