"""The images of the folder that several servers share."""

DISK, DAILY, WEEKLY = "disk1.img", "disk1.img@daily", "disk1.img@weekly"
