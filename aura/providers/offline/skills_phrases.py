"""Which of the assistant's stock requests somebody means, by the words they share with examples of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import log

EXAMPLES: Mapping[str, str] = {
    "time": (
        "what time is it;what is the time;tell me the time;time;time please;what time is it now;do you know what "
        "time it is;could you tell me the time;current time;have you got the time;do you have the time;what hour is"
        " it"
    ),
    "date": (
        "what day is it;what day is it today;what is the date;what is the date today;what is today date;what is "
        "today;what day of the week is it;date;today date;tell me the date;tell me the day;is it monday;is it "
        "friday;is it sunday;what weekday is it;which day is it;what date is it;current date"
    ),
    "date_and_time": "what is the date and time;what is the time and date;time and date;date and time",
    "year": "what year is it;which year is it;what is the year",
    "month": "what month is it;which month is it;what is the month",
    "help": (
        "help;help me;help me please;i need help;what can you do;what do you do;how can you help me;what can i ask "
        "you;what can i say;what are you capable of;what else can you do;how does this work;what do you know"
    ),
    "who": (
        "who are you;what are you;what is your name;who is this;tell me about yourself;introduce yourself;who am i "
        "talking to;are you aura;what is aura;are you a robot;are you real;are you human;are you a person;are you "
        "an ai;are you a language model;are you chat gpt;are you a computer;am i talking to a machine"
    ),
    "made": "who made you;who built you;who created you;where do you come from;who is your maker",
    "story": (
        "tell me a story;tell me another story;a story please;another story;can you tell me a story;tell us a "
        "story;read me a story;story;i want a story;i would like to hear a story;tell me a tale;tell me a bedtime "
        "story;tell me a short story;tell me one more story"
    ),
    "joke": (
        "tell me a joke;another joke;joke;a joke please;do you know a joke;tell me another joke;say something "
        "funny;make me laugh;tell me something funny;can you tell me a joke;tell us a joke;one more joke"
    ),
    "another": (
        "another one;one more;another;another one please;one more please;tell me another one;tell me another;a "
        "different one;next one;do you know another one"
    ),
    "stop": (
        "stop;stop it;stop talking;stop please;please stop;be quiet;quiet please;shut up;enough;that is "
        "enough;silence;quiet;okay stop;hush"
    ),
    "never_mind": (
        "never mind;cancel;cancel it;never mind then;cancel that;forget it;forget about it;it does not matter;not now"
    ),
    "wait": "wait;wait a minute;hold on;pause;one moment;just a moment;wait a second;hang on;give me a second;a moment",
    "go_on": (
        "go on;continue;keep going;please continue;carry on;what happened next;what happens next;and then;tell me "
        "more;more;please go on;continue the story;finish the story;go ahead"
    ),
    "thanks": (
        "thank you;thanks;thank you very much;thanks a lot;many thanks;thank you so much;thanks very much;great "
        "thanks;okay thank you;that is great thank you;well done;great;perfect;good job;nice"
    ),
    "no_thanks": "no thank you;no thanks;no;nope;no i do not;not really;nothing;no that is all;that is all",
    "hello": (
        "hello;hello there;hi;hi there;hey;hey there;good day;hello aura;hi aura;hey aura;greetings;nice to meet "
        "you;welcome"
    ),
    "morning": "good morning;good morning aura;good morning to you",
    "afternoon": "good afternoon;good afternoon aura",
    "evening": "good evening;good evening aura",
    "how_are_you": (
        "how are you;how are you today;how are you doing;how is it going;how do you do;are you okay;how do you "
        "feel;how are things"
    ),
    "bye": "goodbye;good bye;bye;bye bye;see you later;see you tomorrow;see you;talk to you later;i have to go",
    "good_night": "good night;sleep well;good night aura",
    "again": (
        "say that again;say it again;again;repeat that;repeat that please;can you repeat that;what did you "
        "say;pardon;pardon me;excuse me;repeat;once more;i did not hear you;i did not get that;what was that;please"
        " repeat;come again;say again;i did not understand you;what;repeat it;one more time"
    ),
    "what_i_said": (
        "what did i say;what did i just say;what was my question;what did i ask;what did i ask you;what did i just "
        "ask you;what did you hear;what have i said;repeat what i said;what did i tell you;did you hear what i said"
    ),
    "hear_me": (
        "can you hear me;are you there;hello are you there;do you hear me;is anybody there;are you listening;can "
        "you hear me now"
    ),
    "testing": "testing;testing one two three;test;this is a test;one two three;one two three testing;mike check",
    "yes": "yes;yeah;yes please;yep;okay;all right;sure;of course;right;exactly;i do;yes i do;fine;good;okay then",
    "sorry": "sorry;i am sorry;my mistake;my fault",
    "confused": (
        "i do not understand;i do not know;that makes no sense;that is wrong;wrong;that is not right;no that is not"
        " what i said;that is not what i asked"
    ),
    "voice": (
        "slow down;speak slower;louder please;speak louder;speak up;louder;quieter please;speak "
        "faster;slower;faster;too fast;you are too fast;talk slower"
    ),
    "list_timers": (
        "list my timers;list timers;show my timers;what timers are set;what timers do i have;how many timers do i "
        "have;how much time is left;how much time is left on the timer;how long is left;is there a timer;do i have "
        "any timers;are there any timers;what timers are running;how much longer;how long until the timer is "
        "done;check the timer;my timers;timer status"
    ),
    "cancel_all": (
        "cancel all timers;cancel all my timers;cancel all the timers;stop all timers;delete all timers;remove all "
        "my timers;clear all timers;cancel every timer;cancel both timers"
    ),
}
GOOD_MATCH = 0.74
"""Share of the words (by weight) that an utterance and an example must have in common; an unknown word weighs most."""

_PHRASES: tuple[tuple[str, frozenset[str]], ...] = tuple(
    (intent, frozenset(phrase.split())) for intent, phrases in EXAMPLES.items() for phrase in phrases.split(";")
)
_COUNTS = Counter(word for _, phrase in _PHRASES for word in phrase)
_WEIGHTS = {word: log(1 + len(_PHRASES) / count) for word, count in _COUNTS.items()}
_UNKNOWN = log(1 + len(_PHRASES))
_FILLERS = frozenset(
    "please um uh er hm well so like just actually now then aura maybe oh the a an and to me for us".split()
)
"""Small words weigh little: recognisers lose and invent them."""
_SIZES = tuple(sum(_WEIGHTS[w] * (0.2 if w in _FILLERS else 1.0) for w in phrase) for _, phrase in _PHRASES)
_BY_WORD: dict[str, list[int]] = {}
for _index, (_, _phrase) in enumerate(_PHRASES):
    for _word in _phrase:
        _BY_WORD.setdefault(_word, []).append(_index)


def _weight(word: str) -> float:
    return _WEIGHTS.get(word, _UNKNOWN) * (0.2 if word in _FILLERS else 1.0)


def match(words: Sequence[str]) -> tuple[str, float]:
    """The intent of the most similar example and how similar it is: 2 × shared weight / weight of both, 0 to 1."""
    return _match(frozenset(words))


@lru_cache(maxsize=64)  # several skills ask about the same words
def _match(spoken: frozenset[str]) -> tuple[str, float]:
    shared: dict[int, float] = {}
    for word in spoken:
        for index in _BY_WORD.get(word, ()):
            shared[index] = shared.get(index, 0.0) + _weight(word)
    size = sum(map(_weight, spoken))
    if not shared or not size:
        return "", 0.0
    score, best = max((2 * common / (size + _SIZES[index]), -index) for index, common in shared.items())
    return _PHRASES[-best][0], score
