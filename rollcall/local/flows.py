"""The flows that a demo runs, by name."""

from __future__ import annotations

from collections.abc import Mapping

from rollcall.local.lambda_stack import LambdaStack
from rollcall.local.openfaas_stack import OpenFaasStack
from rollcall.local.openstack_stack import OpenStackStack
from rollcall.local.stack import LocalStack

FLOWS: Mapping[str, type[LocalStack]] = {
    "openfaas": OpenFaasStack,
    "lambda": LambdaStack,
    "openstack": OpenStackStack,
}
