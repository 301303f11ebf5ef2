"""Send events to the triggers of a flow without a store."""

from __future__ import annotations

import httpx

from support.faulty_flow import FaultyFlow
from support.flow_processes import TRIGGER_TOKEN


def send_event(flow: FaultyFlow, url: str, key: str, timeout_s: float = 60) -> int:
    """Send the event of a new video to a trigger, and return the status; 0 for no answer."""
    event = {"bucket": flow.settings.input_bucket, "key": key}
    headers = {"X-Trigger-Token": TRIGGER_TOKEN}
    try:
        answer = httpx.post(
            url + "/events", json=event, headers=headers, timeout=timeout_s, trust_env=False
        )
    except httpx.TransportError:
        return 0
    return answer.status_code
