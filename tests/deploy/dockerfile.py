"""The Dockerfile as instructions, so that what it says can be done without an engine."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from tests.deploy.conftest import KIT


class Instruction(NamedTuple):
    name: str
    text: str

    def words(self) -> list[str]:
        """Return the words of the JSON form, or of a plain line."""
        start = self.text.find("[")
        is_json = self.text.endswith("]") and start != -1
        return json.loads(self.text[start:]) if is_json else self.text.split()


def read_stages() -> list[list[Instruction]]:
    text = (KIT / "Dockerfile").read_text()
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.M)).splitlines()
    stages: list[list[Instruction]] = []
    for line in filter(None, lines):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            stages.append([])
        stages[-1].append(Instruction(name, rest))
    return stages


BUILD, FINAL = read_stages()


def find(stage: list[Instruction], name: str) -> list[Instruction]:
    return [instruction for instruction in stage if instruction.name == name]


def copied(stage: list[Instruction]) -> list[str]:
    """Return the paths that a stage takes from the repository."""
    return [
        source
        for instruction in find(stage, "COPY")
        if not instruction.text.startswith("--from")
        for source in instruction.words()[:-1]
    ]
