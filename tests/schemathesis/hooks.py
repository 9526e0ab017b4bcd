"""What a schema can't say, for schemathesis: values that are well-formed and still not everybody's."""

import re

import schemathesis
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import use_after_free

# The server is told to take no address beyond these, and no request of a test leaves the machine.
schemathesis.openapi.format("ipv4", st.integers(1, 250).map(lambda last: f"127.0.0.{last}"))
schemathesis.openapi.format("ipv6", st.just("::1"))

# Which regions there are is the configuration's; these are built in.
REGIONS = ["sa", "us", "eu", "ap"]
schemathesis.openapi.format("region", st.sampled_from(REGIONS))


def is_positive(case):
    return case.meta is not None and case.meta.generation.mode.is_positive


def leave_out_unlike(case):
    """Of a pattern with alternatives the shortest and the longest texts come out as none of it. Those are no right requests."""
    patterns = {}
    for parameter in case.operation.headers:
        schema = parameter.definition["schema"]
        name = schema.get("$ref", "").rpartition("/")[2]
        schema = case.operation.schema.raw_schema["components"]["schemas"].get(name, schema)
        if "pattern" in schema:
            patterns[parameter.name] = schema["pattern"]
    for name, pattern in patterns.items():
        value = (case.headers or {}).get(name)
        if value is not None and not re.search(pattern, value):
            del case.headers[name]


def operation_of(case):
    return case.operation.definition.raw["operationId"]


@schemathesis.hook
def map_case(context, case):
    """What is right by every schema is made right by the rules beyond them, as someone who has read them would."""
    if not is_positive(case):
        return case
    leave_out_unlike(case)
    operation, body, query = operation_of(case), case.body, case.query
    if operation == "register" and isinstance(body, dict):
        if body.get("region") not in REGIONS:
            body["region"] = "eu"
        # The hard limit is not below the soft one, the default one included; 0 is none.
        soft, hard = body.get("soft_limit"), body.get("hard_limit")
        soft, hard = 100 if soft is None else soft, 150 if hard is None else hard
        if hard != 0 and (soft == 0 or hard < soft):
            body["hard_limit"] = 0
    if operation == "patchBackend" and isinstance(body, dict):
        # Nor of what is in force, which a patch changes in part.
        for member in ("soft_limit", "hard_limit"):
            if body.get(member) is not None:
                body[member] = 0
    if operation == "explain" and query and query.get("region", "eu") not in REGIONS:
        query["region"] = "eu"
    if operation == "followEvents" and query:
        # The page of events takes no figures.
        query.pop("stats", None)
    return case


@schemathesis.check
def gone_unless_it_drains(ctx, response, case):
    """What is deleted is gone at once; with `drain` it is out of rotation and still there, until its time is over."""
    for earlier in ctx.internals.find_related(case_id=case.id):
        drain = str((earlier.query or {}).get("drain", "0s"))
        if earlier.operation.method.lower() == "delete" and not re.fullmatch(r"0+(s|ms|m|h)?", drain):
            return None
    return use_after_free(ctx, response, case)
