"""The flows that the demo can run, by name."""

from __future__ import annotations

from collections.abc import Mapping

from devstack.lambda_stack import LambdaStack
from devstack.openfaas_stack import OpenFaasStack
from devstack.openstack_stack import OpenStackStack
from devstack.stack import LocalStack

FLOWS: Mapping[str, type[LocalStack]] = {
    "openfaas": OpenFaasStack,
    "lambda": LambdaStack,
    "openstack": OpenStackStack,
}
