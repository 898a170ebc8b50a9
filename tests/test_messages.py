"""Every reason for which a session ends has its words."""

from __future__ import annotations

import pytest

from flask_device_sessions import END_REASONS, messages
from flask_device_sessions.messages import why_it_ended, why_you_are_out


@pytest.mark.parametrize("reason", END_REASONS)
def test_a_visitor_is_told_why_in_a_sentence(reason: str) -> None:
    """The one who is out reads a whole sentence (ASVS V7.4.1)."""
    sentence = why_you_are_out(reason)

    assert sentence.endswith(".")
    assert sentence[0].isupper()


@pytest.mark.parametrize("reason", END_REASONS)
def test_a_list_says_why_each_one_ended(reason: str) -> None:
    """The list of ended sessions has its own words, about a device and not about "you"."""
    sentence = why_it_ended(reason)

    assert sentence.endswith(".")
    assert "You " not in sentence
    assert sentence != why_you_are_out(reason)


@pytest.mark.parametrize("say", [why_it_ended, why_you_are_out])
def test_each_reason_reads_differently(say: object) -> None:
    """No two reasons are the same to the reader."""
    assert callable(say)
    assert len({say(reason) for reason in END_REASONS}) == len(END_REASONS)


def test_no_words_are_left_over() -> None:
    """A reason that was given up takes its words, and their translations, with it."""
    assert set(messages._END_REASONS) == set(messages._ENDED) == set(END_REASONS)
