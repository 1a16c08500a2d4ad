"""Answers that models wrote: every text is stored once, and answers refer to it.

Many draws, many models and many filters give the same text. What is known already is found by its hash, so that taking in a
few answers never reads all texts that the file holds.
"""

from __future__ import annotations

import duckdb

_NEW_TEXTS = """
INSERT INTO {target}.generation_texts BY NAME
SELECT
    (SELECT coalesce(max(text_key), 0) FROM generation_texts) + row_number() OVER (ORDER BY place) AS text_key, text_hash, text
FROM (
    SELECT md5_number(text) AS text_hash, any_value(text) AS text, min(place) AS place
    FROM (
        SELECT place, text FROM temp.new_answers
        UNION ALL
        SELECT place, unnest(extracted) AS text FROM temp.new_answers
    )
    GROUP BY md5_number(text)
) AS new
WHERE NOT EXISTS (FROM generation_texts AS old WHERE old.text_hash = new.text_hash)
"""

_NEW_ANSWERS = """
CREATE OR REPLACE TEMP TABLE new_answers AS
SELECT run_key, item_idx, answer.*, row_number() OVER (ORDER BY run_key, item_idx, answer.sample_idx) AS place
FROM (SELECT run_key, item_idx, unnest(generations) AS answer FROM temp.new_items)
"""

_RECORDS = """
INSERT INTO {target}.generation_records BY NAME
SELECT
    a.run_key,
    a.item_idx,
    a.sample_idx,
    t.text_key,
    a.n_tokens,
    a.stopped,
    a.correct,
    a.filters,
    coalesce(e.extracted_keys, []) AS extracted_keys,
    a.metric_values
FROM temp.new_answers AS a
JOIN temp.keys_of_texts AS t ON t.text_hash = md5_number(a.text)
LEFT JOIN (
    SELECT x.place, list(t.text_key ORDER BY x.filter_idx) AS extracted_keys
    FROM (
        SELECT place, unnest(extracted) AS text, generate_subscripts(extracted, 1) AS filter_idx FROM temp.new_answers
    ) AS x
    JOIN temp.keys_of_texts AS t ON t.text_hash = md5_number(x.text)
    GROUP BY x.place
) AS e USING (place)
ORDER BY a.place
"""

_KEYS = """
CREATE OR REPLACE TEMP TABLE keys_of_texts AS
SELECT text_hash, text_key
FROM generation_texts
WHERE text_hash IN (
    SELECT md5_number(text) FROM temp.new_answers
    UNION ALL
    SELECT md5_number(unnest(extracted)) FROM temp.new_answers
)
"""


def insert_answered(connection: duckdb.DuckDBPyConnection, statement: str, target: str) -> int:
    """Insert the items that `statement` selects, with what models wrote to them; return how many items there are."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE new_items AS {statement}")
    result = connection.execute(
        f"INSERT INTO {target}.item_results BY NAME SELECT * EXCLUDE (generations) FROM temp.new_items"
    ).fetchone()
    connection.execute(_NEW_ANSWERS)
    connection.execute(_NEW_TEXTS.format(target=target))
    connection.execute(_KEYS)
    connection.execute(_RECORDS.format(target=target))
    connection.execute("DROP TABLE temp.new_items; DROP TABLE temp.new_answers; DROP TABLE temp.keys_of_texts")
    return int(result[0]) if result else 0
