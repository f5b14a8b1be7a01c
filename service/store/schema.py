"""The tables of the log.

Rows are only ever appended. Retention deletes them from the old end, up to a snapshot.
"""

import sqlalchemy as sa

SCHEMA_VERSION = 1

metadata = sa.MetaData()
Big = sa.BigInteger().with_variant(sa.Integer, "sqlite")

store_table = sa.Table(
    "store",
    metadata,
    sa.Column("schema_version", sa.Integer, nullable=False),
    sa.Column("network_shape", sa.String, nullable=False),
    sa.Column("store_id", sa.String),  # new for each store that is created or restored
    sa.Column("created_at", sa.Float),
    sa.Column("weights_digest", sa.LargeBinary),  # of the weights that the store began with
    sa.Column("copied_until", sa.Float),  # a copy that was verified has all that was acknowledged before
)

versions_table = sa.Table(
    "versions",
    metadata,
    sa.Column("model_version", Big, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("count", sa.Integer),
    sa.Column("loss", sa.Float),
    sa.Column("accuracy", sa.Float),
    sa.Column("learning_rate", sa.Float),
    sa.Column("gradient_norm", sa.Float),
    sa.Column("clip_norm", sa.Float),
    sa.Column("rehearsed", sa.Integer),
    sa.Column("memory_size", sa.Integer),
    sa.Column("source", sa.String),
    sa.Column("source_version", sa.BigInteger),
    sa.Column("unlearned_steps", sa.String),
    sa.Column("new_labels", sa.String),
    sa.Column("label_name", sa.String),
    sa.Column("classes", sa.Integer),
    sa.Column("event", sa.String),
    sa.Column("reason", sa.String),
    sa.Column("paused", sa.String),
    sa.Column("idempotency_key", sa.String),
    sa.Column("request_digest", sa.LargeBinary),
    sa.Column("unsnapped_bytes", sa.BigInteger),
    sa.Column("content_digest", sa.LargeBinary),
    sa.Column("snapshot_digest", sa.LargeBinary),
    sa.Column("previous", sa.LargeBinary),
    sa.Column("digest", sa.LargeBinary),
    sa.Column("pixel_type", sa.String),
    sa.Column("labels", sa.LargeBinary),
    sa.Column("pixels", sa.LargeBinary),  # last: SQLite reads the columns before it without reading it
)
sa.Index(
    "versions_idempotency_key",
    versions_table.c.idempotency_key,
    unique=True,
    sqlite_where=versions_table.c.idempotency_key.is_not(None),
    postgresql_where=versions_table.c.idempotency_key.is_not(None),
)
sa.Index(  # finds snapshots without reading the versions between them
    "versions_snapshots",
    versions_table.c.model_version,
    versions_table.c.snapshot_digest,
    sqlite_where=versions_table.c.snapshot_digest.is_not(None),
    postgresql_where=versions_table.c.snapshot_digest.is_not(None),
)

NO_STEP = sa.text("kind <> 'train-step'")  # no parameter: with one, SQLite would not use the index
sa.Index("versions_no_step", versions_table.c.model_version, sqlite_where=NO_STEP, postgresql_where=NO_STEP)
sa.Index(
    "versions_source",
    versions_table.c.source,
    versions_table.c.model_version,
    sqlite_where=versions_table.c.source.is_not(None),
    postgresql_where=versions_table.c.source.is_not(None),
)

snapshots_table = sa.Table(  # a row for each that some version has, however many have it
    "snapshots",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sa.Column("weights", sa.LargeBinary, nullable=False),
)

predictions_table = sa.Table(  # kept for labelling; the newest has the highest number
    "predictions",
    metadata,
    sa.Column("number", Big, primary_key=True, autoincrement=False),
    sa.Column("prediction_id", sa.String, nullable=False, unique=True),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
    sa.Column("model_version", sa.BigInteger, nullable=False),
    sa.Column("label", sa.Integer, nullable=False),
    sa.Column("margin", sa.Float, nullable=False),
    sa.Column("bytes_so_far", sa.BigInteger, nullable=False),
    sa.Column("pinned", sa.Integer),  # 1 if the client named another version than the newest
    sa.Column("chosen", sa.Integer),  # 1 once it was listed as one of the most uncertain; not in the digest
    sa.Column("learnt", sa.Integer),  # 1 once a train-step learnt it; not in the digest
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("pixel_type", sa.String, nullable=False),
    sa.Column("probabilities", sa.LargeBinary, nullable=False),
    sa.Column("pixels", sa.LargeBinary, nullable=False),
)
UNLEARNT = predictions_table.c.learnt.is_(None)
sa.Index(
    "unlearnt_predictions_margin",
    predictions_table.c.margin,
    predictions_table.c.number.desc(),
    sqlite_where=UNLEARNT,
    postgresql_where=UNLEARNT,
)
sa.Index(
    "unlearnt_predictions_number",
    predictions_table.c.number.desc(),
    sqlite_where=UNLEARNT,
    postgresql_where=UNLEARNT,
)

learnt_predictions_table = sa.Table(  # by which steps, so that none is learnt twice
    "learnt_predictions",
    metadata,
    sa.Column("prediction_id", sa.String, primary_key=True),
    sa.Column("model_version", Big, primary_key=True, autoincrement=False),
    sa.Column("expires_at", sa.Float, nullable=False),
)
sa.Index("learnt_predictions_expires_at", learnt_predictions_table.c.expires_at)

progress_table = sa.Table(  # a row for each of the last train-steps: sums since the first step
    "progress",
    metadata,
    sa.Column("model_version", Big, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String, primary_key=True),
    sa.Column("examples", sa.BigInteger, nullable=False),
    sa.Column("hits", sa.BigInteger, nullable=False),
    sa.Column("loss", sa.Float, nullable=False),
    sa.Column("counted_from", sa.BigInteger, nullable=False),
    sa.Column("accuracy", sa.Float),
    sa.Column("best_accuracy", sa.Float),
    sa.Column("watch", sa.String),
    sa.Column("outcomes", sa.LargeBinary, nullable=False),
    sa.Column("by_class", sa.LargeBinary),
    sa.Column("digest", sa.LargeBinary, nullable=False),
)
sa.Index("progress_examples", progress_table.c.kind, progress_table.c.examples)

answers_table = sa.Table(  # one row: the confidence of answers since the model was loaded
    "answers",
    metadata,
    sa.Column("since_version", Big, primary_key=True, autoincrement=False),
    sa.Column("figures", sa.String, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
)

keys_table = sa.Table(  # of one row, only in a store of a model under /models
    "model_key",
    sa.MetaData(),
    sa.Column("digest", sa.LargeBinary, nullable=False),
)
