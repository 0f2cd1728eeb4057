"""The reader's way into a store: its tables as pandas frames, joined with an experiment's names.

Reading never writes, needs neither torch nor ray, and is right while a sweep is running.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from results_schema import layout, tables
from results_schema.canonical import parse_json
from results_schema.errors import ConfigError, CorruptData, SpecError
from results_schema.genotype import Genotype
from results_schema.store import Store, existing_store
from results_schema.tables import POINTS, SURFACES, WANTED


class Results:
    """The results of a store.

    Args:
        location: The store's folder or `s3://bucket/prefix`, or the store itself.

    Raises:
        StoreError: There is no store.
    """

    def __init__(self, location: str | Path | Store) -> None:
        if isinstance(location, (str, Path)):
            location = existing_store(location)
        self.store: Store = location

    def experiments(self) -> list[str]:
        """Names of the experiments that were launched into this store, fig2 before fig10."""
        return sorted(layout.names(self._files(layout.MEMBERS)), key=layout.natural)

    def members(self, experiment: str | None = None) -> pd.DataFrame:
        """Which trials an experiment shows, under which base, variant and index.

        Args:
            experiment: Its name, or None for all experiments.

        Returns:
            The columns of `tables.MEMBERS`, in the experiment's order. In rows of an earlier
            release, whose files count dead nodes in width and depth, they are those of today.

        Raises:
            ConfigError: No experiment of that name was launched into this store.
        """
        known = self.experiments()
        names = known if experiment is None else [experiment]
        if experiment is not None and experiment not in known:
            raise ConfigError(
                f"the store has no experiment {experiment!r}",
                fix=f"it has {', '.join(known) or 'none yet'}",
            )
        rows = self._read([layout.members(name) for name in names], tables.MEMBERS)
        return self._with_shapes(rows, names)

    def cells(self, experiment: str) -> pd.DataFrame:
        """The cells that an experiment names, whether it trains them or not.

        Args:
            experiment: Its name.

        Returns:
            The columns of `tables.CELLS`, by base and index in the experiment's order.

        Raises:
            ConfigError: No experiment of that name was launched into this store.
        """
        self.members(experiment)
        cells = self._read([layout.cells(experiment)], tables.CELLS)
        return self._with_shapes(cells, [experiment])

    def trials(self, experiment: str | None = None) -> pd.DataFrame:
        """One row per ended trial; with an experiment, one per member, trained or not.

        Args:
            experiment: If given, the members' columns are joined, and members whose trial has
                not ended have no status and no numbers.

        Returns:
            The columns of `tables.TRIALS`, behind those of `tables.MEMBERS` if joined.
        """
        return self._joined(layout.TRIALS, tables.TRIALS, experiment, how="left")

    def metrics(self, experiment: str | None = None) -> pd.DataFrame:
        """One row per trained epoch.

        Args:
            experiment: If given, its trials alone, with the members' columns joined; a trial that
                is several members appears once for each.

        Returns:
            The columns of `tables.METRICS`, behind those of `tables.MEMBERS` if joined.
        """
        return self._joined(layout.METRICS, tables.METRICS, experiment, how="inner")

    def surfaces(self, experiment: str | None = None) -> pd.DataFrame:
        """One row per finished surface; with an experiment, one per surface that it wants.

        Args:
            experiment: If given, the members' columns are joined, once for each member that shows
                the surface's trial; surfaces that are not finished have no status and no numbers.

        Returns:
            The columns of `tables.SURFACES`, behind those of `tables.MEMBERS` and
            `tables.WANTED` if joined. Of two columns of one name the surface's is called
            `surface_…`: its seed, for one.
        """
        return self._looked_at(layout.SURFACES, SURFACES, experiment, how="left")

    def points(self, experiment: str | None = None) -> pd.DataFrame:
        """One row per measured point, of surfaces that are not finished too.

        Args:
            experiment: If given, points of the surfaces that it wants alone, with the members'
                columns joined.

        Returns:
            The columns of `tables.POINTS`, behind others as of `surfaces` if joined.
        """
        return self._looked_at(layout.POINTS, POINTS, experiment, how="inner")

    def _looked_at(
        self, folder: str, schema: pa.Schema, experiment: str | None, how: Literal["left", "inner"]
    ) -> pd.DataFrame:
        keys = self._files(folder)
        if experiment is None:
            return self._read(keys, schema)
        members = self.members(experiment)
        wanted = self._read([layout.wanted(experiment)], WANTED)
        ids = set(wanted["surface_id"])
        rows = self._read([k for k in keys if layout.names([k]) <= ids], schema)
        rows = rows.drop(columns=["trial_id", "kind"])
        named = members.merge(wanted.drop(columns="experiment"), on="trial_id")
        clash = {n: f"surface_{n}" for n in rows.columns if n in named.columns}
        clash.pop("surface_id")
        return named.merge(rows.rename(columns=clash), on="surface_id", how=how)

    def _joined(
        self, folder: str, schema: pa.Schema, experiment: str | None, how: Literal["left", "inner"]
    ) -> pd.DataFrame:
        keys = self._files(folder)
        if experiment is None:
            return self._read(keys, schema)
        members = self.members(experiment)
        wanted = set(members["trial_id"])
        rows = self._read([k for k in keys if layout.names([k]) <= wanted], schema)
        fresh = ["trial_id", *(c for c in rows.columns if c not in members.columns)]
        return members.merge(rows[fresh], on="trial_id", how=how)

    def _with_shapes(self, rows: pd.DataFrame, experiments: list[str]) -> pd.DataFrame:
        """The rows with width and depth of their genotypes where an earlier release wrote them."""
        old = rows["width_all_nodes"].isna().to_numpy()
        if not old.any():
            return rows
        try:
            cells = self._read([layout.cells(name) for name in experiments], tables.CELLS)
        except CorruptData:
            return rows
        named = ["experiment", "base", "variant", "index"]
        genotypes = {
            tuple(key): text
            for *key, text in cells[[*named, "genotype"]].itertuples(index=False, name=None)
        }
        found: dict[str, dict[int, float]] = {}
        for place, *key in rows.loc[old, named].itertuples(name=None):
            for column, value in _shape(genotypes.get(tuple(key))).items():
                found.setdefault(column, {})[place] = value
        for column, values in found.items():
            filled = rows[column].to_numpy(dtype=float, copy=True)
            filled[list(values)] = list(values.values())
            whole = column.startswith("depth") and np.isfinite(filled).all()
            rows[column] = filled.astype("int32") if whole else filled
        return rows

    def _files(self, folder: str) -> list[str]:
        return [key for key in self.store.list(folder) if key.endswith(".parquet")]

    def _read(self, keys: list[str], schema: pa.Schema) -> pd.DataFrame:
        parts = [schema.empty_table()]
        for key, data in self.store.several(keys):  # but what was removed since it was listed
            parts.append(tables.from_parquet(data, schema, key))
        return pa.concat_tables(parts, promote_options="permissive").to_pandas()


@lru_cache(maxsize=10_000)
def _shape(genotype: str | None) -> dict[str, float]:
    try:
        return Genotype.from_json(parse_json(genotype)).shape if genotype else {}
    except (ValueError, SpecError):
        return {}
