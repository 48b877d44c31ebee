"""Files of tenants: the same name in two of them, ways out of the folder, URLs."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, InMemoryStorage

from do_bridge.contrib.storage import TenantFileSystemStorage, TenantStorageMixin
from do_bridge.tenancy import NoTenant, directory_context, tenant_context


@pytest.fixture
def storage(tmp_path):
    return TenantFileSystemStorage(location=tmp_path, base_url="/media/")


def save(storage, slug, name="report.txt"):
    with tenant_context(slug):
        return storage.save(name, ContentFile(slug.encode()))


def read(storage, name="report.txt"):
    with storage.open(name) as file:
        return file.read()


def test_a_name_that_another_tenant_uses_is_free(storage, tmp_path):
    assert save(storage, "acme") == save(storage, "zeta") == "report.txt"
    for slug in ("acme", "zeta"):
        with tenant_context(slug):
            assert read(storage) == slug.encode()
            assert storage.path("report.txt") == str(tmp_path / "t" / slug / "report.txt")
            assert storage.url("report.txt") == f"/media/t/{slug}/report.txt"


def test_a_tenant_lists_finds_and_deletes_its_own_files_alone(storage):
    save(storage, "acme", "plan.txt")
    save(storage, "zeta", "price.txt")
    with tenant_context("zeta"):
        assert storage.listdir("") == ([], ["price.txt"])
        assert not storage.exists("plan.txt")
        storage.delete("plan.txt")
    with tenant_context("acme"):
        assert storage.exists("plan.txt")


@pytest.mark.parametrize("name", ["../acme/plan.txt", "/etc/hosts", "../../directory/plan.txt"])
def test_no_name_leads_out_of_the_tenants_folder(storage, name):
    save(storage, "acme", "plan.txt")
    with tenant_context("zeta"), pytest.raises(SuspiciousFileOperation, match="path"):
        storage.open(name)


@pytest.mark.parametrize("name", ["../acme/plan.txt", "../../directory/plan.txt", "a/../../acme/plan.txt"])
def test_no_url_leads_out_of_the_tenants_folder(storage, name):
    with tenant_context("zeta"):
        assert "/t/zeta/a/plan.txt" in storage.url("a/plan.txt")
        with pytest.raises(SuspiciousFileOperation, match="path"):
            storage.url(name)


def test_the_directory_has_a_folder_of_its_own_which_no_slug_can_name(storage, tmp_path):
    with directory_context():
        storage.save("report.txt", ContentFile(b"everybody's"))
    save(storage, "directory")
    assert (tmp_path / "directory" / "report.txt").read_bytes() == b"everybody's"
    assert (tmp_path / "t" / "directory" / "report.txt").read_bytes() == b"directory"


def test_without_a_tenant_nothing_is_read_or_written(storage):
    for call in (lambda: storage.save("x", ContentFile(b"x")), lambda: storage.exists("x")):
        with pytest.raises(NoTenant, match="tenant_context"):
            call()


def test_threads_of_two_tenants_share_one_storage_and_no_file(storage):
    def work(slug):
        for number in range(20):
            save(storage, slug, f"{number}.txt")
        with tenant_context(slug):
            return {read(storage, f"{number}.txt") for number in range(20)}

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, ("acme", "zeta"))) == [{b"acme"}, {b"zeta"}]


# Any storage class


class TenantMemory(TenantStorageMixin, InMemoryStorage):
    """In memory."""


class Nested(FileSystemStorage):
    """A storage whose methods call one another, as other people's do."""

    def size(self, name):
        with self.open(name) as file:
            return len(file.read()) if self.exists(name) else -1


class TenantNested(TenantStorageMixin, Nested):
    """The same for tenants."""


@pytest.fixture(params=[TenantFileSystemStorage, TenantNested, TenantMemory])
def any_storage(request, tmp_path):
    return request.param(location=str(tmp_path / "files"), base_url="/media/")


def test_every_method_of_any_storage_works_inside_the_tenants_folder(any_storage):
    for slug in ("acme", "zeta"):
        assert save(any_storage, slug, "a/report.txt") == "a/report.txt"
    with tenant_context("acme"):
        assert read(any_storage, "a/report.txt") == b"acme"
        assert any_storage.size("a/report.txt") == 4
        assert any_storage.exists("a/report.txt")
        assert any_storage.listdir("") == (["a"], [])
        assert any_storage.listdir("a") == ([], ["report.txt"])
        assert any_storage.url("a/report.txt") == "/media/t/acme/a/report.txt"
        assert any_storage.get_modified_time("a/report.txt")
        assert any_storage.get_created_time("a/report.txt")
        assert any_storage.get_accessed_time("a/report.txt")
        second = save(any_storage, "acme", "a/report.txt")
        assert second.startswith("a/report_")
        any_storage.delete("a/report.txt")
        assert not any_storage.exists("a/report.txt")
        assert any_storage.exists(second)
    with tenant_context("zeta"):
        assert read(any_storage, "a/report.txt") == b"zeta"


@pytest.mark.parametrize("any_storage", [TenantFileSystemStorage, TenantNested], indirect=True)
def test_a_file_that_another_process_has_just_written_is_not_replaced(any_storage, monkeypatch):
    save(any_storage, "acme", "report.txt")
    with tenant_context("acme"):
        monkeypatch.setattr(
            any_storage, "get_available_name", lambda name, max_length=None: name, raising=True
        )
        calls = []

        def available(name, max_length=None):
            calls.append(name)
            return name if len(calls) == 1 else FileSystemStorage.get_available_name(any_storage, name)

        monkeypatch.setattr(any_storage, "get_available_name", available)
        second = any_storage.save("report.txt", ContentFile(b"second"))
        assert second.startswith("report_")
        assert read(any_storage, second) == b"second"
        assert read(any_storage, "report.txt") == b"acme"


@pytest.mark.parametrize("name", ["../zeta/x", "/etc/hosts", "..\\zeta\\x", "a/..\\..\\zeta/x", ".."])
def test_no_method_of_any_storage_leads_out_of_the_folder(any_storage, name):
    save(any_storage, "zeta", "x")
    calls = [any_storage.open, any_storage.exists, any_storage.delete, any_storage.url, any_storage.size]
    with tenant_context("acme"):
        for call in (*calls, any_storage.listdir, any_storage.get_modified_time):
            with pytest.raises(SuspiciousFileOperation, match="path|name"):
                call(name)
        with pytest.raises(SuspiciousFileOperation, match="path|name"):
            any_storage.save(name, ContentFile(b"x"))


def test_any_storage_refuses_without_a_tenant(any_storage):
    for call in (any_storage.exists, any_storage.url, any_storage.listdir):
        with pytest.raises(NoTenant, match="tenant_context"):
            call("x")
