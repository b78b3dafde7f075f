"""pytest-django: every executor has a database of its own, and no test finds it emptied that would not serially."""

from __future__ import annotations

import pytest
from projects import Project

pytest.importorskip("pytest_django")


SETTINGS = """
DATABASES = {"default": {
    "ENGINE": "django.db.backends.sqlite3", "NAME": "shop.db", "TEST": {"NAME": "test.db"},
}}
INSTALLED_APPS = ["shop"]
ROOT_URLCONF = "urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
"""
MODELS = "from django.db import models\n\nclass Order(models.Model):\n    name = models.CharField(max_length=9)\n"


@pytest.fixture
def shop(project: Project) -> Project:
    project.file("shop/__init__.py", "")
    project.file("shop/models.py", MODELS)
    project.file("settings.py", SETTINGS)
    project.file("pytest.ini", "[pytest]\nDJANGO_SETTINGS_MODULE = settings\n")
    return project


def test_every_executor_has_its_database(shop: Project) -> None:
    shop.file(
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
    ran = shop.drm("-q", "-p", "django")
    assert ran.account() == {"passed": 8}, ran.out
    assert not list(shop.root.glob("test.db*")), "the databases are destroyed at the end"


def test_tests_that_empty_the_database_come_last_however_long_they_take(shop: Project) -> None:
    shop.file("urls.py", "urlpatterns = []\n")
    shop.file("shop/migrations/__init__.py", "")
    shop.file(
        "shop/migrations/0001_initial.py",
        """
from django.db import migrations, models

def fill(apps, schema_editor):
    apps.get_model("shop", "Order").objects.create(name="first")

class Migration(migrations.Migration):
    operations = [
        migrations.CreateModel("Order", [("id", models.BigAutoField(primary_key=True)),
                                         ("name", models.CharField(max_length=9))]),
        migrations.RunPython(fill),
    ]
""",
    )
    shop.file(
        "test_orders.py",
        """
import time, pytest
from django.test import TestCase, TransactionTestCase
from shop.models import Order

@pytest.mark.django_db(transaction=True)
def test_empties_by_mark():
    time.sleep(0.3)

@pytest.mark.django_db(reset_sequences=True)
def test_empties_by_sequences():
    time.sleep(0.3)

def test_empties_by_fixture(live_server):
    time.sleep(0.3)

class LongTests(TransactionTestCase):
    def test_empties(self):
        time.sleep(0.3)

class ShortTests(TestCase):
    def test_finds(self):
        self.assertEqual(Order.objects.count(), 1)

@pytest.mark.django_db
@pytest.mark.parametrize("n", range(12))
def test_finds(n):
    assert Order.objects.count() == 1

def test_finds_by_fixture(db):
    assert Order.objects.count() == 1

def test_needs_none():
    pass
""",
    )
    for _ in range(2):  # the second knows which are long
        ran = shop.drm("-q", "-p", "django")
        assert ran.account() == {"passed": 19}, ran.out
