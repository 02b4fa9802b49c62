"""The conformance check of filters: does a filter obey the laws that its algebra declares?

Every filter can be checked as it is. These optional members let the check see more:

- `example(rng: numpy.random.Generator, waves: int, rank: int) -> Items`: what a back-end offers, for filters that do not take
  just any numbers (array), bytes, or lists, maps, whole numbers or strings (msgpack). Every rank's items must have one shape.
- `remove(total, part, contributors, taken) -> Items`: proves an invertible filter. `total` without `part`, where `total` is the
  aggregate of the ranks `contributors` and `part` that of `taken`, some of them.
- `pick(total, contributors, rank) -> Items`: proves a keyed filter. What `rank` alone put into `total`.
- `aggregates = False`: the filter never merges, as null; the laws of merging are skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter

import numpy as np

from harness.api.filters import Algebra, Codec, DownFilter, Filter
from harness.testing import filter_laws as laws
from harness.testing.filter_inputs import Inputs, LawError, UntestableError
from harness.testing.filter_laws import Example, Reference, Subject, Witness
from harness.testing.outcome import CheckOutcome

__all__ = ["CheckOutcome", "Reference", "run_checks", "run_down_checks"]

_MERGING: tuple[tuple[str, Example], ...] = (
    ("associativity", laws.associativity),
    ("arrival order", laws.arrival_order),
    ("any tree", laws.any_tree),
)
_NO_MERGING = "the filter does not merge"


def run_checks(filter_: Filter, *, seed: int = 0, examples: int = 50, reference: Reference | None = None) -> list[CheckOutcome]:
    """Test the declared laws with `examples` generated examples each; the same seed gives the same examples.

    reference: optionally what the filter should make of some offers, `reference(offers, ranks)`, offers[i] of shape
    (waves, *item) by ranks[i], the result as after `lower`. A law that the filter does not declare is skipped, or, where it can
    be, refuted: declaring less than is true fails as well.
    """
    outcomes = [_timed("protocol", lambda: _protocol(filter_))]
    if not outcomes[0].passed:
        return outcomes
    found: list[Inputs] = []

    def probe() -> str:
        found.append(Inputs(filter_, laws.merges(filter_)))
        return f"takes {found[0]}"

    outcomes.append(_timed("inputs", probe))
    if not outcomes[1].passed:
        return outcomes
    subject = Subject(filter_, found[0], reference)
    for index, (name, check) in enumerate(_plan(subject)):
        outcomes.append(_timed(name, partial(check, subject, seed, index, examples)))
    return outcomes


Check = Callable[[Subject, int, int, int], str]


def _plan(s: Subject) -> list[tuple[str, Check]]:
    """The name and the check of every law, in the order of the report."""
    a, merging = s.filter.algebra, laws.merges(s.filter)
    plan = [("one part", _holds(laws.one_part)), ("lengths", _holds(laws.lengths)), ("batching", _holds(laws.batching))]
    plan += [(name, _holds(law) if merging else _skip(_NO_MERGING)) for name, law in _MERGING]
    plan += [("purity", _holds(laws.purity)), ("frames", _holds(laws.travels))]
    if not merging:
        return plan
    if a.ordered:
        plan.append(("ordered", _refuted(laws.swap_matters, "who offered what never matters, so it is not ordered")))
    else:
        plan.append(("ordered", _skip("not declared: the check of arrival order stands for it")))
    if a.idempotent:
        plan += [("idempotent", _holds(laws.idempotent)), ("fold", _holds(laws.fold))]
    else:
        modest = "combining a value with itself never changes it: declare idempotent"
        plan.append(("idempotent", _refuted(laws.changes_when_repeated, modest)))
        without = "for idempotent and decomposable filters only"
        plan.append(("fold", _holds(laws.fold) if a.decomposable else _skip(without)))
    plan.append(("decomposable", _holds(laws.decomposable) if a.decomposable else _skip("not declared")))
    plan.append(("invertible", _holds(laws.invertible) if a.invertible else _skip("not declared")))
    plan.append(("keyed", _holds(laws.keyed) if a.keyed else _skip("not declared")))
    plan.append(("elementwise", _holds(laws.elementwise) if s.filter.elementwise else _skip("not declared")))
    return plan


def _protocol(filter_: Filter) -> str:
    if not isinstance(filter_, Filter):
        members = ("algebra", "codec", "elementwise", "lift", "combine", "fold", "lower")
        raise LawError(f"no Filter: it lacks {', '.join(m for m in members if not hasattr(filter_, m))}")
    if not isinstance(filter_.algebra, Algebra) or not isinstance(filter_.codec, Codec):
        raise LawError(f"algebra must be an Algebra and codec a Codec, not {filter_.algebra!r} and {filter_.codec!r}")
    if filter_.elementwise and filter_.codec is not Codec.ARRAY:
        raise LawError(f"elementwise items need the codec array, not {filter_.codec}")
    return f"codec {filter_.codec}, {filter_.algebra}"


def _holds(law: Example) -> Check:
    """The check that the law holds for every example."""

    def check(subject: Subject, seed: int, index: int, examples: int) -> str:
        untestable: UntestableError | None = None
        for i in range(examples):
            try:
                law(subject, np.random.default_rng([seed, index, i]))
            except LawError as e:
                raise LawError(f"{e} (seed {seed}, example {i})") from e
            except UntestableError as e:  # what the law could refute, it still tries to
                untestable = e
            except Exception as e:  # a filter may raise anything; it is reported as the failure that it is
                raise LawError(f"raised {type(e).__name__}: {e} (seed {seed}, example {i})") from e
        if untestable is not None:
            raise untestable
        return f"{examples} examples"

    return check


def _refuted(witness: Witness, message: str) -> Check:
    """The check that one example at least breaks the law that the filter denies."""

    def check(subject: Subject, seed: int, index: int, examples: int) -> str:
        for i in range(examples):
            if witness(subject, np.random.default_rng([seed, index, i])):
                return f"as declared: shown by example {i}"
        raise LawError(f"{message} ({examples} examples, seed {seed})")

    return check


def _skip(reason: str) -> Check:
    def check(subject: Subject, seed: int, index: int, examples: int) -> str:
        raise UntestableError(reason)

    return check


def _timed(name: str, check: Callable[[], str]) -> CheckOutcome:
    start = perf_counter()
    passed: bool | None
    try:
        passed, message = True, check()
    except UntestableError as e:
        passed, message = None, str(e)
    except LawError as e:
        passed, message = False, str(e)
    except Exception as e:  # a filter may raise anything; it is reported as the failure that it is
        passed, message = False, f"raised {type(e).__name__}: {e}"
    return CheckOutcome(name, passed, message, perf_counter() - start)


def run_down_checks(filter_: DownFilter, *, seed: int = 0, examples: int = 50) -> list[CheckOutcome]:
    """Test a downstream filter: it gives bytes, always the same, and applying it again changes nothing.

    Payloads are those of its `example(rng) -> bytes` where it has one, and else random bytes, whole numbers and floats; a
    ValueError means that a payload is none of the filter's.
    """
    tried: list[tuple[bytes, bytes]] = []

    def applies() -> str:
        if not isinstance(filter_, DownFilter):
            raise LawError("no DownFilter: it lacks apply(payload)")
        for i in range(examples):
            payload = _payload(filter_, np.random.default_rng([seed, i]))
            try:
                result = filter_.apply(payload)
            except ValueError:
                continue
            if type(result) is not bytes:
                raise LawError(f"apply gives {type(result).__name__}, not bytes, for {payload!r}")
            tried.append((payload, result))
        if not tried:
            raise LawError("no payload is taken; give the filter a method example(rng) that returns one")
        return f"{len(tried)} of {examples} payloads taken"

    def every(what: str, again: Callable[[bytes, bytes], bytes]) -> str:
        for payload, result in tried:
            got = again(payload, result)
            if got != result:
                raise LawError(f"{what}: {payload!r} becomes {result!r}, then {got!r} (seed {seed})")
        return f"{len(tried)} examples"

    outcomes = [_timed("applies", applies)]
    if outcomes[0].passed:
        outcomes.append(_timed("repeatable", lambda: every("done again", lambda p, r: filter_.apply(p))))
        outcomes.append(_timed("idempotent", lambda: every("applied twice", lambda p, r: filter_.apply(r))))
    return outcomes


def _payload(filter_: DownFilter, rng: np.random.Generator) -> bytes:
    example: Callable[[np.random.Generator], bytes] | None = getattr(filter_, "example", None)
    if example is not None:
        return example(rng)
    kind, n = int(rng.integers(3)), int(rng.integers(0, 6))
    if kind == 0:
        return rng.bytes(n)
    if kind == 1:
        return rng.integers(-(1 << 63), (1 << 63) - 1, n).astype("<i8").tobytes()
    return (rng.standard_normal(n) * 10.0 ** rng.integers(-30, 30, n)).astype("<f8").tobytes()
