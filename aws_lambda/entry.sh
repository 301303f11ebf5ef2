#!/bin/sh
# Starts the handler. On Lambda, it runs under the runtime client. On other machines, it runs under the
# emulator, which serves Lambda's Invoke API on port 8080.
set -eu

python=$(command -v python)
if [ -n "${AWS_LAMBDA_RUNTIME_API:-}" ]; then
  exec "$python" -m awslambdaric "$@"
fi
if ! command -v aws-lambda-rie >/dev/null; then
  echo "this is not Lambda (AWS_LAMBDA_RUNTIME_API is not set), and the emulator aws-lambda-rie is not installed" >&2
  exit 1
fi
exec aws-lambda-rie "$python" -m awslambdaric "$@"
