"""The shop's pages inside a tenant."""

from django.urls import include, path
from rest_framework.routers import DefaultRouter

from tests.leak.shop import api, edit_views, views

router = DefaultRouter()
router.register("items", api.ItemViewSet)
router.register("categories", api.CategoryViewSet)
router.register("comments", api.CommentViewSet)

urlpatterns = [
    path("items/", views.Items.as_view(), name="shop-items"),
    path("items/new/", edit_views.CreateItem.as_view()),
    path("items/<int:pk>/", views.ItemDetail.as_view(), name="shop-item"),
    path("items/<int:pk>/edit/", edit_views.UpdateItem.as_view()),
    path("items/<int:pk>/delete/", edit_views.DeleteItem.as_view()),
    path("items/<int:pk>/short/", views.one),
    path("categories/", views.categories),
    path("categories/all/", views.Categories.as_view()),
    path("categories/<int:pk>/", views.CategoryDetail.as_view()),
    path("categories/<int:pk>/edit/", edit_views.UpdateCategory.as_view()),
    path("categories/<int:pk>/items/", edit_views.category_items),
    path("search/", edit_views.Search.as_view()),
    path("discussed/", views.discussed),
    path("remembered/<str:how>/", views.remembered),
    path("lazy/<str:name>/", views.lazy),
    path("api/", include(router.urls)),
]
