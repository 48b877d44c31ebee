"""The shared site's URLs; a tenant's are in `tenant_urls`."""

from django.contrib import admin
from django.contrib.auth import views as auth
from django.urls import path

from accounts.sign_in import SignInForm
from accounts.views import tenant_list
from project import views

handler400 = views.bad_request
handler404 = views.not_found
handler500 = views.server_error

urlpatterns = [
    path("", tenant_list, name="home"),
    path("accounts/login/", auth.LoginView.as_view(authentication_form=SignInForm), name="login"),
    path("accounts/logout/", auth.LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
    path("api/migrate", views.migrate, name="api-migrate"),
]
