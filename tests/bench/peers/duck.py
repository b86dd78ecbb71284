"""DuckDB counting GetFederationToken calls in files: of each record only the two columns, as its manual advises.

    python duck.py THREADS KIND FILE...

https://duckdb.org/docs/stable/data/json/loading_json
"""

import sys

import duckdb

threads, kind, *files = sys.argv[1:]
SOURCES = {
    "documents": """(SELECT unnest(Records, recursive := true) FROM read_json($files,
        columns = {Records: 'STRUCT(eventSource VARCHAR, eventName VARCHAR)[]'},
        format = 'unstructured', maximum_object_size = 33554432))""",
    "lines": """read_json($files, columns = {eventSource: 'VARCHAR', eventName: 'VARCHAR'},
        format = 'newline_delimited')""",
}
CALL = "eventSource = 'sts.amazonaws.com' AND eventName = 'GetFederationToken'"
connection = duckdb.connect(config={"threads": int(threads)})
source = SOURCES["lines" if kind.startswith("jsonl") else "documents"]
query = f"SELECT count(*) FROM {source} WHERE {CALL}"  # noqa: S608  its parts stand above
print(connection.execute(query, {"files": files}).fetchall()[0][0])
