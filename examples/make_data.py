"""Write the data of the three examples: tickets, orders and a manual.

``python examples/make_data.py`` makes the same files every time. Tickets and orders are put
together from phrases written for this project; the manual is its own documentation.
"""

from __future__ import annotations

import csv
import itertools
import json
import random
from pathlib import Path

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"

OPENINGS = ("Hello, ", "Good morning. ", "", "Hi team, ", "To whom it may concern: ")
CLOSINGS = (
    "",
    " Please help.",
    " This is urgent.",
    " Thanks in advance.",
    " It is the second time.",
)
PROBLEMS = {
    "billing": (
        "I was charged twice for {month}",
        "the invoice for {month} lacks our tax number",
        "why did the price go up in {month}?",
        "please refund what you took in {month}",
        "our card was declined although it is valid until {month}",
    ),
    "delivery": (
        "the parcel from {month} never came",
        "what was delivered in {month} is broken",
        "can you send the {month} order to another address?",
        "the driver left the {month} box with a neighbour we do not know",
        "only half of what we bought in {month} was in the box",
    ),
    "account": (
        "I cannot sign in since {month}",
        "the password mail of {month} does not arrive",
        "please remove the user who left in {month}",
        "the second factor asks for a phone that I lost in {month}",
        "my name is spelt wrong in the profile since {month}",
    ),
    "bug": (
        "the export of {month} stops at half",
        "the chart shows {month} twice",
        "since the update in {month} the app closes at once",
        "search finds nothing from before {month}",
        "the {month} report has negative counts",
    ),
}
MONTHS = ("January", "March", "April", "June", "September", "November")
ITEMS = ("boxes of paper", "desk lamps", "toner cartridges", "office chairs", "whiteboards")
CHANGES = (
    "please change order {number} from {old} to {new} {item}",
    "we ordered {old} {item} as {number}, make that {new}",
    "{number}: instead of {old} {item} send {new}",
    "could I still get {new} {item} and not {old}? The order is {number}",
    "order {number} should have {new} {item}, {old} were a slip",
)


def tickets(rng: random.Random) -> list[dict[str, str]]:
    """Return tickets with their queue."""
    rows = [
        {"ticket": f"{opening}{problem.format(month=month)}.{closing}", "queue": queue}
        for queue, problems in PROBLEMS.items()
        for problem, month in itertools.product(problems, MONTHS)
        for opening, closing in [(rng.choice(OPENINGS), rng.choice(CLOSINGS)) for _ in range(4)]
    ]
    unique = list({row["ticket"]: row for row in rows}.values())
    rng.shuffle(unique)
    return unique


def orders(rng: random.Random, n: int) -> list[dict[str, str]]:
    """Return mails that change an order, with its number and the new count."""
    rows = []
    for _ in range(n):
        number = f"{rng.choice('ABCD')}-{rng.randrange(1000, 10_000)}"
        old, new = rng.sample(range(2, 60), 2)
        text = rng.choice(CHANGES).format(number=number, old=old, new=new, item=rng.choice(ITEMS))
        rows.append({"mail": rng.choice(OPENINGS) + text, "change": f"{number} -> {new}"})
    return rows


def main() -> None:
    """Write the files."""
    rng = random.Random(0)  # noqa: S311 - rows, no secret
    with (HERE / "tickets" / "tickets.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=["ticket", "queue"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(tickets(rng))
    text = "".join(json.dumps(row) + "\n" for row in orders(rng, 400))
    (HERE / "orders" / "orders.jsonl").write_text(text, encoding="utf-8")
    pages = ("measuring", "searching", "recipes", "tasks", "trying", "sweeping", "data", "azure")
    manual = "\n\n".join((DOCS / f"{name}.md").read_text(encoding="utf-8") for name in pages)
    (HERE / "manual" / "manual.txt").write_text(manual, encoding="utf-8")


if __name__ == "__main__":
    main()
