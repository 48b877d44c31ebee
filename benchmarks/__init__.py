"""Measurements on a real local Worker; nothing here is a test."""
