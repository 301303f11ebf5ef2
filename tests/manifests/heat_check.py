"""Check a template with Heat itself, but without a cloud: `heat_check.py TEMPLATE`.

Prints the user data of the server as Heat would pass it on, or ends with the error of Heat. This is
a program and not a test, because the packages of Heat conflict with ours, so it needs a separate
virtual environment (`make heat`).
"""

import logging
import sys
from pathlib import Path

from heat.common import context, template_format
from heat.engine import constraints, environment, resource, resources, service
from heat.engine import stack as stacks
from heat.engine import template as templates

PARAMETERS = {
    "ssh_public_key": "ssh-ed25519 AAAA me",
    "repository": "https://example.org/rollcall.git",
    "ssh_from": "203.0.113.7/32",
}


def without_cloud() -> None:
    """Make Heat accept every service, image and network, because only a cloud knows them."""
    logging.disable(logging.CRITICAL)
    resources.initialise()
    resource.Resource.is_service_available = classmethod(lambda cls, ctx: (True, None))
    constraints.BaseCustomConstraint.validate = lambda self, value, ctx: True


def check_template(parsed: dict, files: dict) -> str:
    """Return the problem that Heat finds without knowing any parameter; empty if there is none."""
    validate = service.EngineService.validate_template.__wrapped__
    engine, asked = service.EngineService("host", "topic"), context.get_admin_context()
    return validate(engine, asked, parsed, files=files).get("Error", "")


def user_data(parsed: dict, files: dict) -> str:
    """Check all properties, as `openstack stack create` does, and return the user data."""
    template = templates.Template(parsed, files=files, env=environment.Environment(PARAMETERS))
    stack = stacks.Stack(context.get_admin_context(), "rollcall", template)
    stack.parameters.validate(validate_value=True, context=stack.context)
    for each in stack.dependencies:
        each.properties.validate()
    return stack["server"].properties["user_data"]


def main(path: Path) -> str:
    without_cloud()
    files = {each.name: each.read_text() for each in path.parent.iterdir() if each.is_file()}
    try:
        parsed = template_format.parse(path.read_text())
        if problem := check_template(parsed, files):
            sys.exit(problem)
        return user_data(parsed, files)
    except Exception as error:
        _, cause, _ = getattr(error, "exc_info", (None, error, None))  # oslo wraps the error
        sys.exit(f"{type(cause).__name__}: {cause}")


if __name__ == "__main__":
    print(main(Path(sys.argv[1])), end="")
