"""The tenant's pages: a form's view, and a REST API."""

from django.http import JsonResponse
from django.urls import include, path
from rest_framework import permissions, routers, serializers, viewsets
from rest_framework.authentication import SessionAuthentication, TokenAuthentication
from rest_framework.authtoken.models import Token
from rest_framework.authtoken.views import obtain_auth_token
from taggit.serializers import TaggitSerializer, TagListSerializerField

from .models import Note


def write(request):
    """Write a note of whoever is signed in, and change it."""
    note = Note(text=request.POST["text"], author=request.user)
    note.save()
    note.tags.add(*request.POST.getlist("tag"))
    note.text += "!"
    note.save()
    return JsonResponse(
        {"id": note.pk, "mine": [found.author.username for found in request.user.notes.all()]}
    )


def token(request):
    """Give whoever is signed in a token."""
    return JsonResponse({"token": Token.objects.get_or_create(user=request.user)[0].key})


class NoteSerializer(TaggitSerializer, serializers.ModelSerializer):
    tags = TagListSerializerField()
    author = serializers.CharField(source="author.username", read_only=True)

    class Meta:
        model = Note
        fields = ["id", "text", "author", "tags"]


class NoteViewSet(viewsets.ModelViewSet):
    queryset = Note.objects.order_by("pk")
    serializer_class = NoteSerializer
    authentication_classes = [TokenAuthentication, SessionAuthentication]
    permission_classes = [permissions.IsAuthenticated, permissions.DjangoModelPermissionsOrAnonReadOnly]

    def perform_create(self, serializer):
        serializer.save(author=self.request.user)


router = routers.SimpleRouter()
router.register("notes", NoteViewSet)
urlpatterns = [
    path("write/", write),
    path("token/", token),
    path("api/token/", obtain_auth_token),
    path("api/", include(router.urls)),
]
