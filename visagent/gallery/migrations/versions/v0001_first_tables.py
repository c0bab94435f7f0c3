"""The first tables: collections, people, samples, sightings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "collections",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False, unique=True),
        sa.Column("contract", sa.Text, nullable=False),
        sa.Column("key_check", sa.LargeBinary, nullable=False),
        sa.Column("retention_days", sa.Integer),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("created", moment, nullable=False),
    )
    op.create_table(
        "people",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("collection_id", sa.String(32), sa.ForeignKey("collections.id", ondelete="CASCADE"), nullable=False,
                  index=True),
        sa.Column("name_tag", sa.LargeBinary, nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary, nullable=False),
        sa.Column("sealed_card", sa.LargeBinary, nullable=False),
        sa.Column("created", moment, nullable=False),
        sa.Column("expires", moment, index=True),
        sa.UniqueConstraint("collection_id", "name_tag"),
    )
    op.create_table(
        "samples",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("person_id", sa.String(32), sa.ForeignKey("people.id", ondelete="CASCADE"), nullable=False,
                  index=True),
        sa.Column("picture_tag", sa.LargeBinary, nullable=False),
        sa.Column("sealed_template", sa.LargeBinary, nullable=False),
        sa.Column("created", moment, nullable=False),
        sa.UniqueConstraint("person_id", "picture_tag"),
    )
    op.create_table(
        "sightings",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("person_id", sa.String(32), sa.ForeignKey("people.id", ondelete="CASCADE"), nullable=False,
                  index=True),
        sa.Column("sealed_score", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    """There is nothing before the first tables."""
    raise NotImplementedError("the first migration is not taken back: delete the gallery instead")
