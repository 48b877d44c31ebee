"""The shop's REST API, by Django REST framework's documentation."""

from django.db.models import Prefetch
from rest_framework import filters, pagination, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.response import Response

from tests.leak.shop.catalogue import SHOWN, WITH_TARGET
from tests.leak.shop.models import Category, Comment, Item, Label


class CategorySerializer(serializers.ModelSerializer):
    class Meta:
        model = Category
        fields = ["id", "name"]


class CommentSerializer(serializers.ModelSerializer):
    about = serializers.StringRelatedField(source="target")

    class Meta:
        model = Comment
        fields = ["id", "text", "about"]


class ItemSerializer(serializers.ModelSerializer):
    category = serializers.PrimaryKeyRelatedField(queryset=Category.objects.all())
    kind = CategorySerializer(source="category", read_only=True)
    labels = serializers.SlugRelatedField(
        slug_field="name", queryset=Label.objects.order_by("pk"), many=True, required=False
    )
    comments = serializers.StringRelatedField(many=True, read_only=True)
    owner_id = serializers.IntegerField()

    class Meta:
        model = Item
        fields = ["id", "name", "stock", "category", "kind", "labels", "comments", "owner_id"]


class Pages(pagination.PageNumberPagination):
    page_size = 5


class ItemViewSet(viewsets.ModelViewSet):
    queryset = Item.objects.order_by("pk").prefetch_related(
        Prefetch("category", queryset=Category.objects.only("name")),
        Prefetch("labels", queryset=Label.objects.order_by("pk")),
        "comments",
    )
    serializer_class = ItemSerializer
    pagination_class = Pages
    filter_backends = [filters.SearchFilter, filters.OrderingFilter]
    search_fields = ["name", "category__name"]
    ordering_fields = ["name", "stock"]


class CategoryViewSet(viewsets.ModelViewSet):
    queryset = Category.objects.order_by("pk")
    serializer_class = CategorySerializer

    @action(detail=True)
    def items(self, request, pk=None):
        """Return the items of one category."""
        items = SHOWN.filter(category=self.get_object()).prefetch_related("comments")
        return Response(ItemSerializer(items, many=True).data)


class CommentViewSet(viewsets.ReadOnlyModelViewSet):
    queryset = Comment.objects.order_by("pk").prefetch_related(WITH_TARGET)
    serializer_class = CommentSerializer
