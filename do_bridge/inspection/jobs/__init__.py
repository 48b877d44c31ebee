"""Jobs on many databases, which outlive their page and their process."""
