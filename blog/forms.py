"""The forms in which posts are written."""

from django import forms
from django.core.validators import MaxLengthValidator

from blog.models import Post

# A row may have 2,000,000 bytes, and a character up to four of them.
LONGEST_CONTENT = 400_000


class LimitedPostForm(forms.ModelForm):
    """Refuses in words what the database could not hold; the admin's too."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if "content" in self.fields:
            self.fields["content"].validators.append(MaxLengthValidator(LONGEST_CONTENT))


class PostForm(LimitedPostForm):
    """The members' form."""

    class Meta:
        model = Post
        fields = ["title", "content"]
        widgets = {"content": forms.Textarea(attrs={"rows": 16})}
