"""A small picture of a person, sealed, for who chose to keep one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make room for it; nobody has one yet."""
    op.add_column("people", sa.Column("sealed_thumbnail", sa.LargeBinary))


def downgrade() -> None:
    """Going back would lose what people chose to keep."""
    raise NotImplementedError("this migration is not taken back: restore the gallery from a copy instead")
