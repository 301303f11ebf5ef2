#!/usr/bin/env bash
# Builds the Lambda's image and pushes it to ECR; the last line is the image's address.
set -euo pipefail

usage() {
  cat <<'END'
Usage: aws_lambda/ecr_push.sh [OPTIONS] ACCOUNT REGION REPOSITORY

  ACCOUNT      twelve digits
  REGION       for example eu-central-1
  REPOSITORY   of ECR, in that region; make it once:
               aws ecr create-repository --repository-name REPOSITORY --region REGION

  --tag TAG            of the image (default: the commit, or "latest" outside of git; and the
                       hash of aws_lambda/gallery.npz, where there is one)
  --platform PLATFORM  linux/amd64 (default) or linux/arm64; as the function's Architecture
  --dry-run            print the commands, and run none
  --help
END
}

fail() {
  echo "error: $1" >&2
  usage >&2
  exit 2
}

root=$(cd "$(dirname "$0")/.." && pwd)
tag=$(git -C "$root" rev-parse --short=12 HEAD 2>/dev/null || echo latest)
# CloudFormation looks at the tag alone: another gallery in the image has to give another one.
gallery=$root/aws_lambda/gallery.npz
[[ ! -f $gallery ]] || tag+=-$(sha256sum "$gallery" | cut -c1-8)
platform=linux/amd64
dry_run=
positional=()
while (($#)); do
  case $1 in
    --tag | --platform)
      (($# > 1)) || fail "$1 needs a value"
      if [[ $1 == --tag ]]; then tag=$2; else platform=$2; fi
      shift
      ;;
    --dry-run) dry_run=yes ;;
    --help)
      usage
      exit 0
      ;;
    -*) fail "no option $1" ;;
    *) positional+=("$1") ;;
  esac
  shift
done

((${#positional[@]} == 3)) || fail "ACCOUNT, REGION and REPOSITORY are needed"
account=${positional[0]} region=${positional[1]} repository=${positional[2]}
[[ $account =~ ^[0-9]{12}$ ]] || fail "ACCOUNT has to be twelve digits, not '$account'"
[[ $region =~ ^[a-z]{2}(-[a-z]+)+-[0-9]$ ]] || fail "REGION has to be like us-east-1, not '$region'"
[[ $repository =~ ^[a-z0-9]+([._/-][a-z0-9]+)*$ ]] ||
  fail "REPOSITORY has to be lower-case letters, digits and ._/- , not '$repository'"
[[ $tag =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$ ]] || fail "TAG '$tag' is no tag of an image"
[[ $platform == linux/amd64 || $platform == linux/arm64 ]] ||
  fail "PLATFORM has to be linux/amd64 or linux/arm64, not '$platform'"

registry=$account.dkr.ecr.$region.amazonaws.com
image=$registry/$repository:$tag

run() {
  if [[ $dry_run ]]; then
    printf '%q ' "$@"
    echo
  else
    "$@" >&2
  fi
}

log_in() {
  if [[ $dry_run ]]; then
    echo "aws ecr get-login-password --region $region |" \
      "docker login --username AWS --password-stdin $registry"
  else
    aws ecr get-login-password --region "$region" |
      docker login --username AWS --password-stdin "$registry" >&2
  fi
}

log_in
# --provenance=false: Lambda takes an image, not a list of an image and its attestation.
run docker build --platform "$platform" --provenance=false \
  -f "$root/aws_lambda/Dockerfile" -t "$image" "$root"
run docker push "$image"
echo "$image"
