"""Writes invented rows as parquet by pyarrow, in several compressions, and as JSON lines.

    parquet_files.py [FOLDER]
"""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "fixtures" / "parquet"


def row(i):
    return {
        "question": None if i % 11 == 3 else f"what is {i} and a café?",
        "choices": {"text": [f"c{i}", "", "naïve"][: i % 4], "label": ["A", "B", "C"][: i % 4]},
        "answer": i % 4,
        "long": 2**53 + i,
        "share": i / 8,
        "right": i % 2 == 0,
        "tags": [] if i % 5 else ["x", f"y{i}"],
        "deep": [{"a": [i], "b": None}, {"a": [], "b": "z"}][: i % 3],
    }


schema = pa.schema([
    ("question", pa.string()),
    ("choices", pa.struct([("text", pa.list_(pa.string())), ("label", pa.list_(pa.string()))])),
    ("answer", pa.int32()),
    ("long", pa.int64()),
    ("share", pa.float64()),
    ("right", pa.bool_()),
    ("tags", pa.list_(pa.string())),
    ("deep", pa.list_(pa.struct([("a", pa.list_(pa.int64())), ("b", pa.string())]))),
])
rows = [row(i) for i in range(45)]
table = pa.Table.from_pylist(rows, schema=schema)
FOLDER.mkdir(parents=True, exist_ok=True)
for name in ["snappy", "zstd", "gzip", "none", "brotli"]:
    pq.write_table(table, FOLDER / f"{name}.parquet", compression=name, row_group_size=20)
with open(FOLDER / "rows.jsonl", "w", encoding="utf-8") as file:
    file.writelines(json.dumps(r, ensure_ascii=False) + "\n" for r in table.to_pylist())
