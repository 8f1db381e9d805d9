"""A plan as Terraform's users expect to read it: a symbol, the resource, its fields line by line, the sum.

Pure: the API's JSON in, text out.
"""

from __future__ import annotations

import json
from typing import Any

from andon.app.cli.table import bold, paint

_SYMBOLS = {"create": "+", "update": "~", "delete": "-"}
_PAST = {"create": "will be created", "update": "will be changed", "delete": "will be destroyed"}
_SYMBOL_WORDS = {"+": "create", "~": "update", "-": "delete"}


def render_plan(plan: dict[str, Any], colour: bool) -> str:
    """The whole plan; ends with the sum."""
    parts = []
    if plan["drift"]:
        names = ", ".join(f"{item['subject']} ({item['verb']}d)" for item in plan["drift"])
        parts.append(f"Changed outside of apply since revision {plan['parent']}: {names}")
    changes = [action for action in plan["actions"] if action["verb"] != "no-op"]
    if not changes:
        return "\n\n".join([*parts, "No changes. The factory is what the files say."])
    parts.append(render_actions(changes, colour))
    count = {verb: sum(action["verb"] == verb for action in changes) for verb in _SYMBOLS}
    total = f"Plan: {count['create']} to create, {count['update']} to change, {count['delete']} to destroy."
    return "\n\n".join([*parts, bold(total, colour)])


def render_actions(actions: list[dict[str, Any]], colour: bool) -> str:
    """Each resource that changes, with its fields."""
    blocks = []
    for action in actions:
        if action["verb"] == "no-op":
            continue
        head = f"{_SYMBOLS[action['verb']]} {action['kind']}/{action['name']} {_PAST[action['verb']]}"
        lines = [paint(head, action["verb"], colour)]
        lines += (
            [_field(change, colour) for change in action["changes"]] if action["verb"] != "delete" else []
        )
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _field(change: dict[str, Any], colour: bool) -> str:
    symbol = change["symbol"]
    before, after = _value(change.get("before")), _value(change.get("after"))
    value = after if symbol == "+" else before if symbol == "-" else f"{before} -> {after}"
    return paint(f"    {symbol} {change['path']} = {value}", _SYMBOL_WORDS[symbol], colour)


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
