#!/usr/bin/env python3
"""Validates FHIR transactions, such as those of `examples/peer.rs make` and `edge-infer journal export`, against the R4B models of fhir.resources.

    pip install fhir.resources
    fhir_validate.py visit.json...

The validator is of R4B; the resources written here do not differ between R4 and R4B. Ends with 1 and the
validator's words where it refuses, and checks itself: a copy without a required element must be refused.
"""

import copy
import json
import sys

from fhir.resources.R4B.bundle import Bundle
from pydantic import ValidationError


def main(path):
    with open(path, encoding="utf-8") as file:
        bundle = json.load(file)
    read = Bundle.model_validate(bundle)
    kinds = [entry.resource.get_resource_type() for entry in read.entry]
    print(f"valid: {len(kinds)} entries: {', '.join(kinds)}")
    # Nothing that was written was silently dropped by the validator's reading.
    back = json.loads(read.model_dump_json())
    lost = missing(bundle, back, "bundle")
    if lost:
        sys.exit("not understood: " + "; ".join(lost))
    broken = copy.deepcopy(bundle)
    for entry in broken["entry"]:
        if entry["resource"]["resourceType"] == "Observation":
            del entry["resource"]["status"]
    try:
        Bundle.model_validate(broken)
    except ValidationError:
        print("a copy without the observations' status is refused, as it must be")
    else:
        sys.exit("the validator accepts observations without a status: it validates nothing")


def missing(written, read, where):
    """The paths of what was written and is not in what was read."""
    if isinstance(written, dict):
        return [lost for key, value in written.items()
                for lost in ([f"{where}.{key}"] if key not in read else missing(value, read[key], f"{where}.{key}"))]
    if isinstance(written, list):
        return [lost for index, value in enumerate(written) for lost in missing(value, read[index], f"{where}[{index}]")]
    return []


if __name__ == "__main__":
    for file in sys.argv[1:]:
        main(file)
