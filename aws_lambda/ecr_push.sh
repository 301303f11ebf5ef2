#!/usr/bin/env bash
# Builds the Lambda's image and pushes it to ECR. The last line of the output is the image's address.
set -euo pipefail

usage() {
  cat <<'END'
Usage: aws_lambda/ecr_push.sh [OPTIONS] ACCOUNT REGION REPOSITORY

  ACCOUNT      twelve digits
  REGION       for example eu-central-1
  REPOSITORY   ECR repository in that region; create it once:
               aws ecr create-repository --repository-name REPOSITORY --region REGION

  --tag TAG            tag of the image (default: the commit, or "latest" outside of git, followed by
                       the hash of aws_lambda/gallery.npz if that file exists)
  --platform PLATFORM  linux/amd64 (default) or linux/arm64; the same as the function's Architecture
  --dry-run            print the commands without running them
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
# CloudFormation compares only tags. So an image with another gallery needs another tag.
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

((${#positional[@]} == 3)) || fail "give ACCOUNT, REGION and REPOSITORY"
account=${positional[0]} region=${positional[1]} repository=${positional[2]}
[[ $account =~ ^[0-9]{12}$ ]] || fail "ACCOUNT has to be twelve digits, not '$account'"
[[ $region =~ ^[a-z]{2}(-[a-z]+)+-[0-9]$ ]] || fail "REGION has to be like us-east-1, not '$region'"
[[ $repository =~ ^[a-z0-9]+([._/-][a-z0-9]+)*$ ]] ||
  fail "REPOSITORY has to be lower-case letters, digits and ._/- , not '$repository'"
[[ $tag =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$ ]] || fail "'$tag' is not a valid image tag; use letters, digits and ._- , at most 128"
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
# --provenance=false, because Lambda does not accept an image index that contains an attestation.
run docker build --platform "$platform" --provenance=false \
  -f "$root/aws_lambda/Dockerfile" -t "$image" "$root"
run docker push "$image"
echo "$image"
