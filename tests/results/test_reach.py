"""When a back-end that lives may be declared dead: the steps of its way back, one by one, against the time of grace."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.api.reach import out_of_reach
from harness.api.records import SAMPLE_DTYPE, TrialRecord
from harness.core.tree import Tree

#: Front-end 0, communication processes 1, 2 and 3, a back-end below each: 4 to 6 with ranks 0 to 2.
PARENTS = [None, 0, 0, 0, 1, 2, 3]
SETTINGS = {"lease_s": 1.0, "heartbeat_s": 0.25, "connect_timeout_s": 0.5, "orphan_grace_s": 1.5}
STRUCK_S, SUSPECT_S = 1.0, 2.0
DEAD_S = SUSPECT_S + SETTINGS["orphan_grace_s"]


def event(t_s: float, kind: str, **fields: Any) -> dict[str, Any]:
    return {"t_s": t_s, "kind": kind, **fields}


def lost(
    *more: dict[str, Any], dead_s: float = DEAD_S, suspect_s: float = SUSPECT_S, member: int = 1, cause: str = "silent"
) -> dict[int, float]:
    """Whom the judge excuses where node 4 fell silent with its parent, node 1, and was declared dead."""
    tree = [event(0.0, "attached", node=n, parent=p, depth=0) for n, p in enumerate(PARENTS) if p is not None]
    end = [
        event(suspect_s, "suspect", node=0, member=member, ranks=[0], by=0, cause=cause),
        event(dead_s, "dead", node=0, member=4, ranks=[0], order=1),
    ]
    events = sorted([*tree, *more, *end], key=lambda e: float(e["t_s"]))
    none = np.zeros(0, dtype=SAMPLE_DTYPE)
    record = TrialRecord({"settings": SETTINGS}, Tree.from_parents(PARENTS), events, none, np.zeros(0), ())
    return out_of_reach(record)


def struck(action: str, *nodes: int, t_s: float = STRUCK_S, fault: int = 0) -> dict[str, Any]:
    return event(t_s, "fault", fault=fault, action=action, node=nodes[0], nodes=list(nodes), trigger="at_s")


def asked(t_s: float, adopter: int, node: int = 4) -> dict[str, Any]:
    return event(t_s, "adopter-chosen", node=node, lost=1, adopter=adopter, attempt=1)


def test_without_a_fault_that_holds_a_node_nobody_is_excused() -> None:
    assert lost() == {}
    assert lost(struck("kill", 1), asked(2.5, 2)) == {}


def test_a_silent_parent_alone_is_no_excuse() -> None:
    """The lease is over by 2.5 s, and a second candidate answers within half a second."""
    assert lost(struck("stop", 1)) == {}
    assert lost(struck("stop", 1), asked(2.2, 2)) == {}


def test_a_parent_that_went_on_before_is_no_excuse() -> None:
    """From then on it hears and says everything again."""
    held = struck("stop", 1), event(1.9, "fault-undone", fault=0, node=1)
    apart = struck("part", 1), event(1.9, "fault-undone", fault=0, node=1)
    assert lost(*held, dead_s=2.8) == lost(*apart, dead_s=2.8) == {}
    assert lost(apart[0], dead_s=2.8) == {0: 2.8}


def test_who_did_not_have_its_time_is_not_excused() -> None:
    assert lost(struck("part", 1), dead_s=2.8) == {0: 2.8}
    assert lost(struck("part", 1), dead_s=2.3) == {}


def test_candidates_that_do_not_answer_use_up_the_time() -> None:
    assert lost(struck("stop", 1), struck("stop", 2, fault=1), asked(2.5, 2)) == {}
    both = struck("stop", 1), struck("stop", 2, 3, fault=1)
    assert lost(*both, asked(2.5, 2), asked(3.0, 3)) == {}  # back at 3.5 s, just in time
    assert lost(*both, asked(2.5, 2), asked(3.0, 3), dead_s=DEAD_S - 0.01) == {0: DEAD_S - 0.01}


def test_a_candidate_that_answers_again_is_no_excuse() -> None:
    both = struck("stop", 1), struck("stop", 2, fault=1)
    assert lost(*both, asked(2.5, 2), dead_s=2.9) == {0: 2.9}
    well_again = event(2.4, "fault-undone", fault=1, node=2)
    assert lost(*both, well_again, asked(2.5, 2), dead_s=2.9) == {}
    assert lost(*both, asked(2.5, 3), dead_s=2.9) == {}


def test_who_takes_in_nobody_is_waited_for() -> None:
    refuses = struck("refuse", 2, t_s=2.1, fault=1)
    assert lost(struck("stop", 1), refuses, event(3.1, "fault-undone", fault=1, node=2), asked(2.5, 2), dead_s=3.5) == {0: 3.5}
    assert lost(struck("stop", 1), refuses, event(2.8, "fault-undone", fault=1, node=2), asked(2.5, 2), dead_s=3.5) == {}


def test_who_says_no_costs_what_its_answer_takes() -> None:
    said_no = event(2.6, "adopter-refused", node=4, adopter=3, reason="not attached itself yet")
    both = struck("stop", 1), struck("stop", 2, fault=1), asked(2.5, 3), asked(2.6, 2)
    assert lost(*both, said_no, dead_s=3.09) == {0: 3.09}
    assert lost(*both, said_no, dead_s=3.11) == {}


def test_each_ancestor_that_looks_for_a_parent_may_keep_those_below_it() -> None:
    """For half of the grace, or for as long as its own candidates keep it waiting."""
    inner = event(2.1, "reattached", node=2, parent=2, child=4, lost=1)
    held = struck("stop", 1), struck("stop", 3, fault=1), inner
    assert lost(*held, asked(2.2, 3, node=2), dead_s=2.9) == {0: 2.9}
    assert lost(*held, dead_s=2.9) == {}


def test_who_goes_on_itself_gives_a_silent_parent_half_a_lease() -> None:
    inner = (
        event(0.5, "reattached", node=2, parent=2, child=4, lost=1),
        event(0.5, "reattached", node=3, parent=3, child=2, lost=0),
    )
    held = *inner, struck("stop", 2), event(2.2, "fault-undone", fault=0, node=2)
    assert lost(*held, struck("stop", 3, fault=1), dead_s=3.1) == {0: 3.1}
    assert lost(*held, struck("stop", 3, fault=1), dead_s=3.25) == {}
    assert lost(*held, dead_s=3.1) == {}


def test_a_parent_that_is_apart_keeps_its_children_for_half_of_the_grace() -> None:
    """It finds out after a lease, like the front-end, and lets them go; only one that was reset as well is ahead of them."""
    assert lost(struck("part", 1)) == {}
    assert lost(struck("part", 1), struck("part", 2, fault=1), asked(3.25, 2)) == {0: DEAD_S}
    assert lost(struck("part", 1), suspect_s=1.0, dead_s=2.5) == {0: 2.5}
    assert lost(struck("stop", 1), suspect_s=1.0, dead_s=2.5) == {}


def test_who_was_back_in_between_counts_from_the_last_loss() -> None:
    back = event(2.1, "rejoined", node=0, member=4, parent=2), event(2.05, "reattached", node=2, child=4, parent=2, lost=1)
    again = event(2.2, "suspect", node=0, member=4, ranks=[0], by=2, cause="reset")
    held = struck("part", 1)
    assert lost(held, dead_s=3.1) == {0: 3.1}
    # Node 1 is above it no more.
    assert lost(held, *back, again, dead_s=3.1) == {}


def test_who_voted_for_a_standby_that_lost_the_vote_is_out_of_reach() -> None:
    asked_votes = event(1.5, "front-end-lost", node=1, by=1)
    alone = event(3.0, "alone", node=0, standby=1, votes=4)
    assert lost(asked_votes, alone) == {0: DEAD_S}
    assert lost(asked_votes) == {}
    assert lost(alone) == {}
    moved = event(1.4, "reattached", node=2, parent=2, child=4, lost=1)
    assert lost(moved, asked_votes, alone) == {}


def test_news_of_an_adoption_may_be_late() -> None:
    back = event(3.3, "reattached", node=2, parent=2, child=4, lost=1)
    assert lost(struck("part", 1), struck("late", 2, t_s=3.2, fault=1), back) == {0: DEAD_S}
    assert lost(struck("part", 1), struck("late", 3, t_s=3.2, fault=1), back) == {}


def test_who_lost_its_own_link_has_the_grace_of_a_leaf() -> None:
    """0.25 s; it is back within 10 ms, and the news waits on the way."""
    back, late = event(2.01, "reattached", node=2, parent=2, child=4, lost=1), struck("late", 2, t_s=1.9)
    own: dict[str, Any] = {"member": 4, "dead_s": SUSPECT_S + 0.25}
    assert lost(late, back, **own, cause="reset by peer") == {0: SUSPECT_S + 0.25}
    assert lost(late, back, **own) == {}, "silent: that has the longer one"
    assert lost(back, **own, cause="reset by peer") == {}
    assert lost(late, **own, cause="reset by peer") == {}, "not on its way"
