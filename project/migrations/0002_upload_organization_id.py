from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("project", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="upload",
            name="organization_id",
            field=models.CharField(blank=True, db_index=True, default="", max_length=255),
        ),
    ]
