from __future__ import annotations

from django.db import migrations

TABLES = ["repairs_customer", "repairs_bicycle", "repairs_repairorder", "repairs_sparepart"]
POLICY = """
ALTER TABLE {0} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {0} FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON {0}
    USING (workshop_id = nullif(current_setting('app.workshop', true), '')::bigint);
"""


class Migration(migrations.Migration):
    dependencies = [("repairs", "0001_initial")]
    operations = [migrations.RunSQL(POLICY.format(table)) for table in TABLES]
