"""The sandbox filled by its own commands, then shopped in: baskets, vouchers, orders, reviews, wish lists."""

from __future__ import annotations

import datetime
import io
import json
import tarfile
from decimal import Decimal
from pathlib import Path
from typing import Any

from crawl import Bounds

FIXTURES = Path(__file__).resolve().parent / "fixtures"
SHOP = "/en-gb"
MASKS = [(r"""(<meta name="created" content=)"[^"]*\"""", r"\1*")]  # the machine's own time
# A view that its migrations make on PostgreSQL alone.
EXCLUDE = ["catalogue.productcategoryhierarchy"]
# Its tables offer the column of check boxes to be sorted by.
BROKEN = r".*[?&]sort=-?checkbox.*"
AT_LEAST = 400
BOUNDS = {
    "visitor": Bounds(
        [
            "/",
            f"{SHOP}/search/?q=art",
            f"{SHOP}/search/?q=hacking&sort_by=price-desc",
            f"{SHOP}/catalogue/?sort_by=rating",
            "/about/",
            "/sitemap.xml",
            "/de/catalogue/",
        ],
        skip="/i18n/",
        routes={"en-gb/catalogue/<slug:product_slug>_<int:pk>/": 40},
        per_route=8,
        pages=170,
    ),
    "superuser": Bounds(
        [
            f"{SHOP}/dashboard/",
            f"{SHOP}/dashboard/orders/?order_number=100&status=Pending",
            f"{SHOP}/dashboard/orders/?name=ann&product_title=art&response_format=csv",
            f"{SHOP}/dashboard/catalogue/?title=oscar",
            f"{SHOP}/dashboard/catalogue/?upc=978&sort=-title",
            f"{SHOP}/dashboard/users/?email=example&name=a",
            f"{SHOP}/dashboard/partners/?name=book",
            f"{SHOP}/dashboard/reports/?report_type=product_analytics&submit=1",
            f"{SHOP}/dashboard/reports/?report_type=user_analytics&submit=1",
            f"{SHOP}/dashboard/reports/?report_type=open_baskets&submit=1",
            f"{SHOP}/dashboard/reports/?report_type=submitted_baskets&submit=1",
            f"{SHOP}/dashboard/reports/?report_type=vouchers&submit=1",
            f"{SHOP}/dashboard/reports/?report_type=conditional_offer_performance&submit=1",
            f"{SHOP}/dashboard/reports/?report_type=order_report&date_from=2026-01-01&submit=1",
            f"{SHOP}/dashboard/reviews/?keyword=good",
            f"{SHOP}/accounts/",
            "/admin/",
        ],
        skip="/i18n/|/logout/|password",
        per_route=4,
        pages=420,
        submit=r"^/admin/.+/change/$",
    ),
}


class Browser:
    """A client that notes what its forms were answered."""

    def __init__(self, base: str) -> None:
        from django.test import Client

        self.client = Client(raise_request_exception=False)
        self.base = base
        self.seen: list[Any] = []

    def post(self, path: str, **values: Any) -> None:
        """Send a form."""
        answer = self.client.post(self.base + path, values)
        self.seen.append([path, answer.status_code, answer.headers.get("Location", "")])


def fill(root: Any) -> dict[str, Any]:
    """Load the sandbox, then shop; return what the shop answers."""
    load()
    extras(root)
    answers = {"registered": shop("ann@example.com", register=True), "guest": shop("guest@example.com")}
    answers["voucher"] = shop("bob@example.com", register=True, voucher="OFF10")
    answers["managed"] = manage(root)
    answers["sold"] = sold()
    return answers


def load() -> None:
    """What `make build_sandbox` does."""
    from django.core.management import call_command

    quiet = {"verbosity": 0}
    call_command("loaddata", products(), **quiet)
    call_command("oscar_import_catalogue", str(FIXTURES / "books.hacking.csv"), **quiet)
    call_command("oscar_import_catalogue_images", images(), **quiet)
    call_command("oscar_populate_countries", is_initial_only=True, stdout=io.StringIO())
    for name in ("pages", "ranges", "offers", "orders"):
        call_command("loaddata", FIXTURES / f"{name}.json", **quiet)
    call_command("clear_index", interactive=False, **quiet)
    call_command("update_index", "catalogue", stdout=io.StringIO(), **quiet)


def products() -> str:
    """The sandbox's first fixture, its rows in an order that D1 can load.

    In the original categories' rows come before the products that they point at, and the search index reads
    while products are saved: what it would read cannot be there yet on D1, which refuses to go on.
    """
    from django.conf import settings

    rows = json.loads((FIXTURES / "child_products.json").read_text())
    rows.sort(key=lambda row: row["model"] == "catalogue.productcategory")
    copy = settings.FOLDER / "child_products.json"
    copy.write_text(json.dumps(rows))
    return str(copy)


def images() -> str:
    """An archive with a picture for some of the books."""
    from django.conf import settings
    from oscar.apps.catalogue.models import Product
    from PIL import Image

    archive = settings.FOLDER / "images.tar"
    with tarfile.open(archive, "w") as tar:
        for number, upc in enumerate(
            Product.objects.exclude(upc=None).order_by("upc").values_list("upc", flat=True)[:5]
        ):
            file = settings.FOLDER / f"{upc}.jpg"
            Image.new("RGB", (90 + number, 60), "red").save(file)
            tar.add(file, file.name)
    return str(archive)


def extras(root: Any) -> None:
    """Vouchers, attributes, options, a recommended product, a wish list, an alert, ways to ship."""
    from oscar.apps.catalogue.models import Option, Product, ProductClass, ProductRecommendation
    from oscar.apps.customer.models import ProductAlert
    from oscar.apps.order.models import ShippingEventType
    from oscar.apps.shipping.models import OrderAndItemCharges, WeightBased
    from oscar.apps.wishlists.models import WishList

    ShippingEventType.objects.create(name="Shipped")
    voucher()
    books = ProductClass.objects.get(slug="book")
    first, second, *_ = Product.objects.filter(product_class=books).order_by("pk")
    attributes(books, first)
    books.options.add(Option.objects.create(name="Dedication", code="dedication", type="text"))
    ProductRecommendation.objects.create(primary=first, recommendation=second, ranking=1)
    WishList.objects.create(owner=root, name="Mine", key="MINE23").add(first)
    ProductAlert.objects.create(product=second, user=root, status="Active")
    charges = {"price_per_order": Decimal("1.50"), "price_per_item": Decimal("0.25")}
    OrderAndItemCharges.objects.create(name="By item", **charges)
    WeightBased.objects.create(name="By weight").bands.create(
        upper_limit=Decimal("2.5"), charge=Decimal("3.99")
    )


def voucher() -> None:
    """A voucher for ten per cent off everything."""
    from django.utils import timezone
    from oscar.apps.offer.models import Benefit, Condition, ConditionalOffer, Range
    from oscar.apps.voucher.models import Voucher

    everything = Range.objects.get(pk=1)
    parts = {
        "condition": Condition.objects.create(range=everything, type=Condition.COUNT, value=1),
        "benefit": Benefit.objects.create(range=everything, type=Benefit.PERCENTAGE, value=10),
    }
    offer = ConditionalOffer.objects.create(name="Ten off", offer_type=ConditionalOffer.VOUCHER, **parts)
    now, day = timezone.now(), datetime.timedelta(days=1)
    dates = {"start_datetime": now - day, "end_datetime": now + 30 * day}
    Voucher.objects.create(name="Ten off", code="OFF10", usage=Voucher.MULTI_USE, **dates).offers.add(offer)


def attributes(books: Any, product: Any) -> None:
    """Attributes of several types, set on a product."""
    from oscar.apps.catalogue.models import ProductAttribute

    for name, kind in (("Pages", "integer"), ("Weight", "float"), ("Signed", "boolean"), ("Printed", "date")):
        ProductAttribute.objects.create(product_class=books, name=name, code=name.lower(), type=kind)
    product.attr.pages, product.attr.weight, product.attr.signed = 321, 0.75, True
    product.attr.printed = datetime.date(2001, 2, 3)
    product.save()


def shop(email: str, *, register: bool = False, voucher: str = "") -> list[Any]:
    """Fill a basket and order it, by HTTP, as a browser would; return the answers' codes and places."""
    from oscar.apps.catalogue.models import Product

    browser = Browser(SHOP)
    if register:
        account = {"email": email, "password1": "made-for-a-test", "password2": "made-for-a-test"}
        fields = {f"registration-{name}": value for name, value in account.items()}
        browser.post("/accounts/login/", registration_submit="1", **fields)
    products = list(Product.objects.browsable().filter(structure="standalone").order_by("pk")[:3])
    for number, product in enumerate(products):
        browser.client.get(product.get_absolute_url())
        browser.post(f"/basket/add/{product.pk}/", quantity=number + 1)
    if voucher:
        browser.post("/basket/vouchers/add/", code=voucher)
    browser.post("/basket/", **{"form-TOTAL_FORMS": 3, "form-INITIAL_FORMS": 3, "form-MAX_NUM_FORMS": 1000})
    if not register:
        browser.post("/checkout/", username=email, options="anonymous")
    checkout(browser)
    if register:
        path = f"/catalogue/{products[0].slug}_{products[0].pk}/reviews/add/"
        browser.post(path, title="Good", score=4, body="A good book", name="", email="")
    return browser.seen


def checkout(browser: Browser) -> None:
    """Order what is in the basket."""
    place = {
        "first_name": "Ann",
        "last_name": "O'Neil",
        "line1": "1 Road",
        "line4": "Town",
        "postcode": "N1 7AA",
    }
    browser.post("/checkout/shipping-address/", country="GB", **place)
    browser.client.get(f"{SHOP}/checkout/shipping-method/")  # the only method: the page chooses it
    browser.post("/checkout/preview/", action="place_order")
    browser.seen.append(["thanks", browser.client.get(f"{SHOP}/checkout/thank-you/").status_code])


def manage(root: Any) -> list[Any]:
    """Change orders, products and ranges in the dashboard."""
    from oscar.apps.order.models import Order

    browser = Browser(f"{SHOP}/dashboard")
    browser.client.force_login(root, backend="django.contrib.auth.backends.ModelBackend")
    post = browser.post
    first, second, *_ = Order.objects.order_by("-pk")
    for status in ("Being processed", "Complete", "Pending"):
        post(f"/orders/{first.number}/", order_action="change_order_status", new_status=status)
    post(f"/orders/{second.number}/", order_action="save_note", message="a note")
    lines = list(second.lines.order_by("pk"))
    chosen = {"selected_line": [line.pk for line in lines], "shipping_event_type": 1}
    quantities = {f"selected_line_qty_{line.pk}": 1 for line in lines}
    post(f"/orders/{second.number}/", line_action="create_shipping_event", **chosen, **quantities)
    post("/partners/create/", name="New partner")
    post("/catalogue/categories/create/", name="New category", _position="first-child", _ref_node_id="")
    post("/reviews/1/", status=1)
    post("/ranges/create/", name="New range")
    return browser.seen


def sold() -> dict[str, Any]:
    """What the shop counts."""
    from django.db.models import Avg, Count, F, Sum
    from oscar.apps.analytics.models import ProductRecord
    from oscar.apps.catalogue.models import Category, Product
    from oscar.apps.order.models import Line, Order
    from oscar.apps.partner.models import StockRecord

    by_product = Line.objects.values("title").annotate(n=Sum("quantity"), money=Sum("line_price_incl_tax"))
    stock = StockRecord.objects.exclude(num_allocated=None).annotate(
        left=F("num_in_stock") - F("num_allocated")
    )
    return {
        "orders": list(
            Order.objects.order_by("pk").values_list("number", "total_incl_tax", "status", "guest_email")
        ),
        "lines": [list(row.values()) for row in by_product.order_by("title")],
        "stock": list(stock.order_by("pk").values_list("partner_sku", "left")),
        "rated": Product.objects.aggregate(Avg("rating"), Count("pk"), Count("reviews")),
        "seen": list(ProductRecord.objects.order_by("product").values_list("product", "num_views", "score")),
        "tree": list(Category.objects.order_by("path").values_list("path", "depth", "numchild", "slug")),
        "problems": Category.find_problems(),
    }
