"""The function for AWS Lambda."""

import os
from typing import Any

from rollcall.config import load_settings
from rollcall.function.aws_lambda import answer_event
from rollcall.function.function_service import FunctionService
from rollcall.logs import set_up_logs
from rollcall.wiring import build_pipeline

set_up_logs()
# Loaded at import: with a wrong setting the function does not start, instead of failing each event.
settings = load_settings(os.environ)
set_up_logs(settings.log_format)
service = FunctionService(lambda: build_pipeline(settings))


def face_recognition_handler(event: Any, context: Any) -> dict[str, Any]:
    """Answer one event. Lambda's runtime calls this; docs/aws-lambda.md describes the answers."""
    return answer_event(service, event)
