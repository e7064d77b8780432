"""A server's history."""

from typing import Any

from attrs import frozen

from control.compute.views.moments import micros
from control.compute.views.servers import host_id
from schemas.operation import Action, ActionEvent

Json = dict[str, Any]


@frozen
class Viewer:
    """`events` shows tracebacks and hosts; without it the events themselves are hidden below 2.51."""

    version: int
    events: bool = False
    details: bool = False
    """why an event failed, from 2.84 on"""


def listed(action: Action, version: int) -> Json:
    body: Json = {
        "action": action.action,
        "instance_uuid": action.server,
        "request_id": action.request_id,
        "user_id": action.user,
        "project_id": action.project,
        "start_time": micros(action.started),
        "message": action.message,
    }
    return {**body, "updated_at": micros(action.updated)} if version >= 58 else body


def shown(action: Action, viewer: Viewer) -> Json:
    body = listed(action, viewer.version)
    if viewer.events or viewer.version >= 51:
        body["events"] = [_event(e, action, viewer) for e in action.events]
    return body


def _event(event: ActionEvent, action: Action, viewer: Viewer) -> Json:
    body: Json = {
        "event": event.event,
        "start_time": micros(event.started),
        "finish_time": micros(event.finished),
        "result": event.result,
    }
    if viewer.events:
        body["traceback"] = event.traceback
    if viewer.version >= 62:
        body["hostId"] = host_id(action.project, event.host)
        if viewer.events:
            body["host"] = event.host
    if viewer.version >= 84 and viewer.details:
        body["details"] = event.details
    return body
