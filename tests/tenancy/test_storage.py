"""Files of tenants: the same name in two of them, ways out of the folder, URLs."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile

from do_bridge.contrib.storage import TenantFileSystemStorage
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
    with tenant_context("zeta"), pytest.raises(SuspiciousFileOperation):
        storage.open(name)


@pytest.mark.parametrize("name", ["../acme/plan.txt", "../../directory/plan.txt", "a/../../acme/plan.txt"])
def test_no_url_leads_out_of_the_tenants_folder(storage, name):
    with tenant_context("zeta"):
        assert "/t/zeta/a/plan.txt" in storage.url("a/plan.txt")
        with pytest.raises(SuspiciousFileOperation):
            storage.url(name)


def test_the_directory_has_a_folder_of_its_own_which_no_slug_can_name(storage, tmp_path):
    with directory_context():
        storage.save("report.txt", ContentFile(b"everybody's"))
    save(storage, "directory")
    assert (tmp_path / "directory" / "report.txt").read_bytes() == b"everybody's"
    assert (tmp_path / "t" / "directory" / "report.txt").read_bytes() == b"directory"


def test_without_a_tenant_nothing_is_read_or_written(storage):
    for call in (lambda: storage.save("x", ContentFile(b"x")), lambda: storage.exists("x")):
        with pytest.raises(NoTenant):
            call()


def test_threads_of_two_tenants_share_one_storage_and_no_file(storage):
    def work(slug):
        for number in range(20):
            save(storage, slug, f"{number}.txt")
        with tenant_context(slug):
            return {read(storage, f"{number}.txt") for number in range(20)}

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, ("acme", "zeta"))) == [{b"acme"}, {b"zeta"}]
