"""The URLs inside a tenant, which the middleware has moved into the script name."""

from django.contrib.auth import views as auth
from django.urls import include, path

from accounts import tenant_members
from accounts.api import users
from accounts.sign_in import SignInForm
from do_bridge.admin import tenant_site
from project.views import bad_request, not_found, server_error

handler400 = bad_request
handler404 = not_found
handler500 = server_error

urlpatterns = [
    path("", include("blog.urls")),
    path("accounts/login/", auth.LoginView.as_view(authentication_form=SignInForm), name="login"),
    path("accounts/logout/", auth.LogoutView.as_view(), name="logout"),
    path("admin/", tenant_site.urls),
    path("members/", tenant_members.members, name="members"),
    path("members/add/", tenant_members.member_add, name="member-add"),
    path("members/<int:pk>/role/", tenant_members.member_change, name="member-change"),
    path("members/<int:pk>/remove/", tenant_members.member_remove, name="member-remove"),
    path("api/users", users, name="api-users"),
]
