"""What must hold whenever no process is at work: D1's row, the object, the copies and the answers agree."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from do_bridge.tenancy.lifecycle.states import (
    MOVING,
    Content,
    Do,
    Held,
    Operation,
    Row,
    State,
    content,
    next_step,
)
from do_bridge.tenancy.schema import fingerprint

MAKING = ("create", "by hand", "adopt", "create_many", "load", "copy")


@dataclass
class Done:
    """One operation of one process: its answer, and its time."""

    name: str
    slugs: tuple[str, ...]
    begun: float
    ended: float = math.inf
    answer: str = ""
    why: str = ""
    title: str = ""


@dataclass
class Tenant:
    """One tenant as it was found."""

    row: Row
    held: Held
    titles: list[str] = field(default_factory=list)
    #: {primary key: (name, is active)} of the users' copies.
    copies: dict[int, tuple[str, bool]] = field(default_factory=dict)
    #: {primary key: name} of D1's members.
    members: dict[int, str] = field(default_factory=dict)
    is_dirty: bool = False
    #: Other jurisdictions in which the tenant has an object with tables.
    elsewhere: list[str] = field(default_factory=list)


def judge(tenant: Tenant, history: list[Done]) -> list[str]:
    """Return what does not hold of a tenant; `history` are the operations on its slug, in their order."""
    row, held = tenant.row, tenant.held
    faults = []
    step = next_step(row, held, Operation.MIGRATE)
    is_usable = row.is_registered and step == Do.KEEP and content(row, held) == Content.WHOLE
    if row.fence and held.fence > row.fence:
        faults.append(f"the object's fence {held.fence} is higher than the ledger's {row.fence}")
    if held.fingerprint not in ("", MOVING) and held.fingerprint != fingerprint.of(held.applied):
        faults.append("the fingerprint is not that of the applied migrations")
    if step == Do.LOST or row.error.startswith("TenantLost"):
        faults.append("the tenant has lost its data, or was taken for one that has")
    if not row.operation:
        faults += _at_rest(tenant)
    left = [] if row.left_behind is None else [row.left_behind or "none"]
    if lost := sorted(set(tenant.elsewhere) - set(left)):
        faults.append(f"an object in {lost} that the ledger does not know holds tables")
    if is_usable:
        faults += _members(tenant)
    faults += _answers(tenant, history)
    if is_usable:
        faults += _posts(tenant, history)
    return faults


def _at_rest(tenant: Tenant) -> list[str]:
    row, held = tenant.row, tenant.held
    there = content(row, held)
    if row.state == State.READY:
        if not row.is_registered:
            return ["the ledger says ready, and D1 has no such tenant"]
        if there != Content.WHOLE:
            return [f"the ledger says ready, and the object is {there}"]
        if row.fingerprint != held.fingerprint:
            return ["the ledger says ready, at another schema than the object's"]
        return []
    if row.state == State.DELETED and row.is_registered:
        return ["the ledger says deleted, and D1 has the tenant"]
    if row.fence and there in (Content.PART, Content.WHOLE):
        return [f"the ledger says {row.state}, and the object is {there}"]
    return []


def _members(tenant: Tenant) -> list[str]:
    if tenant.is_dirty or tenant.row.operation:
        return []
    active = {key: name for key, (name, is_active) in tenant.copies.items() if is_active}
    if active == tenant.members:
        return []
    return [f"no dirty flag, the members are {tenant.members}, the active copies {active}"]


def _answers(tenant: Tenant, history: list[Done]) -> list[str]:
    """Of operations that did not overlap with others the last one's word holds."""
    makes = [one for one in history if one.name in MAKING]
    ends = [one for one in history if one.name == "delete"]
    faults = []
    for one in ends:
        later = [other for other in makes if other.ended > one.begun]
        if one.answer == "ok" and not later and tenant.row.is_registered:
            faults.append("the last word was a deletion's, and D1 has the tenant")
    for one in makes:
        later = [other for other in ends if other.ended > one.begun]
        # Of several in one command those that failed are not told apart.
        if one.answer == "ok" and not later and not tenant.row.is_registered:
            faults.append(f"the last word was that of {one.name}, and D1 has no such tenant")
    return faults


def _posts(tenant: Tenant, history: list[Done]) -> list[str]:
    ends = [one for one in history if one.name == "delete"]
    rewinds = [one for one in history if one.name == "rewind"]
    own = [one for one in history if one.name == "post" and one.title]
    copies = [one for one in history if one.name == "copy"]
    faults = []
    for one in own:
        is_there = one.title in tenant.titles
        may_be_gone = any(end.ended > one.begun for end in (*ends, *rewinds))
        # A copy brings it back if its source was copied from the tenant before this one.
        gone = [end for end in ends if end.answer == "ok" and end.begun > one.ended]
        was_before = any(not any(copy.ended > end.begun for copy in copies) for end in gone)
        if one.answer == "ok" and not may_be_gone and not is_there:
            faults.append(f"the post {one.title} was confirmed, and is not there")
        if was_before and is_there:
            faults.append(f"the post {one.title} is of a tenant before this one")
    known = {one.title for one in own}
    own_prefix = f"{tenant.row.slug}:"
    strange = [title for title in tenant.titles if title.startswith(own_prefix) and title not in known]
    return faults + [f"nobody wrote {title}" for title in strange]
