"""How good the answers are, from the ledger of this folder: python accuracy.py.

Before labels, the scores say how many answers ought to be right; once labels have come, they say how many were.
"""

from __future__ import annotations

import andon.ledger as ledger

SQL = """
SELECT r.release,
       count(*) AS answers,
       avg(greatest(r.score, 1 - r.score)) AS estimated,
       count(l.id) AS labelled,
       avg((l.text = r.prediction)::INT) AS realised
FROM requests AS r LEFT JOIN labels AS l ON l.request_id = r.id
WHERE r.endpoint = 'loans' AND r.ok
GROUP BY ALL
ORDER BY ALL
"""


def main() -> None:
    """One line for each release."""
    with ledger.open(".") as opened:
        for row in opened.query(SQL).rows():  # .arrow(), .pandas() and .polars() give tables
            realised = f"{row['realised']:.1%}" if row["labelled"] else "not known yet"
            print(f"{row['release']}: {row['answers']} answers, {row['labelled']} labels")
            print(f"  right by the scores  {row['estimated']:.1%}")
            print(f"  right by the labels  {realised}")


if __name__ == "__main__":
    main()
