"""pytest-django: every executor has a database of its own, named after it."""

from __future__ import annotations

import pytest
from projects import Project

pytest.importorskip("pytest_django")


def test_every_executor_has_its_database(project: Project) -> None:
    project.file("shop/__init__.py", "")
    project.file(
        "shop/models.py",
        "from django.db import models\n\nclass Order(models.Model):\n    name = models.CharField(max_length=9)\n",
    )
    project.file(
        "settings.py",
        """
DATABASES = {"default": {
    "ENGINE": "django.db.backends.sqlite3", "NAME": "shop.db", "TEST": {"NAME": "test.db"},
}}
INSTALLED_APPS = ["shop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
""",
    )
    project.file("pytest.ini", "[pytest]\nDJANGO_SETTINGS_MODULE = settings\n")
    project.file(
        "test_orders.py",
        """
import os, pytest
from django.db import connection
from shop.models import Order

@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("n", range(8))
def test_order(n, worker_id):
    assert connection.settings_dict["NAME"].endswith(f"test.db_{worker_id}")
    assert os.path.exists(f"test.db_{worker_id}")
    assert not Order.objects.exists()
    Order.objects.create(name=f"n{n}")
    assert Order.objects.count() == 1
""",
    )
    ran = project.drm("-q", "-p", "django")
    assert ran.account() == {"passed": 8}, ran.out
    assert not list(project.root.glob("test.db*")), "the databases are destroyed at the end"
