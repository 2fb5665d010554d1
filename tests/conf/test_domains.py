"""What is a domain."""

from __future__ import annotations

import pytest

from clerk_auth.conf.domains import is_domain

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "text", ["localhost", "10.0.0.12", "a.b1", "A.example", "a_b.example", "a.example.", ""]
)
def test_domain_has_labels_and_ends_in_letters(text):
    assert not is_domain(text)
    assert is_domain("a.example")
