"""Two shops: people sign up, buy and review, staff look at everything, and each page is one shop's alone."""

import re
import sys
from collections import Counter
from decimal import Decimal
from urllib.parse import urljoin, urlsplit

import django

TENANTS = ("acme", "zeta")
PASSWORD = "a-long-pass-word"
PAGES = 160
# D1's users are everybody's, signing out ends a crawl, and a column of buttons can't be sorted.
SKIP = re.compile(r"/dashboard/users/|/logout|/static/|/media/|/i18n/|sort=(checkbox|actions)")
ADDRESS = {
    "first_name": "Ada",
    "last_name": "Brandt",
    "line1": "1 Harbour Street",
    "line4": "Port",
    "postcode": "N1 9RT",
    "country": "GB",
}


def main():
    django.setup()
    from django.contrib.auth.models import User
    from django.core.management import call_command

    from do_bridge.tenancy.lifecycle.creation import create_tenant

    call_command("migrate", verbosity=0)
    root = User.objects.create_superuser("root", "root@shop.test", PASSWORD)
    for slug in TENANTS:
        create_tenant(slug)
        fill(slug)
    for slug in TENANTS:
        number = buy(slug)
        manage(slug, root, number)
    for slug in TENANTS:
        look(slug)
        crawl(slug, None)
        crawl(slug, User.objects.get(email=f"ada@{slug}.example"))
        crawl(slug, root)


def name(slug):
    """Return a text that stands on pages of this shop alone."""
    return f"Only-{slug}"


def fill(slug):
    """Give the shop a site, a country, categories, and products in stock."""
    from django.contrib.sites.models import Site
    from oscar.core.loading import get_model

    from do_bridge.tenancy import tenant_context

    with tenant_context(slug):
        Site.objects.create(domain=f"{slug}.shop.test", name=name(slug))
        get_model("address", "Country").objects.create(
            iso_3166_1_a2="GB",
            iso_3166_1_a3="GBR",
            iso_3166_1_numeric="826",
            name="United Kingdom",
            printable_name="United Kingdom",
            is_shipping_country=True,
        )
        kind = get_model("catalogue", "ProductClass").objects.create(name=f"{name(slug)} books")
        partner = get_model("partner", "Partner").objects.create(name=f"{name(slug)} press")
        root = get_model("catalogue", "Category").add_root(name=f"{name(slug)} shelf")
        child = root.add_child(name=f"{name(slug)} board")
        for number in range(12):
            product = get_model("catalogue", "Product").objects.create(
                title=f"{name(slug)} book {number}", product_class=kind, upc=f"{slug}-{number}"
            )
            product.categories.add(child if number % 2 else root)
            get_model("partner", "StockRecord").objects.create(
                product=product,
                partner=partner,
                partner_sku=f"{slug}-{number}",
                price=Decimal("9.99"),
                num_in_stock=20,
            )


class Shopper:
    """A browser in one shop: every answer is looked at."""

    def __init__(self, slug):
        from django.test import Client

        self.slug = slug
        self.client = Client(headers={"host": f"{slug}.shop.test"})

    def get(self, url):
        return self._seen(url, self.client.get(url, follow=True))

    def post(self, url, **values):
        return self._seen(url, self.client.post(url, values, follow=True))

    def submit(self, url, **values):
        """Send a page's form, with its hidden fields."""
        fields = re.findall(r'<input type="hidden" name="([^"]+)"(?: value="([^"]*)")?', self.get(url))
        return self.post(url, **{**dict(fields), **values})

    def _seen(self, url, answer):
        where = f"{self.slug}{url}"
        assert answer.status_code == 200, (where, answer.status_code)
        text = answer.content.decode(errors="replace")
        for other in set(TENANTS) - {self.slug}:
            assert name(other) not in text, f"{where} shows what is {other}'s"
            assert f"@{other}." not in text, f"{where} shows whose mail is {other}'s"
        assert "errorlist" not in text, (where, re.findall(r"errorlist.*?</ul>", text, re.DOTALL))
        return text


def buy(slug):
    """Sign up, fill a basket, check out, write a review; return the order's number."""
    from django.core import mail
    from oscar.core.loading import get_model

    from do_bridge.tenancy import tenant_context

    with tenant_context(slug):
        product = get_model("catalogue", "Product").objects.get(upc=f"{slug}-3")
        other = get_model("catalogue", "Product").objects.get(upc=f"{slug}-4")
        page = product.get_absolute_url().removeprefix(f"/t/{slug}")
    shopper = Shopper(slug)
    # As nobody yet: the basket becomes the customer's.
    shopper.get(page)
    shopper.post(f"/basket/add/{other.pk}/", quantity=1)
    email = f"ada@{slug}.example"
    registration = {"email": email, "password1": PASSWORD, "password2": PASSWORD}
    text = shopper.post(
        "/accounts/login/",
        registration_submit="1",
        **{f"registration-{key}": value for key, value in registration.items()},
    )
    assert "/accounts/logout/" in text
    shopper.post(f"/basket/add/{product.pk}/", quantity=2)
    text = shopper.get("/basket/")
    assert product.title in text, text
    assert other.title in text, text
    shopper.get("/checkout/")
    shopper.post("/checkout/shipping-address/", **ADDRESS)
    text = shopper.get("/checkout/preview/")
    assert "1 Harbour Street" in text, text
    text = shopper.post("/checkout/preview/", action="place_order")
    number = re.search(r"\b1\d{5}\b", text)
    assert number, text
    assert [message.to for message in mail.outbox].count([email]) >= 2, mail.outbox
    review = {"title": f"{name(slug)} review", "score": 5, "body": f"{name(slug)} was good"}
    shopper.post(f"{page}reviews/add/", **review)
    assert review["title"] in shopper.get(f"{page}reviews/")
    assert number[0] in shopper.get("/accounts/orders/")
    shopper.get(f"/accounts/orders/{number[0]}/")
    shopper.submit("/accounts/wishlists/create/", name=f"{name(slug)} wishes")
    shopper.post("/accounts/profile/edit/", first_name="Ada", last_name="Brandt", email=email)
    shopper.get("/accounts/addresses/")
    shopper.get("/accounts/logout/")
    text = shopper.post(
        "/accounts/login/", login_submit="1", **{"login-username": email, "login-password": PASSWORD}
    )
    assert "/accounts/logout/" in text
    return number[0]


def manage(slug, root, number):
    """Let staff, who are members of no shop, change an order and a product."""
    from oscar.core.loading import get_model

    from do_bridge.tenancy import tenant_context

    staff = Shopper(slug)
    staff.client.force_login(root)
    staff.get("/dashboard/")
    assert number in staff.get("/dashboard/orders/")
    assert f"ada@{slug}.example" in staff.get(f"/dashboard/orders/{number}/")
    staff.post(f"/dashboard/orders/{number}/", order_action="save_note", message=f"{name(slug)} note")
    assert f"{name(slug)} note" in staff.get(f"/dashboard/orders/{number}/")
    with tenant_context(slug):
        note = get_model("order", "OrderNote").objects.get()
        assert (note.user, note.user.is_active) == (root, False)


def crawl(slug, user):
    """Follow links; every page has to be one of this shop's."""
    shopper = Shopper(slug)
    if user is not None:
        shopper.client.force_login(user)
    start = "/" if user is None or not user.is_staff else "/dashboard/"
    waiting, known, kinds, seen = [start], {start}, Counter(), 0
    while waiting and seen < PAGES:
        url = waiting.pop(0)
        text = shopper.get(url)
        seen += 1
        for target in re.findall(r'href="([^"#]+)', text):
            parts = urlsplit(urljoin(f"http://{slug}.shop.test{url}", target.replace("&amp;", "&")))
            path = f"{parts.path}?{parts.query}" if parts.query else parts.path
            kind = (re.sub(r"\d+", "#", parts.path), bool(parts.query))
            if parts.netloc == f"{slug}.shop.test" and path not in known and not SKIP.search(path):
                known.add(path)
                kinds[kind] += 1
                if kinds[kind] <= 6:
                    waiting.append(path)
    sys.stdout.write(f"{slug}, {user or 'nobody'}: {seen} pages\n")


def look(slug):
    """Look at the rows: all are in the tenant, and none is another's."""
    from django.contrib.auth.models import User
    from django.db import connections
    from oscar.core.loading import get_model

    from do_bridge.tenancy import tenant_alias, tenant_context

    copies = User.objects.using(tenant_alias(slug)).order_by("username")
    assert {copy.email for copy in copies} == {f"ada@{slug}.example", "root@shop.test"}
    assert not any(copy.has_usable_password() for copy in copies)
    with tenant_context(slug):
        order = get_model("order", "Order").objects.get()
        assert order.user.email == f"ada@{slug}.example"
        assert {line.title for line in order.lines.all()} == {f"{name(slug)} book 3", f"{name(slug)} book 4"}
        (review,) = get_model("reviews", "ProductReview").objects.all()
        assert review.user == order.user
    with connections["default"].cursor() as cursor:
        for table in ("order_order", "basket_basket", "catalogue_product", "reviews_productreview"):
            cursor.execute(f"SELECT count(*) FROM {table}")
            assert cursor.fetchone() == (0,), table


if __name__ == "__main__":
    main()
    sys.stdout.write("done\n")
