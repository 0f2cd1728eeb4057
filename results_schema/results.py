"""The reader's way into a store: its tables as pandas frames, joined with an experiment's names.

Reading never writes, needs neither torch nor ray, and is right while a sweep is running.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa

from results_schema import layout, tables
from results_schema.errors import ConfigError
from results_schema.program import store_schema
from results_schema.stopping import recorded_pruned
from results_schema.store import Store, existing_store


class Results:
    """The results of a store.

    Methods raise `ConfigError` if no experiment of a name was launched into it, or several were.

    Args:
        location: The store's folder or `s3://bucket/prefix`, or the store itself.
        without: Trials and surfaces to leave out, as if they had not begun.

    Raises:
        StoreError: There is no store.
    """

    def __init__(self, location: str | Path | Store, without: Collection[str] = ()) -> None:
        if isinstance(location, (str, Path)):
            location = existing_store(location)
        self.store: Store = location
        self._without = frozenset(without)

    def experiments(self) -> list[str]:
        """Return the names of the experiments launched into this store, fig2 before fig10."""
        return sorted(layout.names(self._files(layout.MEMBERS)), key=layout.natural)

    def members(self, experiment: str | None = None) -> pd.DataFrame:
        """Return which trials an experiment shows, under which base, variant and index.

        Args:
            experiment: Its name, which may leave out profile and `--name` where only one
                experiment begins so: `fig9` for `fig9@laptop`. None stands for all experiments.

        Returns:
            The columns of `tables.MEMBERS`, in the experiment's order, and one for each further
            axis (`tables.expand_axes`).
        """
        names = self.experiments() if experiment is None else [self._named(experiment)]
        return self._read([layout.members(name) for name in names], tables.MEMBERS)

    def cells(self, experiment: str) -> pd.DataFrame:
        """Return the cells that an experiment names, trained or not, as in `tables.CELLS`."""
        return self._read([layout.cells(self._named(experiment))], tables.CELLS)

    def trials(self, experiment: str | None = None) -> pd.DataFrame:
        """Return one row per ended trial; with an experiment, one per member, trained or not.

        Args:
            experiment: If given, the members' columns are joined, and members whose trial has
                not ended have no numbers, and no status unless the experiment has pruned it.

        Returns:
            The columns of `tables.TRIALS`, with the last and best value of each metric of programs
            (`results_schema.program`), behind those of `tables.MEMBERS` if joined.
        """
        schema = store_schema(self.store, layout.TRIALS)
        found = self._table(layout.TRIALS, schema, experiment, how="left")
        return found if experiment is None else self._with_pruned(found, self._named(experiment))

    def metrics(self, experiment: str | None = None) -> pd.DataFrame:
        """Return one row per trained epoch.

        Args:
            experiment: If given, its trials alone, with the members' columns joined; a trial that
                is several members appears once for each.

        Returns:
            The columns of `tables.METRICS` and of programs' metrics, behind those of
            `tables.MEMBERS` if joined.
        """
        schema = store_schema(self.store, layout.METRICS)
        return self._table(layout.METRICS, schema, experiment, how="inner")

    def surfaces(self, experiment: str | None = None) -> pd.DataFrame:
        """Return one row per finished surface; with an experiment, one per surface that it wants.

        Args:
            experiment: If given, the members' columns are joined, once for each member that shows
                the surface's trial; surfaces that are not finished have no status and no numbers.

        Returns:
            The columns of `tables.SURFACES`, behind those of `tables.MEMBERS` and `tables.WANTED`
            if joined. Of two columns of one name the surface's is called `surface_…`: its seed,
            for one.
        """
        return self._table(layout.SURFACES, tables.SURFACES, experiment, how="left")

    def points(self, experiment: str | None = None) -> pd.DataFrame:
        """Return one row per measured point, of surfaces that are not finished too.

        Args:
            experiment: If given, points of the surfaces that it wants alone, with the members'
                columns joined.

        Returns:
            The columns of `tables.POINTS`, behind others as for `surfaces` if joined.
        """
        return self._table(layout.POINTS, tables.POINTS, experiment, how="inner")

    def _table(
        self, folder: str, schema: pa.Schema, experiment: str | None, how: Literal["left", "inner"]
    ) -> pd.DataFrame:
        """Return a table's rows, behind the columns of an experiment's members if one is given."""
        keys = self._files(folder)
        if experiment is None:
            return self._read(keys, schema)
        shown, item = self.members(experiment), schema.names[0]
        if item == "surface_id":
            wanted = self._read([layout.wanted(self._named(experiment))], tables.WANTED)
            shown = shown.merge(wanted.drop(columns="experiment"), on="trial_id")
        ids = set(shown[item])
        rows = self._read([key for key in keys if layout.names([key]) <= ids], schema)
        # A member repeats what its trial's row says. A surface's row means something else by the
        # same name: its seed is the directions', not the trial's.
        repeated = ["trial_id", "kind"] if item == "surface_id" else [*shown.columns.drop(item)]
        rows = rows.drop(columns=repeated, errors="ignore")
        clash = {name: f"surface_{name}" for name in rows.columns.intersection(shown.columns)}
        clash.pop(item)
        return shown.merge(rows.rename(columns=clash), on=item, how=how)

    def _with_pruned(self, trials: Any, experiment: str) -> pd.DataFrame:
        """Return the trials of an experiment with the status and epochs of those it has pruned."""
        datasets = dict(zip(trials["trial_id"], trials["dataset"], strict=True))
        datasets = {trial: None if pd.isna(one) else one for trial, one in datasets.items()}
        pruned = recorded_pruned(self.store, experiment, datasets)
        rows = trials["status"].isna() & trials["trial_id"].isin(list(pruned))
        if rows.any():
            epochs = trials.loc[rows, "trial_id"].map(pruned)
            trials.loc[rows, "status"] = "pruned"
            trials.loc[rows, "epochs"] = epochs
            trials.loc[rows, "exit_reason"] = [f"pruned at epoch {epoch}" for epoch in epochs]
        return trials

    def _named(self, experiment: str) -> str:
        """Return the whole name of an experiment."""
        known = self.experiments()
        found = layout.variations(experiment, known)
        if len(found) > 1:
            what = f"{experiment!r} is {len(found)} experiments"
            raise ConfigError(what, fix=f"name one of {', '.join(found)}")
        if not found:
            fix = f"it has {', '.join(known) or 'none yet'}"
            raise ConfigError(f"the store has no experiment {experiment!r}", fix=fix)
        return found[0]

    def _files(self, folder: str) -> list[str]:
        keys = [key for key in self.store.list(folder) if key.endswith(".parquet")]
        return [key for key in keys if not self._without.intersection(layout.names([key]))]

    def _read(self, keys: list[str], schema: pa.Schema) -> pd.DataFrame:
        parts = [schema.empty_table()]
        for key, data in self.store.several(keys):  # without what was removed since it was listed
            parts.append(tables.from_parquet(data, schema, key))
        table = pa.concat_tables(parts, promote_options="permissive")
        return (tables.expand_axes(table) if schema is tables.MEMBERS else table).to_pandas()


class Snapshot(Results):
    """Results that are read once: a report shows a store as it was at one moment."""

    def __init__(self, location: str | Path | Store, without: Collection[str] = ()) -> None:
        super().__init__(location, without)
        self._known: dict[tuple[str, str | None], pd.DataFrame] = {}

    def _table(
        self, folder: str, schema: pa.Schema, experiment: str | None, how: Literal["left", "inner"]
    ) -> pd.DataFrame:
        key = folder, experiment
        if key not in self._known:
            self._known[key] = super()._table(folder, schema, experiment, how)
        return self._known[key].copy()  # pandas 2 would share what a caller changes


def axes_of(members: pd.DataFrame, *, varied: bool = True) -> dict[str, str]:
    """Return the column of each further axis of an experiment's members, by key.

    Args:
        members: Those of one experiment, joined with other tables or not.
        varied: Whether only axes of which there are several values.
    """
    texts = members["axes"].dropna().unique() if "axes" in members.columns else ()
    keys = dict.fromkeys(key for text in texts for key in json.loads(text))
    columns = tables.axis_columns(keys)
    if not varied:
        return columns
    counts: Any = members[list(columns.values())].nunique(dropna=False)
    return {key: name for key, name in columns.items() if counts[name] > 1}
