"""The forms for writing posts."""

from django import forms
from django.core.validators import MaxLengthValidator

from blog.models import Post

# A row may have 2,000,000 bytes, and a character up to four of them.
LONGEST_CONTENT = 400_000


class LimitedPostForm(forms.ModelForm):
    """Reject content that is too long for the database; the admin's form too."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if "content" in self.fields:
            self.fields["content"].validators.append(MaxLengthValidator(LONGEST_CONTENT))


class PostForm(LimitedPostForm):
    """The form in which members write posts."""

    class Meta:
        model = Post
        fields = ["title", "content"]
        widgets = {"content": forms.Textarea(attrs={"rows": 16})}
