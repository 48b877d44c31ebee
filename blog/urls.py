"""The URLs of a tenant's pages, relative to the tenant."""

from django.urls import path

from blog import views

urlpatterns = [
    path("", views.post_list, name="home"),
    path("posts/new/", views.post_new, name="post-new"),
    path("posts/<int:pk>/", views.post_detail, name="post"),
    path("posts/<int:pk>/edit/", views.post_edit, name="post-edit"),
    path("posts/<int:pk>/delete/", views.post_delete, name="post-delete"),
]
