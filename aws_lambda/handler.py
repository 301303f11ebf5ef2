"""The Lambda function: an event in, the answer of the pipeline out."""

import os
from typing import Any

from rollcall.config import load_settings
from rollcall.function.aws_lambda import answer_event
from rollcall.function.function_service import FunctionService
from rollcall.logs import set_up_logs
from rollcall.wiring import build_pipeline

set_up_logs()
# At import, so that a wrong setting stops the start instead of failing every invocation.
settings = load_settings(os.environ)
service = FunctionService(lambda: build_pipeline(settings))


def face_recognition_handler(event: Any, context: Any) -> dict[str, Any]:
    """Called by Lambda's runtime; what comes back, and when it raises: docs/aws-lambda.md."""
    return answer_event(service, event)
