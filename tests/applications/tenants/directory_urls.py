"""D1 has no pages here."""

urlpatterns = []
