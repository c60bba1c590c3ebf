"""A stand-in for datasets, as far as examples/trainers/hugging_face.py goes."""

from typing import Any, Callable, Dict, List


class Dataset:
    def __init__(self, rows: List[Dict[str, Any]]) -> None:
        self.rows = rows

    def filter(self, keep: Callable[[Dict[str, Any]], bool]) -> "Dataset":
        return Dataset([row for row in self.rows if keep(row)])

    def map(
        self, change: Callable[[Dict[str, List[Any]]], Dict[str, List[Any]]], *, batched: bool, remove_columns: List[str]
    ) -> "Dataset":
        columns = change({name: [row[name] for row in self.rows] for name in self.rows[0]})
        return Dataset([dict(zip(columns, values)) for values in zip(*columns.values())])


def load_dataset(name: str, configuration: str, *, split: str) -> Dataset:
    return Dataset([{"text": "all work and no play"}, {"text": " "}])
