"""Trees of permissions, ours and others', however they were put together, against a truth table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from rest_framework.permissions import AND, NOT, OR, OperandHolder, SingleOperandHolder

from tests.permissions.conftest import CLERK, OTHERS
from tests.permissions.test_composition import FOREIGN, OURS

pytestmark = pytest.mark.integration

# A tree: a leaf, ("not", tree), ("and" or "or", tree, tree), and how it is put together.


@dataclass(frozen=True)
class Node:
    sign: str
    parts: tuple[Any, ...]
    by_operator: bool = True

    def __repr__(self):
        return f"{self.sign}{'' if self.by_operator else '!'}{self.parts!r}"


def trees(leaves):
    return st.recursive(
        st.sampled_from(leaves),
        lambda inner: st.one_of(
            st.builds(Node, st.just("not"), st.tuples(inner), st.booleans()),
            st.builds(Node, st.sampled_from(["and", "or"]), st.tuples(inner, inner), st.booleans()),
        ),
        max_leaves=6,
    )


def build(tree):
    """Return what a view lists in ``permission_classes``."""
    if not isinstance(tree, Node):
        return tree
    parts = [build(part) for part in tree.parts]
    if tree.sign == "not":
        return ~parts[0] if tree.by_operator else SingleOperandHolder(NOT, *parts)
    if tree.by_operator:
        return parts[0] & parts[1] if tree.sign == "and" else parts[0] | parts[1]
    return OperandHolder(AND if tree.sign == "and" else OR, *parts)


def assemble(tree):
    """Return what a view returns from ``get_permissions``, put together from instances."""
    if not isinstance(tree, Node):
        return tree()
    kind = {"not": NOT, "and": AND, "or": OR}[tree.sign]
    return kind(*map(assemble, tree.parts))


def has_ours(tree) -> bool:
    return any(map(has_ours, tree.parts)) if isinstance(tree, Node) else tree in OURS


def is_true(tree, request) -> bool:
    """Evaluate it as it is written."""
    if not isinstance(tree, Node):
        return bool(tree().has_permission(request, None))
    parts = [is_true(part, request) for part in tree.parts]
    return {"not": not parts[0], "and": all(parts), "or": any(parts)}[tree.sign]


def may_be_true(tree, request, *, negated: bool = False, beside_ours: bool = False) -> bool:
    """Tell whether it may let somebody in whom Clerk did not authenticate.

    Ours answer no, and so do their opposites and the opposite of what stands beside them.
    """
    if not isinstance(tree, Node):
        if tree in OURS or (negated and beside_ours):
            return False
        return is_true(tree, request) != negated
    if tree.sign == "not":
        (part,) = tree.parts
        beside_ours = beside_ours or has_ours(part)
        return may_be_true(part, request, negated=not negated, beside_ours=beside_ours)
    parts = [
        may_be_true(part, request, negated=negated, beside_ours=beside_ours) for part in tree.parts
    ]
    return all(parts) if (tree.sign == "and") != negated else any(parts)


def has_not_over_ours(tree) -> bool:
    if not isinstance(tree, Node):
        return False
    return (tree.sign == "not" and has_ours(tree)) or any(map(has_not_over_ours, tree.parts))


@pytest.mark.parametrize("make", [lambda tree: build(tree)(), assemble], ids=["classes", "objects"])
def test_every_tree_answers_as_the_truth_table(make, requests):
    @hypothesis.settings(max_examples=300, deadline=None)
    @hypothesis.given(trees(OURS + FOREIGN))
    def holds(tree):
        permission = make(tree)
        for caller, request in requests.items():
            answer = bool(permission.has_permission(request, None))
            if caller in CLERK or not has_not_over_ours(tree):
                assert answer == is_true(tree, request), caller
            elif answer:
                assert may_be_true(tree, request), caller
            if answer and caller in OTHERS and permission.has_object_permission(request, None, 0):
                assert may_be_true(tree, request) or not has_ours(tree), caller

    holds()
