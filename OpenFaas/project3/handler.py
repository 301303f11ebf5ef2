"""The function for OpenFaaS' python3-http template."""

from typing import Any

from rollcall.function.function_service import FunctionService
from rollcall.function.shutdown import drain_on_sigterm
from rollcall.logs import set_up_logs

from .awss3 import connect, settings, tracer

set_up_logs(settings.log_format)
service = FunctionService(connect, settings.function_hmac_key, tracer=tracer)
drain_on_sigterm(service)


def handle(event: Any, context: Any) -> dict[str, Any]:
    """Answer one call. The template's index.py calls this; `event.body` is bytes."""
    answer = service.answer(event.body, dict(event.headers))
    return {"statusCode": answer.status, "headers": answer.headers(), "body": answer.body()}
