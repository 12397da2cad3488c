"""How much the names of tests have in common with a text, by words that few of the tests have."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping

_WORD = re.compile(r"[a-z][a-z0-9]+")
_COMMON = 2.0  # a word that one test of so many has says nothing
_SHORTEST = 3


def words_of(text: str) -> frozenset[str]:
    """The words of names and sentences, in small letters, without the s of a plural."""
    found = _WORD.findall(text.lower().replace("_", " "))
    return frozenset(word.removesuffix("s") for word in found if len(word) >= _SHORTEST)


def affinities(tests: Iterable[str], text: str) -> Mapping[str, float]:
    """For each test, by its name: what the words that it shares with the text weigh together.

    A word weighs the more, the fewer of the tests have it; one that most have weighs nothing.
    """
    having = {test: words_of(test) for test in tests}
    frequency = Counter(word for words in having.values() for word in words)
    wanted = words_of(text)
    weights = {
        word: max(0.0, math.log(len(having) / count / _COMMON))
        for word, count in frequency.items()
        if word in wanted
    }
    return {test: sum(weights.get(word, 0.0) for word in words) for test, words in having.items()}
