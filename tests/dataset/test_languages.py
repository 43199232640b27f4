"""Tests of the share of texts that are not in English."""

import pytest

from potstill.dataset.languages import share_not_english

ENGLISH = "A cooperative in the village has brought the river back to life, and all of its people were there to see it."
OTHERS = {
    "nl": "Een coöperatie in het dorp heeft de rivier weer tot leven gebracht, en alle bewoners waren erbij.",
    "de": "Eine Genossenschaft im Dorf hat den Fluss wieder zum Leben erweckt, und alle Bewohner waren dabei.",
    "fr": "Une coopérative du village a redonné vie à la rivière, et tous les habitants étaient là lundi pour la voir.",
    "es": "Una cooperativa del pueblo ha devuelto la vida al río, y todos los vecinos estaban allí.",
    "ru": "Кооператив вернул реке жизнь, и все жители деревни пришли посмотреть.",
    "zh": "村里的合作社让这条河重新焕发了生机所有居民都来到现场观看市长说明年还会继续。",
}


def share(*texts, languages=None):
    return share_not_english(texts, languages or [None] * len(texts))


@pytest.mark.parametrize("language", OTHERS)
def test_other_languages_are_told_from_english_by_their_words(language):
    assert share(ENGLISH, ENGLISH, ENGLISH, OTHERS[language]) == 0.25


def test_a_given_language_is_believed():
    assert share(ENGLISH, ENGLISH, languages=["nl", "en-GB"]) == 0.5
    assert share(OTHERS["nl"], OTHERS["nl"], languages=["English", "EN_us"]) == 0
    assert share(OTHERS["nl"], ENGLISH, languages=["", None]) == 0.5


def test_headlines_are_not_judged_by_their_words():
    assert share("Mayor opens bridge", OTHERS["nl"], ENGLISH) == 0.5
    assert share("Mayor opens bridge", "") == 0
