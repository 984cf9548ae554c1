"""The only availability zone and the only volume type, for clients that require one: the backend decides about both."""

ZONE = "nova"
TYPE_NAME = "__DEFAULT__"
TYPE_ID = "2e530458-93ea-51a9-9854-6b48374ec6df"
