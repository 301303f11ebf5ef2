#!/bin/sh
# Runs the handler: on Lambda by its runtime client; elsewhere under the emulator, which then answers
# on port 8080 as Lambda's Invoke API does.
set -eu

python=$(command -v python)
if [ -n "${AWS_LAMBDA_RUNTIME_API:-}" ]; then
  exec "$python" -m awslambdaric "$@"
fi
if ! command -v aws-lambda-rie >/dev/null; then
  echo "neither on Lambda (AWS_LAMBDA_RUNTIME_API is not set), nor is aws-lambda-rie here" >&2
  exit 1
fi
exec aws-lambda-rie "$python" -m awslambdaric "$@"
