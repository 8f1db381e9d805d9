"""Records, revisions and journal lines as the admin API shows them.

Pure; used by `app/api`. Nothing is left out or added here: what a reader may see is decided before.
"""

from __future__ import annotations

from andon.app import views
from andon.control.kinds import API_VERSION
from andon.store.model import Journaled, Record, Revision


def show_resource(record: Record) -> views.Resource:
    """A resource as the API shows it."""
    metadata = views.Metadata(
        name=record.name,
        labels=record.labels,
        annotations=record.annotations,
        generation=record.generation,
        version=record.version,
        owner=record.owner,
        created_ns=record.created_ns,
        updated_ns=record.updated_ns,
    )
    return views.Resource(
        api_version=API_VERSION, kind=record.kind, metadata=metadata, spec=record.spec, status=record.status
    )


def show_revision(revision: Revision) -> views.RevisionView:
    """A revision as the API shows it."""
    return views.RevisionView(
        number=revision.number,
        parent=revision.parent,
        author=revision.author,
        message=revision.message,
        digest=revision.digest,
        resources=len(revision.document),
        at_ns=revision.at_ns,
    )


def show_event(line: Journaled) -> views.EventView:
    """A line of the journal as the API shows it."""
    event = line.event
    return views.EventView(
        sequence=line.sequence,
        name=event.name,
        subject=event.subject,
        actor=event.actor,
        data=event.data,
        at_ns=event.at_ns,
    )
