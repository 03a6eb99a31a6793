"""Holds the sandbox to the table of Stripe facts."""

import pytest

from tests.sandbox.process import Sandbox
from tests.sandbox.stripe_facts import FACTS, Fact


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.id)
def test_the_sandbox_agrees_with_stripe(shared: Sandbox, fact: Fact) -> None:
    fact.check(shared)


def test_every_fact_has_a_sentence_and_a_source() -> None:
    assert len(FACTS) >= 20
    for fact in FACTS:
        assert fact.sentence.endswith(".")
        assert fact.source.startswith(("https://docs.stripe.com/", "stripe/"))
